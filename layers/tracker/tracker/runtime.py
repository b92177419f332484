"""Puts a function together: its logger, tracer and metrics, and the tracker's parts over this stack's settings.

Only handlers import it. Each part is made when it is first needed, and kept as long as the function's process lives.
"""

import logging
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer, single_metric
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError
from aws_lambda_powertools.utilities.typing import LambdaContext

from tracker.intake import api, events
from tracker.lifecycle.horizon import DueQueue
from tracker.lifecycle.strays import StrayLifecycle
from tracker.lifecycle.transitions import Lifecycle
from tracker.lifecycle.workflow import Workflow
from tracker.model import brakes
from tracker.model.brakes import Brakes
from tracker.model.catalogue import CATALOGUE
from tracker.model.clock import utc_now
from tracker.model.settings import settings
from tracker.notify.announcements import Topic
from tracker.store.deliveries import Deliveries
from tracker.store.records import Records
from tracker.store.strays import Strays
from tracker.store.table import Table
from tracker.watch.measures import Measure

# At DEBUG these log whole requests and answers: secrets, tokens, the URLs of webhooks.
LOUD = ("boto3", "botocore", "docker", "google", "kubernetes", "paramiko", "pynamodb", "requests", "urllib3")
for name in LOUD:
    logging.getLogger(name).setLevel(logging.INFO)

# What callers are told of each mode of the brake.
MODES_MEAN = {
    "enforce": "cleanups on {platform} run",
    "pause": "cleanups on {platform} are paused: none begins before the brake is let go, and the record is live until then",
    "observe": "cleanups on {platform} are only planned: none begins before the brake is let go, and the record is live until then",
    "unknown": "the brake can't be read, and without it no cleanup begins",
}

NAMESPACE = "DeploymentTracker"
UNITS = {"Count": MetricUnit.Count, "Seconds": MetricUnit.Seconds, "None": MetricUnit.NoUnit}

type Handler = Callable[[dict[str, Any], LambdaContext], dict[str, Any]]

logger = Logger()
tracer = Tracer()
metrics = Metrics(namespace=NAMESPACE)


def entry_point(handle: Handler) -> Handler:
    """Decorate a function's handler, so that its context is logged, its calls are traced and its metrics are written."""
    traced: Handler = tracer.capture_lambda_handler(metrics.log_metrics(handle), capture_response=False)
    entry: Handler = logger.inject_lambda_context(traced)
    return entry


def front_door(routes: api.Routes, take: Callable[[events.ServiceEvent], None] | None = None) -> Handler:
    """Return the handler of a function that answers the gateway by `routes`.

    With `take`, the function also handles the Blueprint events in its queue, and `take` is called with each.
    """

    @entry_point
    def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
        if take is None or api.is_call(event):
            return api.serve(event, routes)
        return events.serve(event, take, dead_letters=settings().dead_letter_queue_url, now=utc_now)

    return handler


def modes_in_force() -> Brakes:
    """Return the brake's modes. A brake that can't be read is counted, and an alarm is raised. GetParameterError."""
    return brakes.read(
        settings().mode_parameter,
        lambda: metrics.add_metric("BrakeUnreadable", MetricUnit.Count, 1),
        platforms={each.platform for each in CATALOGUE.values()},
    )


def show(measures: Iterable[Measure]) -> None:
    """Write measures as metrics. One with dimensions has a line of its own, beside that of the invocation."""
    for each in measures:
        if not each.dimensions:
            metrics.add_metric(each.name, UNITS[each.unit], each.value)
            continue
        with single_metric(each.name, UNITS[each.unit], each.value, namespace=NAMESPACE) as metric:
            metric.add_dimension("service", metrics.service or "")
            for name, value in each.dimensions.items():
                metric.add_dimension(name, value)


def brake_on(platform: str) -> dict[str, str]:
    """Return `{"mode", "message"}`, which tells a caller what the brake makes of a platform's cleanups.

    The mode is `unknown` if SSM doesn't answer. A call is served all the same: it doesn't clean up anything itself.
    """
    try:
        mode: str = modes_in_force().mode(platform)
    except GetParameterError:
        logger.exception("the brake can't be read")
        mode = "unknown"
    return {"mode": mode, "message": MODES_MEAN[mode].format(platform=platform)}


@cache
def table() -> Table:
    """Return this stack's table."""
    return Table(settings().table_name)


@cache
def records() -> Records:
    """Return the deployments in this stack's table."""
    return Records(table(), retention=settings().retention)


@cache
def deliveries() -> Deliveries:
    """Return the deliveries in this stack's table."""
    return Deliveries(table())


@cache
def lifecycle() -> Lifecycle:
    """Return the state machine over this stack's table and workflow."""
    workflow = Workflow(settings().state_machine_arn, settings().plan_function)
    return Lifecycle(records(), workflow, settings(), queue=due_queue())


@cache
def strays() -> Strays:
    """Return the strays in this stack's table."""
    return Strays(table(), records())


@cache
def stray_lifecycle() -> StrayLifecycle:
    """Return the transitions of strays over this stack's table."""
    return StrayLifecycle(strays(), records(), settings())


@cache
def due_queue() -> DueQueue:
    """Return the queue of what is due soon."""
    return DueQueue(settings().due_queue_url)


@cache
def topic() -> Topic:
    """Return the topic that this stack announces on."""
    return Topic(settings().topic_arn, deliveries())
