"""The order in which the demo plays its scenes, and its end when one goes wrong."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from local.demo import __main__ as demo
from local.demo import scene as scenes
from local.processes import PATIENCE

ALONE = (
    "fails_and_is_mended",
    "terminated_by_a_call",
    "ended_by_events",
    "not_ours",
    "never_reported",
    "recorded_by_nobody",
    "warned_extended_and_held",
    "told_to_its_webhook",
    "told_to_a_webhook_that_fails",
)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Return what happened, in its order. Each scene only says that it was played."""
    said: list[str] = []

    def scene(name: str) -> Callable[..., None]:
        def play(_: object, heard: Callable[[], object] = lambda: None) -> None:
            said.append(name)
            heard()

        return play

    for name in (*ALONE, "expires_by_its_lease", "a_container", "found_by_the_sweep"):
        monkeypatch.setattr(demo, name, scene(name))
    monkeypatch.setattr(demo, "sweep", lambda _, *, is_on: said.append(f"sweep {is_on}"))
    monkeypatch.setattr(demo, "leases", lambda _, *, are_heard: said.append(f"leases {are_heard}"))
    monkeypatch.setattr(demo, "what_was_announced", lambda *_, **__: said.append("announced"))
    yield said
    scenes.broken_off.clear()


def play() -> None:
    nothing: Any = None
    demo.play_scenes(nothing, nothing, nothing)


def test_the_sweep_comes_on_when_both_scenes_that_need_it_off_were_heard(played: list[str]) -> None:
    play()
    assert played[0] == "sweep False"
    assert played[-1] == "announced"
    change = played.index("leases False")
    assert played[change + 1] == "sweep True"
    assert {"expires_by_its_lease", "a_container"} <= set(played[:change])
    assert played.index("found_by_the_sweep") > change
    assert set(ALONE) <= set(played)


@pytest.mark.parametrize("wrong", ["expires_by_its_lease", "found_by_the_sweep", "not_ours"])
def test_a_scene_that_goes_wrong_ends_the_others_that_wait(
    wrong: str, played: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def goes_wrong(*_: object) -> None:
        raise scenes.WrongError("not so")

    def waits(*_: object) -> None:
        scenes.until(lambda: None)

    monkeypatch.setattr(demo, "fails_and_is_mended", waits if wrong != "found_by_the_sweep" else lambda _: None)
    monkeypatch.setattr(demo, wrong, goes_wrong)
    since = time.monotonic()
    with pytest.raises(scenes.WrongError, match="not so"):
        play()
    assert time.monotonic() - since < PATIENCE / 10
    assert "announced" not in played
