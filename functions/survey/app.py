"""Looks in all places for what carries our mark and is claimed by no record. A tick of its schedule finds the places, and hands them out to itself."""

from typing import Any

from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from tracker.model.clock import utc_now
from tracker.model.places import Place
from tracker.model.settings import settings
from tracker.runtime import entry_point, logger, metrics, stray_lifecycle, strays
from tracker.survey import lanes, places
from tracker.survey.look import Surveyor


@entry_point
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Survey the places of a lane, or find all places and hand them out."""
    function = context.function_name
    if not lanes.is_lane(event):
        return tick(event.get("named_places", []), function)
    done = lanes.run(
        lanes.read_lane(event),
        look,
        time_left=lambda: context.get_remaining_time_in_millis() / 1000,
        hand_on=lambda lane: metrics.add_metric("Blind", MetricUnit.Count, lanes.hand_out([lane], function)),
    )
    return {"surveyed": done}


def tick(values: Any, function: str) -> dict[str, Any]:
    """Hand out every place once, those that an operator names included, and count the strays that wait for someone."""
    named, errors = places.named(values)
    for error in errors:
        logger.error("a place can't be surveyed", extra={"why": error.message})
    found = {place.digest: place for place in [*places.recorded(strays()), *named]}
    now = utc_now()
    waiting = sum(stray.is_told(now) for stray in strays().all())
    # An alarm notices when this metric is absent.
    metrics.add_metric("Strays", MetricUnit.Count, waiting)
    lost = lanes.hand_out(lanes.lanes(found.values(), now.timestamp()), function)
    metrics.add_metric("Blind", MetricUnit.Count, len(errors) + lost)
    return {"places": len(found), "strays": waiting}


def look(place: Place, time_left: Any) -> None:
    """Survey one place, and count whether it could be seen. Whatever goes wrong there, the next one has its turn."""
    try:
        found = Surveyor(strays(), stray_lifecycle(), settings(), utc_now).survey(place, time_left)
    except Exception:
        logger.exception("a place can't be surveyed", extra={"place": place.name})
        outcome = "blind"
    else:
        outcome = found.outcome
        logger.info("a place was surveyed", extra={"place": place.name, "found": found})
        metrics.add_metric("StraysAdopted", MetricUnit.Count, found.adopted)
    metrics.add_metric("Surveyed", MetricUnit.Count, int(outcome == "surveyed"))
    metrics.add_metric("Blind", MetricUnit.Count, int(outcome == "blind"))
