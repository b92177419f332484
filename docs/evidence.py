"""`make evidence`: docs/evidence.md, from what the last full run left below .local: its logs, the matrices and the measurements.

Nothing is run here. What a part of the run didn't leave is said to be missing, never guessed.
"""

import json
import platform
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).parent.parent
STATE = ROOT / ".local"
# What the tests run against, by the names of packages in the lock.
AGAINST = {
    "ministack": "the emulator that the whole stack is deployed on",
    "aws-sam-cli": "builds and deploys the template",
    "moto": "AWS in process, where a test needs no stack",
    "cfn-lint": "checks the templates",
}
CALLS = re.compile(r"^ *(\d+ calls)$", re.MULTILINE)
SUMMARY = re.compile(r"^=*\s*(\d+ (?:passed|failed|error|skipped)[^=\n]*? in [\d.]+s[^=\n]*?)\s*=*$", re.MULTILINE)


def page(state: Path = STATE, now: datetime | None = None) -> Iterator[str]:
    """Yield the lines of the page."""
    yield "# Evidence"
    yield ""
    yield "What the last full run (`.ci/run`, `make matrix`, `make bench`) found. Written by `make evidence` from what it left; nothing here is written by hand."
    yield ""
    run = state / "ci"
    yield f"- Written: {(now or datetime.now(UTC)).date()}"
    yield f"- Run: {_read(run / 'began') or 'not noted'}, of commit {_read(run / 'commit') or 'not noted'}"
    yield f"- On: {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    yield "- Never on an AWS account or at a provider: what only these show was read from their documents ([security](security.md#what-no-test-shows))."
    yield ""
    yield from _against(state)
    yield from _stages(run)
    yield from _noted(run)
    yield from _skipped(run)
    for name, title in (("matrix", "stand-ins"), ("matrix-real", "real targets")):
        yield from _matrix(state / f"{name}.json", title)
    yield from _bench(state / "bench.json")


def _against(state: Path) -> Iterator[str]:
    locked = {each["name"]: each["version"] for each in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
    yield "## Against what"
    yield ""
    yield "| | version | |"
    yield "|---|---|---|"
    for name, what in AGAINST.items():
        yield f"| {name} | {locked.get(name, 'not locked')} | {what} |"
    engine = (state / "dynamodb-local" / "DynamoDBLocal.jar").exists()
    yield f"| DynamoDB Local | {'there' if engine else 'not there: moto took its place'} | AWS's own engine for the table |"
    yield ""


def _stages(run: Path) -> Iterator[str]:
    yield "## Stages"
    yield ""
    lines = [line.split("\t") for line in _read(run / "stages.tsv").splitlines()]
    if not lines:
        yield "No run has left its stages."
    else:
        yield "| stage | seconds | result | tests |"
        yield "|---|---|---|---|"
        for name, seconds, result in lines:
            found = SUMMARY.findall(_read(run / f"{name}.log"))
            yield f"| {name} | {seconds} | {result} | {found[-1] if found else ''} |"
    yield ""


def _noted(run: Path) -> Iterator[str]:
    """Yield the figures that tests noted, and how many calls were made up."""
    found = [
        (f"`make {name}`", each.get("value", ""))
        for name in ("test", "test-real")
        if (run / f"{name}.xml").exists()
        for each in ET.parse(run / f"{name}.xml").iter("property")  # noqa: S314 - our own tests wrote it
        if each.get("name") == "noted"
    ]
    found += [("`make fuzz`", f"made-up {calls}") for calls in CALLS.findall(_read(run / "fuzz.log"))[-1:]]
    if found:
        yield "## Figures"
        yield ""
        yield "| by | what |"
        yield "|---|---|"
        yield from (f"| {by} | {what} |" for by, what in sorted(found))
        yield ""


def _skipped(run: Path) -> Iterator[str]:
    reasons: Counter[str] = Counter()
    for name in ("test", "test-real"):
        for number, reason in re.findall(
            r"^SKIPPED \[(\d+)\] \S+?:(?:\d+:)? (.*)$", _read(run / f"{name}.log"), re.MULTILINE
        ):
            # The page is of no machine.
            reasons[f"`make {name}`: {reason}".replace(str(Path.home()), "~")] += int(number)
    if reasons:
        yield "## Skipped"
        yield ""
        yield "| why | tests |"
        yield "|---|---|"
        yield from (f"| {reason} | {number} |" for reason, number in sorted(reasons.items()))
        yield ""


def _matrix(file: Path, title: str) -> Iterator[str]:
    yield f"## Deployment types and faults: {title}"
    yield ""
    if not file.exists():
        yield "Not run."
        yield ""
        return
    rows: dict[str, dict[str, str]] = json.loads(file.read_bytes())
    totals = Counter(result for faults in rows.values() for result in faults.values())
    yield f"{_when(file)}: {len(rows)} types, {totals['pass']} passed, {totals['fail']} failed, {totals['n/a']} can't be there."
    yield ""
    failed = [
        f"`{name}`: {fault}" for name, faults in rows.items() for fault, result in faults.items() if result == "fail"
    ]
    yield from (f"- failed: {each}" for each in failed)
    if failed:
        yield ""


def _bench(file: Path) -> Iterator[str]:
    yield "## Measured"
    yield ""
    if not file.exists():
        yield "Not measured."
        return
    yield f"{_when(file)}, each as a part of its aim or of what is published; above its aim is marked."
    yield ""
    yield "| what | ratio | aim | |"
    yield "|---|---|---|---|"
    for row in json.loads(file.read_bytes()):
        yield f"| {row['name']} | {row['ratio']} | {row['aim']} | {'above' if row['ratio'] > row['aim'] else ''} |"


def _when(file: Path) -> str:
    return f"{datetime.fromtimestamp(file.stat().st_mtime, UTC):%Y-%m-%d %H:%M} UTC"


def _read(file: Path) -> str:
    return file.read_text(errors="replace").strip() if file.exists() else ""


if __name__ == "__main__":
    (ROOT / "docs/evidence.md").write_text("\n".join(page()).rstrip() + "\n")
