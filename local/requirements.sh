#!/usr/bin/env bash
# What `sam build` installs, exported from uv.lock: the layer's packages, and the SDKs of release and plan.
# `local/requirements.sh` writes the files; `local/requirements.sh --check` fails when they lag behind the lock.
set -euo pipefail
cd "$(dirname "$0")/.."

layer=layers/tracker/requirements.txt
clouds=(functions/release/requirements.txt functions/plan/requirements.txt)
# Only kubernetes.aio needs these, which isn't shipped.
unused=(--prune aiohttp --prune aiohttp-retry)

export_locked() {
  echo "# Written by local/requirements.sh from uv.lock."
  "${UV:-uv}" export --quiet --frozen --no-emit-project --no-annotate --no-header "$@"
}

if [ "${1:-}" = --check ]; then
  diff <(export_locked --no-default-groups) "$layer"
  for file in "${clouds[@]}"; do diff <(export_locked --only-group release "${unused[@]}") "$file"; done
  echo "requirements.txt: in step with uv.lock"
else
  export_locked --no-default-groups >"$layer"
  for file in "${clouds[@]}"; do
    mkdir -p "$(dirname "$file")"
    export_locked --only-group release "${unused[@]}" >"$file"
  done
fi
