"""This is how long a caller waits for a provider: each of its calls has limits of time, and what is looked at takes many calls.

Used by the plans and by the survey, which look without deleting: what is left behind only reads.
"""

from collections.abc import Callable
from concurrent.futures import Future, wait
from threading import Thread

from tracker.cleanup.core.contract import Busy


def within[T](seconds: float, call: Callable[[], T], too_long: str) -> T:
    """Return what a call returns, and raise what it raises. Busy, with that text, if it takes longer.

    It then ends by its own limits, and nobody hears of it.
    """
    future = Future[T]()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is waited for
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    wait([future], max(0.0, seconds))
    if not future.done():
        raise Busy(too_long)
    return future.result()
