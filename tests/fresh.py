"""A function's process that starts anew: nothing that the tracker keeps as long as its process lives is there any more."""

from tracker import runtime
from tracker.clients import client, patient_client
from tracker.model import brakes
from tracker.model.settings import settings


def forget_process() -> None:
    """Forget the settings, the clients, and what functions are put together of."""
    for kept in (
        settings,
        client,
        patient_client,
        runtime.table,
        runtime.records,
        runtime.deliveries,
        runtime.lifecycle,
        runtime.topic,
        runtime.strays,
        runtime.stray_lifecycle,
        runtime.due_queue,
    ):
        kept.cache_clear()
    brakes._absent.clear()
