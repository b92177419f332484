"""`python -m local.fuzz` (`make fuzz`): thousands of calls that Schemathesis makes up from docs/openapi.json, to a stack of its own.

No answer may be a 5xx, and none one that the description doesn't have. Exits 1 if any is.
What was sent and answered in the last run is in .local/fuzz.
"""

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from local.build import ROOT, STATE, environment
from local.processes import LocalError
from local.stack import Stack

SCHEMATHESIS = STATE / "schemathesis" / "bin" / "schemathesis"
FOLDER = STATE / "fuzz"
# One type whose place is on this machine. No real provider hears of what is made up.
PARAMETERS = {"EnabledTypes": "AwsEc2"}
RUNS = 5
# Not checked: other methods are 404 here, never 405; and what the description allows may still lack what its type needs.
UNCHECKED = "unsupported_method,positive_data_acceptance"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m local.fuzz", description=__doc__)
    parser.add_argument("--calls", type=int, default=5000, help="at least so many (default %(default)s)")
    parser.add_argument(
        "--examples", type=int, default=400, help="cases of each operation in a phase of one run (default %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="of the first run; others count on from it (default %(default)s)"
    )
    arguments = parser.parse_args()
    try:
        with Stack(parameters=PARAMETERS) as stack:
            answers, failed = _calls(stack, arguments)
    except LocalError as error:
        sys.exit(f"error: {error}")
    for (label, status), count in sorted(answers.items()):
        print(f"{count:6} {status} {label}")
    print(f"{answers.total():6} calls")
    sys.exit(failed)


def _calls(stack: Stack, arguments: argparse.Namespace) -> tuple[Counter[tuple[str, int]], int]:
    """Run until there are enough: how many cases are found in one run depends on what the stack answers."""
    answers: Counter[tuple[str, int]] = Counter()
    for seed in range(arguments.seed, arguments.seed + RUNS):
        failed = _run(stack, arguments.examples, seed)
        answers += _answers()
        if failed or answers.total() >= arguments.calls:
            return answers, failed
    raise LocalError(f"{answers.total()} calls in {RUNS} runs are fewer than {arguments.calls}: raise --examples")


def _run(stack: Stack, examples: int, seed: int) -> int:
    """Return Schemathesis' exit code. What it sent and was answered is in calls.ndjson then."""
    FOLDER.mkdir(exist_ok=True)
    file = FOLDER / "openapi.json"
    file.write_text(json.dumps(_without_security()))
    command: list[str | Path] = [
        *(SCHEMATHESIS, "run", file, "--url", stack.running.api, "--seed", str(seed), "--workers", "4"),
        *("--max-examples", str(examples), "--suppress-health-check", "all", "--no-shrink"),
        *("--exclude-checks", UNCHECKED, "--continue-on-failure", "--warnings", "off", "--request-timeout", "150"),
        *("--report", "ndjson", "--report-ndjson-path", FOLDER / "calls.ndjson"),
    ]
    env = environment(**stack.running.variables, SCHEMATHESIS_HOOKS="local.fuzz_hooks", PYTHONPATH=str(ROOT))
    return subprocess.run(command, cwd=FOLDER, env=env, stdin=subprocess.DEVNULL, check=False).returncode


def _without_security() -> dict[str, Any]:
    """The description of calls that are all signed: what is answered to others is the stand-in's of API Gateway, not ours."""
    found: dict[str, Any] = json.loads((ROOT / "docs" / "openapi.json").read_text())
    del found["security"], found["components"]["securitySchemes"]
    return found


def _answers() -> Counter[tuple[str, int]]:
    """Return how often each operation was answered with each status."""
    found: Counter[tuple[str, int]] = Counter()
    for line in (FOLDER / "calls.ndjson").read_bytes().splitlines():
        recorder = msgspec.json.decode(line).get("ScenarioFinished", {}).get("recorder") or {}
        for id_, interaction in recorder.get("interactions", {}).items():
            case = recorder["cases"][id_]["value"]
            status = (interaction["response"] or {}).get("status_code", 0)
            found[f"{case['method']} {case['path']}", status] += 1
    return found


if __name__ == "__main__":
    main()
