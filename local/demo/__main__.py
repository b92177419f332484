"""The main job, shown: `python -m local.demo` starts a stack of its own and lets real things be registered, end and go.

Each scene tells its timeline from what the tracker's API says, and is checked by asking EC2 and Docker themselves.
Exits 1 if anything is not as it should be.
"""

import sys
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from threading import Barrier

from local.demo.container import a_container
from local.demo.ends import (
    ended_by_events,
    expires_by_its_lease,
    fails_and_is_mended,
    found_by_the_sweep,
    not_ours,
    terminated_by_a_call,
)
from local.demo.forgotten import STRAY_GAP, never_reported, recorded_by_nobody
from local.demo.scene import Timeline, WrongError, broken_off, leases, sweep
from local.demo.terms import warned_extended_and_held
from local.demo.told import (
    GAPS,
    Receiver,
    Subscriber,
    told_to_a_webhook_that_fails,
    told_to_its_webhook,
    what_was_announced,
)
from local.listener import Listener
from local.processes import LocalError
from local.stack import Stack

# Those that need nothing but the stack.
SCENES = 11
# A stray needn't be old here.
PARAMETERS = {"WebhookGaps": GAPS, "StrayGap": str(STRAY_GAP), "StrayGrace": "0"}


def play(stack: Stack) -> None:
    """All scenes, side by side where they don't disturb each other."""
    topic = Listener(stack)
    with Receiver(stack, [200]) as receiver:
        play_scenes(stack, topic, Subscriber(stack, receiver))


def play_scenes(stack: Stack, topic: Listener, subscriber: Subscriber) -> None:
    """Play all scenes side by side while both listen. What needs the sweep begins once what needs it off has begun."""
    sweep(stack, is_on=False)
    print("\nThe sweep is off: what expires now does so by its removed lease.\n")
    scenes = [fails_and_is_mended, terminated_by_a_call, ended_by_events, not_ours, never_reported]
    scenes += [recorded_by_nobody, warned_extended_and_held, told_to_its_webhook, told_to_a_webhook_that_fails]
    by_the_sweep: list[Future[None]] = []

    with ThreadPoolExecutor(SCENES + 1) as pool:

        def change_over() -> None:
            leases(stack, are_heard=False)
            sweep(stack, is_on=True)
            print("\nNow the stream of removed leases is off, and the sweep of every minute is on.\n")
            by_the_sweep.append(pool.submit(found_by_the_sweep, stack))

        heard = Barrier(2, action=change_over)
        playing = [pool.submit(scene, stack, heard.wait) for scene in (expires_by_its_lease, a_container)]
        playing += [pool.submit(scene, stack) for scene in scenes]
        try:
            for done in as_completed(playing):
                done.result()
            for done in by_the_sweep:
                done.result()
        except BaseException:
            # Also at Ctrl-C no scene waits for what will never come.
            heard.abort()
            broken_off.set()
            raise
    what_was_announced(stack, topic, subscriber, deployments=SCENES)


def main() -> None:
    """Set up, play, tidy up."""
    try:
        with Stack(parameters=PARAMETERS) as stack:
            Timeline.begin()
            play(stack)
            print(f"\nAll as it should be, in {Timeline.seconds():.0f} s after set-up.")
            print(
                "To look at a stack of your own: `make up`, then `.venv/bin/tracker ls`, or `.venv/bin/tracker ui` in a browser."
            )
    except (WrongError, LocalError) as error:
        sys.exit(f"\nNOT as it should be: {error}")


if __name__ == "__main__":
    main()
