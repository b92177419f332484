"""The matrix that CI compares: it is written however the tests are run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("processes", [[], ["-n", "1", "--dist", "loadgroup"]])
def test_it_is_written_whichever_process_ran_the_tests(tmp_path: Path, processes: list[str]) -> None:
    # None of the suite's own, so that its folder isn't read before the tests are collected.
    chosen = ["tests/model/test_settings.py", "--matrix", str(tmp_path / "matrix.json")]
    subprocess.run(
        [sys.executable, "-m", "pytest", "--quiet", "-p", "no:cacheprovider", *processes, *chosen],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    assert json.loads((tmp_path / "matrix.json").read_text()) == {}
