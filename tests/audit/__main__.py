"""`make audit`: what checkov finds about the stack and about deploy/, against the answers in findings.toml.

Checkov isn't among the project's packages, since it has some hundred of its own: uv fetches it into an environment by itself.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from local.build import STATE
from tests.test_on_aws import translation
from tests.test_template import FUNCTIONS, ROOT, TEMPLATE

CHECKOV = "checkov==3.3.30"
ANSWERS = Path(__file__).parent / "findings.toml"

type Finding = tuple[str, str]


def long_form(value: Any) -> Any:
    """Return a template's value with `Fn::GetAtt` as a list, which checkov needs in JSON."""
    if isinstance(value, list):
        return [long_form(each) for each in value]
    if isinstance(value, dict):
        match value:
            case {"Fn::GetAtt": str(text)}:
                return {"Fn::GetAtt": text.split(".", 1)}
        return {name: long_form(each) for name, each in value.items()}
    return value


def found(report: Any) -> set[Finding]:
    """Return the failed checks of a report, each with its resource. A resource of deploy/ has its template's name before it."""
    reports = report if isinstance(report, list) else [report]
    findings = set()
    for each in reports:
        if each["summary"]["parsing_errors"]:
            raise SystemExit(f"error: checkov can't read a template: {each['results'].get('parsing_errors')}")
        for check in each["results"]["failed_checks"]:
            resource = check["resource"].rpartition(".")[2]
            template = Path(check["file_path"]).stem
            findings.add((check["check_id"], resource if template == "template" else f"{template}.{resource}"))
    return findings


def answered(answers: dict[str, Any], functions: Iterable[str]) -> set[Finding]:
    """Return the findings that have an answer."""
    known = set()
    for check, answer in answers.items():
        named = set(answer["resources"])
        if "functions" in named:
            named |= set(functions)
        named -= {"functions", *(name[1:] for name in named if name.startswith("-"))}
        known |= {(check, name) for name in named if not name.startswith("-")}
    return known


def differences(findings: set[Finding], known: set[Finding]) -> list[str]:
    """Return a line for each finding without an answer, and for each answer without a finding."""
    return [
        *(f"no answer: {check} about {resource}" for check, resource in sorted(findings - known)),
        *(f"no finding: {check} about {resource}" for check, resource in sorted(known - findings)),
    ]


def checked() -> Any:
    """Run checkov. Return its report."""
    with tempfile.TemporaryDirectory() as folder:
        template = Path(folder) / "template.json"
        template.write_text(json.dumps(long_form(translation(TEMPLATE))))
        files = [template, *(path for path in (ROOT / "deploy").glob("*.yaml") if not path.name.endswith(".rbac.yaml"))]
        command: list[str | Path] = [
            ROOT / ".local/bin/uv",
            "tool",
            "run",
            "--quiet",
            "--python",
            sys.executable,
            "--from",
            CHECKOV,
            "checkov",
        ]
        options = ["--framework", "cloudformation", "--quiet", "--compact", "--skip-download", "--output", "json"]
        named = [part for file in files for part in ("--file", file)]
        done = subprocess.run([*command, *options, *named], capture_output=True, text=True, check=False)
    if not done.stdout.lstrip().startswith(("{", "[")):
        raise SystemExit(f"error: checkov can't be run (uv fetches {CHECKOV} from the index): {done.stderr[-1000:]}")
    return json.loads(done.stdout)


def main() -> None:
    """Compare, and leave the report in .local/checkov.json."""
    report = checked()
    (STATE / "checkov.json").write_text(json.dumps(report))
    findings = found(report)
    known = answered(tomllib.loads(ANSWERS.read_text()), FUNCTIONS)
    if wrong := differences(findings, known):
        sys.exit("\n".join([*wrong, f"mend it, or answer it in {ANSWERS.relative_to(ROOT)}"]))
    print(f"{len(findings)} findings of checkov, each with its answer in {ANSWERS.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
