"""Sends again on request: one delivery to a webhook, or the announcements of a deployment."""

from tracker.clients import client
from tracker.intake import api
from tracker.intake.shapes import describe
from tracker.model.deployment import Deployment
from tracker.model.errors import Invalid, NotFound
from tracker.model.rights import check_may_act, may_act_on_everything
from tracker.model.settings import settings
from tracker.notify.deliveries import DeliveryRef, generation_of
from tracker.runtime import deliveries, front_door, records, topic

# No deployment comes to as many facts.
SEQUENCE_MAX = 1_000_000_000


def redeliver(call: api.Call) -> api.Reply:
    """Reply 202 with the series of attempts that begins: with the same id, URL and body, whatever the delivery's state."""
    api.json_object(call.body, allowed=set())
    delivery = deliveries().get(call.key, call.webhook_id)
    if delivery is None:
        raise NotFound(f"no delivery {call.webhook_id!r} of {call.key!r}")
    _check_right(call, _deployment_of(call))
    ref = DeliveryRef(delivery.blueprint_id, delivery.id, delivery.series + 1)
    client("sqs").send_message(QueueUrl=settings().deliveries_queue_url, MessageBody=ref.text)
    return 202, ref


def announce(call: api.Call) -> api.Reply:
    """Reply 200 with the ids of the announcements that were published again.

    The body is `{"from_sequence": n}`, 1 by default. Only the facts that the record still has can be announced again.
    """
    first = api.json_object(call.body, allowed={"from_sequence"}).get("from_sequence", 1)
    if not isinstance(first, int) or isinstance(first, bool) or not 1 <= first <= SEQUENCE_MAX:
        raise Invalid("from_sequence", describe(first), f"an integer from 1 to {SEQUENCE_MAX}", malformed=True)
    deployment = records().require(call.key)
    _check_right(call, deployment)
    events = [event for event in deployment.events if event.sequence >= first]
    return 200, {"announced": [topic().announce(deployment, event).id for event in events]}


def _deployment_of(call: api.Call) -> Deployment | None:
    """Return the deployment that a delivery is about: it may have moved away, or another may have the key now.

    None if it isn't recorded under that key any more.
    """
    generation = generation_of(call.webhook_id)
    found = records().find(call.key)
    return found if found and found.generation == generation else records().past(call.key, generation)


def _check_right(call: api.Call, deployment: Deployment | None) -> None:
    """Raise NotYours if the caller may not act on the deployment; NotFound if there is none, and the caller may not act on everything."""
    everything = settings().act_on_everything
    if may_act_on_everything(call.caller, everything):
        return
    if deployment is None:
        raise NotFound(f"the deployment of the delivery {call.webhook_id!r} isn't recorded any more")
    check_may_act(deployment, call.caller, everything)


handler = front_door(
    {
        ("POST", "/deployments/{blueprint_id}/deliveries/{webhook_id}/redeliver"): redeliver,
        ("POST", "/deployments/{blueprint_id}/announce"): announce,
    }
)
