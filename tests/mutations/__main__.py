"""Try every mutation, or those whose name or reason holds one of the words: python -m tests.mutations [WORD ...].

Each is applied to a copy of the layer in a temporary folder, where the tests that it names run; the working tree is left
alone. First those tests must pass on an unbroken copy. The exit code is 1 unless every mutation is killed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Literal

import pytest

from tests.mutations.mutation import LAYER, ROOT, Mutation, StaleError, mutations

PROCESSES = 2
LIMIT_SECONDS = 600
# Python takes compiled code for fresh where the size and the second of its source are the same.
COMPILED = shutil.ignore_patterns("__pycache__")

# stale: its text isn't in the code any more. broken: the tests could not be run.
Outcome = Literal["killed", "survived", "stale", "broken"]
OUTCOMES: dict[int, Outcome] = {pytest.ExitCode.OK: "survived", pytest.ExitCode.TESTS_FAILED: "killed"}


def main(words: Sequence[str], every: Sequence[Mutation]) -> int:
    """Try them, and print what became of each. Return the exit code."""
    chosen = [each for each in every if not words or any(word in f"{each.name} {each.why}" for word in words)]
    if not chosen:
        print("no mutation is called so")
        return 1
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        began = time.monotonic()
        if not passes(Path(folder) / "unbroken", chosen):
            return 1
        counts: Counter[Outcome] = Counter()
        with ThreadPoolExecutor(PROCESSES) as pool:
            running = {
                pool.submit(tried, Path(folder) / f"mutant-{n}", mutation): mutation
                for n, mutation in enumerate(chosen)
            }
            for done in as_completed(running):
                outcome, said = done.result()
                counts[outcome] += 1
                print(f"{outcome:9} {running[done].name}", flush=True)
                if outcome != "killed":
                    print(f"          {running[done].why}\n{said}", flush=True)
        summary = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
        print(f"{len(chosen)} mutations in {time.monotonic() - began:.0f} s: {summary}")
    return 0 if counts["killed"] == len(chosen) else 1


def passes(folder: Path, chosen: Sequence[Mutation]) -> bool:
    """Return whether the tests that the mutations name pass where nothing is broken: else they would kill anything."""
    names = sorted({test for mutation in chosen for test in mutation.tests})
    shutil.copytree(LAYER, folder, ignore=COMPILED)
    code, said = run(folder, "-n", str(PROCESSES), *names)
    if code != pytest.ExitCode.OK:
        print(f"the tests don't pass without any mutation:\n{said}")
    return code == pytest.ExitCode.OK


def tried(folder: Path, mutation: Mutation) -> tuple[Outcome, str]:
    """Apply one to a copy of the layer, and run its tests there; with what they said."""
    try:
        module, broken = mutation.applied()
    except StaleError as error:
        return "stale", str(error)
    shutil.copytree(LAYER, folder, ignore=COMPILED)
    (folder / module).write_text(broken)
    code, said = run(folder, "--exitfirst", *mutation.tests)
    shutil.rmtree(folder)
    return OUTCOMES.get(code, "broken"), said


def run(layer: Path, *arguments: str) -> tuple[int, str]:
    """Run pytest over the tests of the working tree with the layer in that folder; its exit code and its output."""
    environment = {name: value for name, value in os.environ.items() if name != "REQUIRE_REAL"}
    # What fails here must not be kept and tried again where nothing is broken.
    environment["HYPOTHESIS_STORAGE_DIRECTORY"] = str(layer.parent / "hypothesis")
    environment["PYTHONPATH"] = f"{layer}{os.pathsep}{ROOT}"
    options = ["-o", f"pythonpath={layer} {ROOT}", "-p", "no:cacheprovider", "--quiet", "--tb=short", "--moto"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    return done.returncode, done.stdout[-4000:]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], mutations()))
