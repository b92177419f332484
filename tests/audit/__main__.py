"""`make audit-templates`: what checkov and cfn-guard find about the stack and about deploy/, against the answers in findings.toml."""

import json
import sys
import tempfile
import tomllib
from pathlib import Path

from local.build import STATE
from tests.audit import checkov, guard
from tests.audit.findings import ANSWERS, Finding, answered, differences, templates
from tests.test_template import FUNCTIONS, ROOT


def main() -> None:
    """Compare, and leave each tool's report below .local."""
    findings: set[Finding] = set()
    for tool in (checkov, guard):
        name = tool.__name__.rpartition(".")[2]
        with tempfile.TemporaryDirectory() as folder:
            report = tool.report(templates(Path(folder)))
        (STATE / f"{name}.json").write_text(json.dumps(report))
        mine = tool.found(report)
        print(f"{name}: {len(mine)} findings")
        findings |= mine
    known = answered(tomllib.loads(ANSWERS.read_text()), FUNCTIONS)
    if wrong := differences(findings, known):
        sys.exit("\n".join([*wrong, f"mend it, or answer it in {ANSWERS.relative_to(ROOT)}"]))
    print(f"each has its answer in {ANSWERS.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
