"""This is what checkov finds. It isn't among the project's packages, since it has some hundred of its own: uv fetches it into an environment by itself."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.audit.findings import Finding, named
from tests.test_template import ROOT

CHECKOV = "checkov==3.3.30"


def found(report: Any) -> set[Finding]:
    """Return the failed checks of a report."""
    reports = report if isinstance(report, list) else [report]
    findings = set()
    for each in reports:
        if each["summary"]["parsing_errors"]:
            raise SystemExit(f"error: checkov can't read a template: {each['results'].get('parsing_errors')}")
        for check in each["results"]["failed_checks"]:
            resource = check["resource"].rpartition(".")[2]
            findings.add((check["check_id"], named(Path(check["file_path"]), resource)))
    return findings


def report(files: list[Path]) -> Any:
    """Run it over templates."""
    uv: list[str | Path] = [
        ROOT / ".local/bin/uv",
        "tool",
        "run",
        "--quiet",
        "--python",
        sys.executable,
        "--from",
        CHECKOV,
    ]
    options = ["--framework", "cloudformation", "--quiet", "--compact", "--skip-download", "--output", "json"]
    each = [part for file in files for part in ("--file", file)]
    done = subprocess.run([*uv, "checkov", *options, *each], capture_output=True, text=True, check=False)
    if not done.stdout.lstrip().startswith(("{", "[")):
        raise SystemExit(f"error: checkov can't be run (uv fetches {CHECKOV} from the index): {done.stderr[-1000:]}")
    return json.loads(done.stdout)
