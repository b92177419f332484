"""`make restore`: puts lost deployments back from a table that DynamoDB restored to a point in time, into the table of a stack.

    make restore ARGS="--stack deployment-tracker --from deployment-tracker-restored"

Only what the stack's table lacks is put back. What is there is newer than the point in time, or the same: it stays, with its expiry, its
lease and its place in a round. Leases aren't copied: each record that is put back gets one from its own expiry. One whose time is over,
or will be within `--grace`, is given that long, since an extension of it may be among what was lost. What happened after the point
in time isn't known: rounds and facts are numbered on so that none gets the name of one of then. Without `--write` nothing is written.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import boto3
import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from local.processes import LocalError
from local.replay import aws_stack, named_region
from tracker.model.clock import utc_now
from tracker.model.deployment import Deployment, Event, epoch, expiry, format_time, renumbered
from tracker.store.records import RECORD, Records
from tracker.store.table import Table, UnreadableError, VersionConflict, read_image

GRACE = timedelta(hours=24)
WHO = "restore"

type Scan = Callable[..., dict[str, Any]]


def found_in(scan: Scan) -> Iterator[Deployment | str]:
    """Yield each deployment of a restored table, and the key of each item that isn't a valid one. `scan` is DynamoDB's."""
    start: dict[str, Any] = {}
    while True:
        page = scan(
            FilterExpression="#item = :record",
            ExpressionAttributeNames={"#item": "item"},
            ExpressionAttributeValues={":record": {"S": RECORD}},
            **start,
        )
        for image in page["Items"]:
            try:
                yield read_image(image)
            except UnreadableError:
                yield str(image["blueprint_id"]["S"])
        if "LastEvaluatedKey" not in page:
            return
        start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}


def with_grace(old: Deployment, now: datetime, grace: timedelta) -> Deployment:
    """Return the version of a lost record that is put back. A live one whose time is nearly over lives for `grace` from now on."""
    until = now + grace
    end = expiry(old)
    new = renumbered(msgspec.structs.replace(old, version=old.version + 1, outbox=[]), now)
    if not old.is_live or old.cleanup.failures or end is None or end >= until.timestamp():
        return new
    fact = Event(
        sequence=new.sequence + 1,
        type="amended",
        at=format_time(now),
        status=old.status,
        round=old.cleanup.round,
        detail={"fields": ["expires_at"], "by": WHO},
    )
    return msgspec.structs.replace(
        new,
        expires_at=format_time(until),
        due_at=epoch(until),
        sequence=fact.sequence,
        events=[*old.events, fact],
        outbox=[fact],
    )


def put_back(
    records: Records,
    lost: Iterator[Deployment | str],
    now: datetime,
    grace: timedelta = GRACE,
    *,
    is_written: bool = True,
) -> Iterator[tuple[str, str]]:
    """Put back what the table lacks. Yield (key, what became of it) for each deployment of the restored table."""
    for old in lost:
        if isinstance(old, str):
            yield old, "unreadable"
            continue
        there = records.find(old.blueprint_id)
        if there is not None:
            yield old.blueprint_id, "kept" if there.generation == old.generation else "replaced since"
            continue
        new = with_grace(old, now, grace)
        if is_written:
            try:
                records.create(new)
            except VersionConflict:
                yield old.blueprint_id, "registered just now"
                continue
        yield old.blueprint_id, "put back, with grace" if new.outbox else "put back"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m local.restore", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stack", required=True, help="the name of the stack on AWS")
    parser.add_argument("--from", dest="source", required=True, help="the table that DynamoDB restored")
    parser.add_argument("--region", help="where it is")
    parser.add_argument("--profile", help="whose credentials are used")
    parser.add_argument("--grace", type=float, default=24, help="hours for what is over, or nearly (default: 24)")
    parser.add_argument("--write", action="store_true", help="put them back (default: only say what would be)")
    said = parser.parse_args()
    try:
        # The store takes its credentials from boto3's default session.
        region = said.region or named_region()
        boto3.setup_default_session(profile_name=said.profile, region_name=region)
        clients, outputs = aws_stack(said.stack, region, said.profile)
        records = Records(Table(outputs["TableName"], region=region))
        scan = partial(clients("dynamodb").scan, TableName=said.source, ConsistentRead=True)
        became = Counter[str]()
        for key, what in put_back(
            records, found_in(scan), utc_now(), timedelta(hours=said.grace), is_written=said.write
        ):
            became[what] += 1
            if what != "kept":
                print(f"{what}: {key}")
    except (LocalError, BotoCoreError, ClientError) as error:
        sys.exit(f"error: {error}")
    print(", ".join(f"{number} {what}" for what, number in sorted(became.items())) or "the restored table is empty")
    if not said.write:
        print("nothing was written: --write does")


if __name__ == "__main__":
    main()
