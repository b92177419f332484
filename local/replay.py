"""`make replay`: tries anew what was given up. Each message leaves its queue only after it was handed on.

| queue | its messages |
|---|---|
| `UndeliveredQueue` | deliveries to webhooks: put back into their queue, where each begins a new series of attempts |
| `DeadLetterQueue` | events of services: put back into the queue of their kind, where they are tried for an hour |
| `SetAsideQueue` | versions of records that couldn't be announced: handed to the announce function. Of batches that Lambda itself gave up only the place \
in the stream is there: for a day they are read again from it, and handed to the function that missed them |

On the stack of `make up`, or with `--stack` on one in an AWS account. `--only` chooses one queue, `--show` hands on nothing. What dies here in between is at worst sent twice: deliveries and
announcements keep their ids, and an event counts once.
"""

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import boto3
import msgspec
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from local.processes import LocalError
from local.stack import OUTPUTS, Running, client_of
from local.streams import TooOld, batch

# Seconds for an answer of the announce function, which may run for 60.
ANSWERED_WITHIN = 70

# Why what the stream doesn't keep any more stays, and what to do about it.
LOST = (
    "the stream has it no more: the sweep finds what was due, POST /deployments/{blueprint_id}/announce says the rest"
)

# The words for what waits, and the outputs that name its queues.
QUEUES = {
    "events": "DeadLetterQueueUrl",
    "announcements": "SetAsideQueueUrl",
    "deliveries": "UndeliveredQueueUrl",
}

type Clients = Callable[[str], Any]


class Kept(Exception):
    """A message stays in its queue; the text says why."""


class Replayed(NamedTuple):
    """For each message that was handed on, why it had been given up; for each that stays, why."""

    handed_on: list[str]
    kept: list[str]


def replay(sqs: Any, source: str, target: str) -> list[str]:
    """Move what is in the queue `source` now to `target` (URLs). Return why each message was there."""
    return drain(sqs, source, lambda body: sqs.send_message(QueueUrl=target, MessageBody=body)).handed_on


def drain(sqs: Any, source: str, hand_on: Callable[[str], object]) -> Replayed:
    """Hand on the body of each message that is in a queue now, and then delete it, unless `hand_on` raises Kept."""
    name = "ApproximateNumberOfMessages"
    left = int(sqs.get_queue_attributes(QueueUrl=source, AttributeNames=[name])["Attributes"][name])
    replayed = Replayed([], [])
    kept: dict[str, str] = {}
    # No more than there were: what comes back at once would go round for ever.
    while (seen := len(replayed.handed_on) + len(kept)) < left:
        found = sqs.receive_message(
            QueueUrl=source, MaxNumberOfMessages=min(10, left - seen), MessageAttributeNames=["reason"]
        ).get("Messages", [])
        # One that stays may be shown again while others are handed on.
        new = [message for message in found if message["MessageId"] not in kept]
        if not new:
            break
        for message in new:
            try:
                hand_on(message["Body"])
            except Kept as why:
                kept[message["MessageId"]] = message["ReceiptHandle"]
                replayed.kept.append(str(why))
                continue
            sqs.delete_message(QueueUrl=source, ReceiptHandle=message["ReceiptHandle"])
            reason = message.get("MessageAttributes", {}).get("reason", {}).get("StringValue")
            replayed.handed_on.append(reason or "received too often")
    for handle in kept.values():
        sqs.change_message_visibility(QueueUrl=source, ReceiptHandle=handle, VisibilityTimeout=0)
    return replayed


def put_back_event(sqs: Any, outputs: dict[str, str], body: str) -> None:
    """Put an event into the queue of its kind. Kept if it is of no kind that a service sends."""
    queues = {"Service Initiated": "InitiatedQueueUrl", "Service Terminated": "TerminatedQueueUrl"}
    kind = _read(body).get("detail-type")
    if kind not in queues:
        raise Kept("it isn't an event of a service")
    sqs.send_message(QueueUrl=outputs[queues[kind]], MessageBody=body)


def announce(functions: Any, name: str, body: str) -> None:
    """Have the function `name` announce a version that was set aside with its content. Kept if it can't yet.

    What the topic refuses for good the function sets aside anew, so that it is in the queue again.
    """
    record = _read(body)
    change = record.get("dynamodb")
    if not isinstance(change, dict):
        raise Kept("it is no version of a record")
    # Without its time, by which the function would find that it was tried for long enough, and set it aside anew at any error.
    timeless = {name: value for name, value in change.items() if name != "ApproximateCreationDateTime"}
    _hand_over(functions, name, [record | {"dynamodb": timeless}])


def set_aside(functions: Any, stream: Any, outputs: dict[str, str], body: str) -> None:
    """Hand on a message of the set-aside queue: a version with its content, or the place of a batch in the stream. Kept."""
    position = _read(body).get("DDBStreamBatchInfo")
    if position is None:
        announce(functions, outputs["AnnounceFunctionName"], body)
        return
    missed_by = str(_read(body).get("requestContext", {}).get("functionArn", ""))
    verb = "expire" if outputs["ExpireFunctionName"] in missed_by.split(":") else "announce"
    try:
        changes = batch(stream, position, verb)
    except (TooOld, KeyError) as error:
        raise Kept(LOST) from error
    _hand_over(functions, outputs[f"{verb.capitalize()}FunctionName"], changes)


def _hand_over(functions: Any, name: str, records: list[dict[str, Any]]) -> None:
    """Invoke a function with a batch of the stream. Kept if it can't handle all of it."""
    if not records:
        return
    answer = functions.invoke(FunctionName=name, Payload=msgspec.json.encode({"Records": records}))
    said = answer["Payload"].read()
    if answer.get("FunctionError"):
        raise Kept(f"the function failed: {said[:200].decode(errors='replace')}")
    if msgspec.json.decode(said)["batchItemFailures"]:
        raise Kept("it can't be announced now: the function's log says why")


def _read(body: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Kept("it isn't a JSON object") from error


def replay_all(clients: Clients, outputs: dict[str, str], only: str = "") -> dict[str, Replayed]:
    """Try anew what waits in each queue of a stack, or in the `only` one. Return what became of it, by the words for it."""
    sqs, functions, stream = clients("sqs"), clients("lambda"), clients("dynamodbstreams")
    put_back = partial(sqs.send_message, QueueUrl=outputs["DeliveriesQueueUrl"])
    ways: dict[str, Callable[[str], object]] = {
        "events": partial(put_back_event, sqs, outputs),
        "announcements": partial(set_aside, functions, stream, outputs),
        "deliveries": lambda body: put_back(MessageBody=body),
    }
    return {what: drain(sqs, outputs[queue], ways[what]) for what, queue in QUEUES.items() if only in ("", what)}


def waiting(sqs: Any, outputs: dict[str, str]) -> dict[str, int]:
    """Return how many messages wait in each queue. SQS counts them approximately."""
    name = "ApproximateNumberOfMessages"
    return {
        what: int(sqs.get_queue_attributes(QueueUrl=outputs[queue], AttributeNames=[name])["Attributes"][name])
        for what, queue in QUEUES.items()
    }


def local_stack() -> tuple[Clients, dict[str, str]]:
    """Return the clients and the outputs of the stack of `make up`."""
    if not OUTPUTS.exists():
        raise LocalError("no stack runs here: `make up` starts one, --stack names one on AWS")
    running = msgspec.json.decode(OUTPUTS.read_bytes(), type=Running)
    return partial(client_of, endpoint=running.endpoint), running.outputs


def named_region() -> str | None:
    """Return the region that the environment names as the AWS CLI reads it: boto3 knows AWS_DEFAULT_REGION alone."""
    return os.environ.get("AWS_REGION") or None


def aws_stack(name: str, region: str | None, profile: str | None) -> tuple[Clients, dict[str, str]]:
    """Return the clients and the outputs of a stack in the account that the credentials are for."""
    session = boto3.Session(profile_name=profile, region_name=region or named_region())
    (stack,) = session.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
    outputs = {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}
    return partial(session.client, config=Config(read_timeout=ANSWERED_WITHIN)), outputs


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m local.replay", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stack", help="the name of a stack on AWS (default: the one that `make up` started here)")
    parser.add_argument("--region", help="where it is")
    parser.add_argument("--only", choices=QUEUES, default="", help="one queue's messages (default: those of all)")
    parser.add_argument("--show", action="store_true", help="say how many wait, and hand on nothing")
    parser.add_argument("--profile", help="whose credentials are used")
    said = parser.parse_args()
    try:
        clients, outputs = aws_stack(said.stack, said.region, said.profile) if said.stack else local_stack()
        if said.show:
            for what, number in waiting(clients("sqs"), outputs).items():
                print(f"{number:6} {what} wait")
            return
        replayed = replay_all(clients, outputs, said.only)
    except (LocalError, BotoCoreError, ClientError) as error:
        sys.exit(f"error: {error}")
    for what, (handed_on, kept) in replayed.items():
        print(f"{len(handed_on)} {what} are tried anew" + (f", {len(kept)} stay where they are" if kept else ""))
        for reason in sorted(set(handed_on)):
            print(f"{handed_on.count(reason):6}  had been given up: {reason}")
        for reason in sorted(set(kept)):
            print(f"{kept.count(reason):6}  stay: {reason}")


if __name__ == "__main__":
    main()
