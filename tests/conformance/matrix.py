"""Deployment types x faults: what the suite found, as `make matrix` prints and writes it.

`python -m tests.conformance.matrix STAND_INS REAL` compares two of them: where both tried a fault, both must have found the same.
"""

import json
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.target import FAULTS, Target, served
from tracker.model.catalogue import CATALOGUE

# The property of a test's report that says what it tried.
TRIED = "tried"
SIGNS = {"pass": "✓", "fail": "✗", "n/a": "·"}


def targets() -> list[type[Target]]:
    """Every target of every type that is served, in the catalogue's order."""
    found = []
    for type_ in CATALOGUE.values():
        if type_.module is None:
            continue
        platform, name = type_.module.split(".")
        module = f"tests.cleanup.providers.{platform}.test_{name}"
        if find_spec(f"tests.cleanup.providers.{platform}") and find_spec(module):
            found += served(import_module(module))
    return found


class Results:
    """By type and fault. One failed test of a fault is its failure; what wasn't tried isn't there."""

    def __init__(self) -> None:
        self._tried: dict[tuple[str, str], str] = {}
        self._targets = {target.deployment_type: target for target in reversed(targets())}

    def add(self, deployment_type: str, fault: str, when: str, outcome: str) -> None:
        """What became of one phase of one test."""
        if outcome == "skipped" or (when != "call" and outcome == "passed"):
            return
        key = (deployment_type, fault)
        if outcome != "passed" or self._tried.get(key) != "fail":
            self._tried[key] = "pass" if outcome == "passed" else "fail"

    @property
    def _found(self) -> dict[str, dict[str, str]]:
        """The rows, in the catalogue's order."""
        types = [name for name in CATALOGUE if any(each == name for each, _ in self._tried)]
        return {
            name: dict.fromkeys(self._targets[name].reasons(), "n/a")
            | {fault: result for (each, fault), result in self._tried.items() if each == name}
            for name in types
        }

    def as_json(self) -> str:
        """`{type: {fault: pass | fail | n/a}}`."""
        rows = {name: {fault: row[fault] for fault in FAULTS if fault in row} for name, row in self._found.items()}
        return json.dumps(rows, indent=1) + "\n"

    def table(self) -> Iterator[str]:
        """Lines for people."""
        width = max((len(name) for name in self._found), default=0)
        numbers = [f"{n:>3}" for n in range(1, len(FAULTS) + 1)]
        yield ""
        yield f"{'':{width}} {''.join(numbers)}  evidence"
        for name, row in self._found.items():
            cells = "".join(f"{SIGNS.get(row.get(fault, ''), '?'):>3}" for fault in FAULTS)
            yield f"{name:{width}} {cells}  {self._targets[name].evidence}"
        yield ""
        for n, (fault, sentence) in enumerate(FAULTS.items(), 1):
            yield f"{n:>3} {fault}: {sentence}"
        yield ""
        yield f"{SIGNS['pass']} holds  {SIGNS['fail']} FAILS  {SIGNS['n/a']} can't be, because:"
        for name in self._found:
            for fault, reason in self._targets[name].reasons().items():
                yield f"    {name}, {fault}: {reason}"
        counts = [list(row.values()).count(each) for each in SIGNS for row in [_flat(self._found)]]
        yield f"{len(self._found)} types: " + ", ".join(f"{n} {each}" for n, each in zip(counts, SIGNS, strict=True))


class Collector:
    """The plugin behind `--matrix FILE`: it collects what became of each type under each fault, writes it and prints it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._results = Results()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Of whichever process ran it."""
        for name, value in report.user_properties:
            if name == TRIED:
                deployment_type, fault = str(value).split(" ")
                self._results.add(deployment_type, fault, str(report.when), report.outcome)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(self._results.as_json())
        for line in self._results.table():
            terminalreporter.write_line(line)


def _flat(found: dict[str, dict[str, str]]) -> dict[str, str]:
    return {f"{name} {fault}": result for name, row in found.items() for fault, result in row.items()}


def compare(one: Path, other: Path) -> list[str]:
    """Return where two matrices disagree on what both tried."""
    first, second = _flat(json.loads(one.read_text())), _flat(json.loads(other.read_text()))
    both = [key for key in first if {first[key], second.get(key, "n/a")} <= {"pass", "fail"}]
    print(f"{len(both)} results compared")
    return [f"{key}: {first[key]}, and {second[key]} on the real one" for key in both if first[key] != second[key]]


if __name__ == "__main__":
    disagreements = compare(Path(sys.argv[1]), Path(sys.argv[2]))
    print("\n".join(disagreements) or "they agree")
    sys.exit(1 if disagreements else 0)
