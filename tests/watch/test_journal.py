"""Each transition logs one line, and what is no transition logs none."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from tests.fakes import NOW, Clock, a_deployment
from tracker.lifecycle.transitions import Lifecycle
from tracker.model import brakes
from tracker.model.deployment import Deployment, Resource, format_time
from tracker.store.records import Records
from tracker.store.table import VersionConflict
from tracker.watch import journal

ENFORCE = brakes.parse("enforce")
INSTANCE = Resource(kind="ec2:instance", id="i-0123456789abcdef0", named_by="instance_id")
GONE = msgspec.structs.replace(INSTANCE, state="gone", proof="DescribeInstances: terminated", gone_at=format_time(NOW))

type Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Lines:
    """The lines since it was last called."""
    written: list[dict[str, Any]] = []

    def info(message: str, *, extra: dict[str, Any]) -> None:
        assert message == journal.MESSAGE
        written.append(extra)

    monkeypatch.setattr(journal.logger, "info", info)

    def taken() -> list[dict[str, Any]]:
        found = written.copy()
        written.clear()
        return found

    return taken


def round_of(store: Records) -> Deployment:
    found = store.get("svc-1")
    assert found
    return found


def test_each_transition_of_a_life_logs_one_line(
    lifecycle: Lifecycle, store: Records, clock: Clock, lines: Lines
) -> None:
    lifecycle.register(a_deployment(registered_by="arn:alice"))
    (line,) = lines()
    assert "from" not in line
    assert (line["to"], line["facts"], line["by"]) == ("Active", ["registered"], "arn:alice")
    lifecycle.amend("svc-1", lambda old: (msgspec.structs.replace(old, region="us-east-2"), None))
    (line,) = lines()
    assert line["facts"] == ["amended"]
    clock.forward(seconds=3600)
    assert lifecycle.due("svc-1", ENFORCE)
    (line,) = lines()
    assert line == {
        "blueprint_id": "svc-1",
        "generation": round_of(store).generation,
        "deployment_type": "AwsEc2",
        "platform": "aws",
        "round": 1,
        "version": 3,
        "from": "Active",
        "to": "Terminating",
        "facts": ["terminating"],
        "why": "expired",
        "by": "tracker",
        "lag_seconds": 0.0,
    }
    lifecycle.progress(round_of(store), [INSTANCE], discovered=True)
    lifecycle.failing(round_of(store), "protected", "termination protection is on")
    assert lines() == []
    lifecycle.restored("svc-1", round_of(store).generation, 1, "the workflow caught X")
    (line,) = lines()
    assert (line["from"], line["to"], line["class"], line["by"]) == ("Terminating", "Active", "protected", "tracker")
    assert line["failures"] == 1
    lifecycle.terminate("svc-1", reason="no longer needed", requested_by="arn:bob")
    (line,) = lines()
    assert (line["round"], line["why"], line["by"]) == (2, "no longer needed", "arn:bob")
    clock.forward(seconds=60)
    lifecycle.released(round_of(store), [GONE])
    (line,) = lines()
    assert line["facts"] == ["resource_gone", "cleanup_succeeded"]
    assert (line["to"], line["gone_seconds"]) == ("Terminated", 60.0)


def test_what_changes_nothing_logs_nothing(lifecycle: Lifecycle, lines: Lines) -> None:
    lifecycle.register(a_deployment())
    lifecycle.terminate("svc-1", reason="r", requested_by="arn:bob")
    assert len(lines()) == 2
    lifecycle.terminate("svc-1", reason="again", requested_by="arn:bob")
    lifecycle.due("svc-1", ENFORCE)
    assert lines() == []


def test_a_change_that_loses_a_race_is_logged_once_it_is_committed(
    lifecycle: Lifecycle, store: Records, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    lifecycle.register(a_deployment())
    lines()
    real = lifecycle._records._table.write
    lost: list[int] = []

    def late(write: Callable[[], object]) -> None:
        if not lost:
            lost.append(1)
            raise VersionConflict
        real(write)

    monkeypatch.setattr(lifecycle._records._table, "write", late)
    lifecycle.forget("svc-1", reason="by hand", requested_by="arn:bob")
    (line,) = lines()
    assert (line["to"], line["why"], line["by"]) == ("Terminated", "by hand", "arn:bob")


def test_a_move_and_a_pause_log_one_line_each(lifecycle: Lifecycle, store: Records, clock: Clock, lines: Lines) -> None:
    lifecycle.register(a_deployment())
    lifecycle.terminate("svc-1", reason="r", requested_by="arn:bob")
    lines()
    lifecycle.paused(round_of(store))
    (line,) = lines()
    assert (line["facts"], line["to"]) == (["cleanup_paused"], "Active")
    lifecycle.amend("svc-1", lambda old: (old, "svc-2"))
    (line,) = lines()
    assert (line["blueprint_id"], line["facts"]) == ("svc-2", ["moved"])


def test_a_line_has_no_text_of_a_provider_and_nothing_of_metadata(
    lifecycle: Lifecycle, store: Records, lines: Lines
) -> None:
    lifecycle.register(a_deployment(metadata={"note": "canary"}, cleanup_webhook="https://example.com/canary"))
    lifecycle.terminate("svc-1", reason="r" * 2000, requested_by="arn:bob")
    lifecycle.failing(round_of(store), "unreachable", "canary")
    lifecycle.restored("svc-1", round_of(store).generation, 1, "canary")
    found = lines()
    assert len(found) == 3
    assert "canary" not in str(found)
    assert max(len(str(line)) for line in found) < 1000


def test_the_time_from_due_to_gone_begins_where_the_first_round_did(
    lifecycle: Lifecycle, store: Records, clock: Clock, lines: Lines
) -> None:
    lifecycle.register(a_deployment(ttl=3600))
    clock.forward(seconds=3610)
    lifecycle.due("svc-1", ENFORCE)
    lifecycle.restored("svc-1", round_of(store).generation, 1, "X")
    assert clock() == NOW + timedelta(seconds=3610)
    clock.forward(seconds=120)
    assert lifecycle.due("svc-1", ENFORCE)
    lifecycle.released(round_of(store), [GONE])
    found = lines()
    assert [line["lag_seconds"] for line in found if "lag_seconds" in line] == [10.0]
    assert [line["gone_seconds"] for line in found if "gone_seconds" in line] == [130.0]
