"""A typed client of the deployment tracker's API, and the command line `tracker`.

`Client.connect()` finds a stack and signs calls with the user's AWS credentials. What is exported here is loaded when it is first
asked for, so that `tracker --version` needn't wait for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from deployment_tracker.version import __version__

if TYPE_CHECKING:
    from deployment_tracker.client import Client
    from deployment_tracker.errors import (
        ApiError,
        Conflict,
        Denied,
        Invalid,
        NoCredentials,
        NoStack,
        NotFound,
        ServerFault,
        Throttled,
        TrackerError,
        Unreachable,
        Unsupported,
    )
    from deployment_tracker.models import Delivery, Deployment, Event, Page, Plan, Resource, Stray, Summary

__all__ = [
    "ApiError",
    "Client",
    "Conflict",
    "Delivery",
    "Denied",
    "Deployment",
    "Event",
    "Invalid",
    "NoCredentials",
    "NoStack",
    "NotFound",
    "Page",
    "Plan",
    "Resource",
    "ServerFault",
    "Stray",
    "Summary",
    "Throttled",
    "TrackerError",
    "Unreachable",
    "Unsupported",
    "__version__",
]
_MODELS = {"Delivery", "Deployment", "Event", "Page", "Plan", "Resource", "Stray", "Summary"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "client" if name == "Client" else "models" if name in _MODELS else "errors"
    return getattr(import_module(f"{__name__}.{module}"), name)
