"""Shows what is recorded: `GET /deployments`, `GET /deployments/{blueprint_id}` and its `GET .../deliveries`; and strays: `GET /strays`."""

from tracker.intake import api
from tracker.intake import strays as strays_said
from tracker.intake.listing import deliveries_listed, listed, parse_query
from tracker.runtime import deliveries, front_door, records, strays


def show_all(call: api.Call) -> api.Reply:
    """Reply 200 with `{"deployments": [...], "cursor": string or null}`."""
    return 200, listed(records(), parse_query(call.query))


def show(call: api.Call) -> api.Reply:
    """Reply 200 with the deployment, also under the key that it moved from."""
    return 200, api.shown(records().require(call.key))


def show_deliveries(call: api.Call) -> api.Reply:
    """Reply 200 with `{"deliveries": [...], "cursor": string or null}`: each delivery to the webhook, and its attempts.

    A delivery stays at the key that the deployment had when it was announced.
    """
    found = deliveries_listed(deliveries(), call.key, call.query)
    if not found["deliveries"]:
        records().require(call.key)
    return 200, found


def show_strays(call: api.Call) -> api.Reply:
    """Reply 200 with `{"strays": [...], "cursor": string or null}`."""
    return 200, strays_said.listed(strays(), call.query)


handler = front_door(
    {
        ("GET", "/deployments"): show_all,
        ("GET", "/deployments/{blueprint_id}"): show,
        ("GET", "/deployments/{blueprint_id}/deliveries"): show_deliveries,
        ("GET", "/strays"): show_strays,
    }
)
