"""docs/evidence.md is what a run left, and says what it didn't leave."""

import json
from datetime import UTC, datetime
from pathlib import Path

from docs.evidence import page

NOW = datetime(2026, 12, 1, tzinfo=UTC)


def test_without_a_run_nothing_is_claimed(tmp_path: Path) -> None:
    text = "\n".join(page(tmp_path, NOW))
    assert "- Run: not noted, of commit not noted" in text
    assert "No run has left its stages." in text
    assert text.count("Not run.") == 2
    assert "Not measured." in text


def test_a_run_is_told_as_it_was(tmp_path: Path) -> None:
    run = tmp_path / "ci"
    run.mkdir()
    (run / "commit").write_text("abc123\n")
    (run / "stages.tsv").write_text("check\t60\tpassed\ntest\t900\tFAILED (1)\n")
    (run / "test.log").write_text(
        "SKIPPED [2] tests/real/test_x.py:12: no Docker engine\n= 1 failed, 4100 passed, 2 skipped in 890.12s (0:14:50) =\n"
    )
    (run / "test-real.xml").write_text(
        '<testsuites><testcase><properties><property name="noted" value="random lives: 800 steps"/></properties></testcase></testsuites>'
    )
    (run / "fuzz.log").write_text("     5 200 GET /deployments\n  5120 calls\n")
    (tmp_path / "matrix.json").write_text(json.dumps({"AwsEc2": {"throttled": "pass", "cut": "fail", "odd": "n/a"}}))
    (tmp_path / "bench.json").write_text(json.dumps([{"name": "a tick", "ratio": 1.5, "aim": 1.0}]))
    text = "\n".join(page(tmp_path, NOW))
    assert "of commit abc123" in text
    assert "| check | 60 | passed |  |" in text
    assert "| test | 900 | FAILED (1) | 1 failed, 4100 passed, 2 skipped in 890.12s (0:14:50) |" in text
    assert "| `make test-real` | random lives: 800 steps |" in text
    assert "| `make fuzz` | made-up 5120 calls |" in text
    assert "| `make test`: no Docker engine | 2 |" in text
    assert "1 types, 1 passed, 1 failed, 1 can't be there." in text
    assert "- failed: `AwsEc2`: cut" in text
    assert "| a tick | 1.5 | 1.0 | above |" in text
