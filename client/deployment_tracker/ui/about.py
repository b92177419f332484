"""This is what the page says of the stack itself: its name, where it is, and its brake, read with the user's credentials."""

import os
import threading
import time
from typing import Any

from deployment_tracker.catalogue import catalogue
from deployment_tracker.cli.asked import Asked
from deployment_tracker.cli.braking import read_brake
from deployment_tracker.client import Client
from deployment_tracker.errors import TrackerError

# Seconds for which an answer holds, however many pages ask.
_KEPT = 4


class About:
    """The stack of a client. The brake is asked for at most every few seconds."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._asked = Asked()
        self._asked.client = client
        self._lock = threading.Lock()
        self._brake: tuple[float, dict[str, Any]] | None = None

    def stack(self) -> dict[str, Any]:
        """Return the name of the stack, its region, who signs, and the platform of each type."""
        place = self._client.place
        profile = "" if place.is_local else self._client.aws.profile or os.environ.get("AWS_PROFILE", "")
        return {
            "name": place.name,
            "region": place.region,
            "is_local": place.is_local,
            "profile": profile,
            "platforms": {name: each.platform for name, each in catalogue().types.items()},
        }

    def brake(self) -> dict[str, Any]:
        """Return `{"is_known", "mode", "exceptions"}`, or why it isn't known."""
        with self._lock:
            if self._brake is None or time.monotonic() - self._brake[0] > _KEPT:
                self._brake = (time.monotonic(), self._read())
            return self._brake[1]

    def _read(self) -> dict[str, Any]:
        try:
            text, found = read_brake(self._asked)
        except TrackerError as error:
            return {"is_known": False, "why": error.message}
        if found is None:
            # The stack takes what it can't read for a pause.
            return {"is_known": True, "mode": "pause", "exceptions": {}, "unreadable": text}
        return {"is_known": True, "mode": found.default, "exceptions": found.exceptions}
