"""`make restore`: puts lost deployments back from a table that DynamoDB restored to a point in time, into the table of a stack.

    make restore ARGS="--stack deployment-tracker --from deployment-tracker-restored"

Only what the stack's table lacks is put back. What is there is newer than the point in time, or the same: it stays, with its expiry, its
lease and its place in a round. What is known to have ended or moved since stays so. Leases aren't copied: each record that is put back gets
one from its own expiry, or from a lease that outlived it. One whose time is over, or will be within `--grace`, is given that long, since an
extension of it may be among what was lost. Deliveries, receipts of replaced records and exempt strays come back as they were. What
happened after the point in time isn't known: rounds and facts are numbered on so that none gets the name of one of then. Without `--write`
nothing is written.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import boto3
import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from local.processes import LocalError
from local.replay import aws_stack, named_region
from tracker.model import moments
from tracker.model.clock import utc_now
from tracker.model.deployment import EVENTS_KEPT, Deployment, Event, epoch, expiry, format_time, renumbered
from tracker.model.strays import ADOPTED_PREFIX
from tracker.store.deliveries import DELIVERY
from tracker.store.records import LEASE, PAST, RECORD, Records
from tracker.store.table import (
    STRAY,
    Table,
    UnreadableError,
    VersionConflict,
    generations,
    read_image,
    read_stray_image,
)

GRACE = timedelta(hours=24)
WHO = "restore"
# More versions than a record comes to in the 35 days that DynamoDB keeps: no write that was under way knows one of them.
VERSIONS_AT_MOST = 10_000

type Scan = Callable[..., dict[str, Any]]
type Image = dict[str, Any]


def items_of(scan: Scan) -> Iterator[Image]:
    """Yield each item of a restored table, in DynamoDB's JSON. `scan` is DynamoDB's."""
    start: dict[str, Any] = {}
    while True:
        page = scan(**start)
        yield from page["Items"]
        if "LastEvaluatedKey" not in page:
            return
        start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}


class Restoring:
    """Puts what the table `name` of a stack lacks back into it. `dynamodb` is a client."""

    def __init__(
        self,
        dynamodb: Any,
        name: str,
        now: datetime,
        grace: timedelta = GRACE,
        *,
        is_written: bool = True,
    ) -> None:
        self._dynamodb = dynamodb
        self._name = name
        self._records = Records(Table(name, region=dynamodb.meta.region_name, clock=lambda: now))
        self._now = now
        self._grace = grace
        self._is_written = is_written

    def put_back(self, images: Iterable[Image]) -> Iterator[tuple[str, str]]:
        """Put back what the table lacks. Yield (key, what became of it) for each item of the restored table that may come back."""
        for image in images:
            key, item = image["blueprint_id"]["S"], image["item"]["S"]
            is_over = "ttl" in image and int(image["ttl"]["N"]) <= self._now.timestamp()
            if item == RECORD:
                yield key, "over" if is_over else self._record(image)
            elif not is_over and (item.startswith((DELIVERY, PAST)) or (item == STRAY and self._is_exempt(image))):
                yield key, f"{item.partition('#')[0]} {self._as_it_was(image)}"

    def _record(self, image: Image) -> str:
        """Put back the record of a deployment. Return what became of it."""
        try:
            old = read_image(image)
        except UnreadableError:
            return "unreadable"
        known = self._item(generations(old.generation), old.generation)
        key = known["to"]["S"] if known else old.blueprint_id
        try:
            there = self._records.find(key)
        except UnreadableError:
            return "damaged there: delete it first"
        if there is not None:
            if there.generation != old.generation:
                return "replaced since"
            return "adopted since" if key.startswith(ADOPTED_PREFIX) and old.blueprint_id != key else "kept"
        if old.status != "Terminated" and self._has_ended(key, old, known):
            return "ended since"
        new, how = self._next(msgspec.structs.replace(old, blueprint_id=key))
        if self._is_written:
            try:
                # A marker that leads nowhere is as good as none.
                self._records.create(new, over_marker=True)
            except VersionConflict:
                return "registered just now"
        return how

    def _has_ended(self, key: str, old: Deployment, known: Image | None) -> bool:
        """Return whether the table still says that a lost record was Terminated: by the time that its generation's item is kept, or by its receipt."""
        return (known is not None and "ttl" in known) or self._records.past(key, old.generation) is not None

    def _next(self, old: Deployment) -> tuple[Deployment, str]:
        """Return the version of a lost record that is put back, and how: with the later of its ends, and with grace if that is nearly over.

        What isn't begun by its end, such as a retry, has no use of another end.
        """
        newer = msgspec.structs.replace(old, version=old.version + VERSIONS_AT_MOST, outbox=[])
        numbered = renumbered(newer, self._now)
        end, how = expiry(old), "put back"
        if not old.is_live or end is None or moments.begins_at(old) != end:
            return numbered, how
        lease = self._item(old.blueprint_id, LEASE)
        if lease and lease.get("generation") == {"S": old.generation} and int(lease["ttl"]["N"]) > end:
            end, how = int(lease["ttl"]["N"]), "put back, with the end of its lease"
        if end < (self._now + self._grace).timestamp():
            end, how = epoch(self._now + self._grace), "put back, with grace"
        return (numbered if end == expiry(old) else self._until(end, numbered)), how

    def _until(self, end: int, old: Deployment) -> Deployment:
        """Return a live record with another end, and the fact that says so."""
        fact = Event(
            sequence=old.sequence + 1,
            type="amended",
            at=format_time(self._now),
            status=old.status,
            round=old.cleanup.round,
            detail={"fields": ["expires_at"], "by": WHO},
        )
        new = msgspec.structs.replace(
            old,
            expires_at=format_time(datetime.fromtimestamp(end, UTC)),
            warned=epoch(self._now),
            sequence=fact.sequence,
            events=[*old.events, fact][-EVENTS_KEPT:],
            outbox=[fact],
        )
        return msgspec.structs.replace(new, due_at=moments.due_at(new, self._now))

    def _is_exempt(self, image: Image) -> bool:
        """Return whether an item is a stray that someone wants to be left alone."""
        try:
            stray = read_stray_image(image)
        except UnreadableError:
            return False
        return stray.is_exempt(self._now) and not stray.ended_at

    def _as_it_was(self, image: Image) -> str:
        """Put back an item that nobody changes any more, unless there is one. What it announced then isn't announced again."""
        if self._item(image["blueprint_id"]["S"], image["item"]["S"]):
            return "kept"
        if self._is_written:
            item = {name: value for name, value in image.items() if name != "news"}
            try:
                self._dynamodb.put_item(
                    TableName=self._name, Item=item, ConditionExpression="attribute_not_exists(blueprint_id)"
                )
            except self._dynamodb.exceptions.ConditionalCheckFailedException:
                return "kept"
        return "put back"

    def _item(self, key: str, item: str) -> Image | None:
        """Return an item of the stack's table, by a consistent read. None if there is none."""
        keys = {"blueprint_id": {"S": key}, "item": {"S": item}}
        found: Image | None = self._dynamodb.get_item(TableName=self._name, Key=keys, ConsistentRead=True).get("Item")
        return found


def sign_in(profile: str | None, region: str | None) -> None:
    """Let all that is called here be called with the credentials of a profile: the store takes what the environment has, and boto3's sessions too."""
    if profile:
        credentials = boto3.Session(profile_name=profile).get_credentials().get_frozen_credentials()
        os.environ["AWS_ACCESS_KEY_ID"] = credentials.access_key
        os.environ["AWS_SECRET_ACCESS_KEY"] = credentials.secret_key
        os.environ["AWS_SESSION_TOKEN"] = credentials.token or ""
    boto3.setup_default_session(region_name=region)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m local.restore", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stack", required=True, help="the name of the stack on AWS")
    parser.add_argument("--from", dest="source", required=True, help="the table that DynamoDB restored")
    parser.add_argument("--region", help="where both are")
    parser.add_argument("--profile", help="whose credentials are used")
    parser.add_argument("--grace", type=float, default=24, help="hours for what is over, or nearly (default: 24)")
    parser.add_argument("--write", action="store_true", help="put them back (default: only say what would be)")
    said = parser.parse_args()
    try:
        region = said.region or named_region()
        sign_in(said.profile, region)
        clients, outputs = aws_stack(said.stack, region, said.profile)
        dynamodb, grace = clients("dynamodb"), timedelta(hours=said.grace)
        restoring = Restoring(dynamodb, outputs["TableName"], utc_now(), grace, is_written=said.write)
        became = Counter[str]()
        for key, what in restoring.put_back(
            items_of(partial(dynamodb.scan, TableName=said.source, ConsistentRead=True))
        ):
            became[what] += 1
            if not what.endswith("kept"):
                print(f"{what}: {key}")
    except (LocalError, BotoCoreError, ClientError) as error:
        sys.exit(f"error: {error}")
    print(", ".join(f"{number} {what}" for what, number in sorted(became.items())) or "the restored table is empty")
    if not said.write:
        print("nothing was written: --write does")


if __name__ == "__main__":
    main()
