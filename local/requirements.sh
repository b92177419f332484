#!/usr/bin/env bash
# What `sam build` installs, exported from uv.lock: the packages of both layers.
# `local/requirements.sh` writes the files; `local/requirements.sh --check` fails when they lag behind the lock.
set -euo pipefail
cd "$(dirname "$0")/.."

tracker=layers/tracker/requirements.txt
providers=layers/providers/requirements.txt
# Only kubernetes.aio needs these, which isn't shipped.
unused=(--prune aiohttp --prune aiohttp-retry)

export_locked() {
  echo "# Written by local/requirements.sh from uv.lock."
  "${UV:-uv}" export --quiet --frozen --no-emit-project --no-annotate --no-header "$@"
}

if [ "${1:-}" = --check ]; then
  diff <(export_locked --only-group layer) "$tracker"
  diff <(export_locked --only-group release "${unused[@]}") "$providers"
  echo "requirements.txt: in step with uv.lock"
else
  export_locked --only-group layer >"$tracker"
  export_locked --only-group release "${unused[@]}" >"$providers"
fi
