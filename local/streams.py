"""Reads again from the table's stream what Lambda gave up: it puts where a batch was on the set-aside queue, and not what was in it.

Called by `local.replay`. The stream keeps what it brought for a day.
"""

from collections.abc import Iterator
from typing import Any

from botocore.exceptions import ClientError

# Of the errors of a stream, those that say that a position is older than what it keeps, or that its shard is gone.
PAST = frozenset({"TrimmedDataAccessException", "ResourceNotFoundException"})
# What each function is brought of the stream (template.yaml): the events' names and the item.
WANTED = {"announce": ({"INSERT", "MODIFY"}, "record"), "expire": ({"REMOVE"}, "lease")}


class TooOld(Exception):
    """The stream doesn't keep the batch any more."""


def batch(streams: Any, position: dict[str, Any], verb: str) -> list[dict[str, Any]]:
    """Return what a batch held of the changes that `announce` or `expire` is brought, as Lambda hands it over. TooOld."""
    names, item = WANTED[verb]
    return [
        change
        for change in _between(streams, position)
        if change["eventName"] in names and change["dynamodb"]["Keys"]["item"]["S"] == item
    ]


def _between(streams: Any, position: dict[str, Any]) -> Iterator[dict[str, Any]]:
    last = int(position["endSequenceNumber"])
    try:
        iterator = streams.get_shard_iterator(
            StreamArn=position["streamArn"],
            ShardId=position["shardId"],
            ShardIteratorType="AT_SEQUENCE_NUMBER",
            SequenceNumber=position["startSequenceNumber"],
        )["ShardIterator"]
        while iterator:
            found = streams.get_records(ShardIterator=iterator)
            for change in found["Records"]:
                if int(change["dynamodb"]["SequenceNumber"]) > last:
                    return
                # By its time the function would find that it was tried for long enough.
                change["dynamodb"].pop("ApproximateCreationDateTime", None)
                yield change
            if not found["Records"]:
                return
            iterator = found.get("NextShardIterator")
    except ClientError as error:
        if error.response["Error"]["Code"] in PAST:
            raise TooOld(str(error)) from error
        raise
