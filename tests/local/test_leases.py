"""The loop that stands in for DynamoDB's TTL removes what lapsed, and nothing else."""

from typing import Any

import boto3

from local.leases import remove_lapsed

NOW = 1_800_000_000


def put(dynamodb: Any, table: str, item: str, ttl: int | None) -> None:
    content = {"blueprint_id": {"S": "service-1"}, "item": {"S": item}}
    dynamodb.put_item(TableName=table, Item=content | ({"ttl": {"N": str(ttl)}} if ttl is not None else {}))


def left(dynamodb: Any, table: str) -> set[str]:
    return {item["item"]["S"] for item in dynamodb.scan(TableName=table)["Items"]}


def test_what_is_past_its_ttl_is_removed_and_the_rest_stays(moto_table: str) -> None:
    dynamodb = boto3.client("dynamodb")
    put(dynamodb, moto_table, "lease", NOW - 1)
    put(dynamodb, moto_table, "past#1", NOW)
    put(dynamodb, moto_table, "moved", NOW + 60)
    put(dynamodb, moto_table, "record", None)
    assert remove_lapsed(dynamodb, moto_table, NOW) == [("service-1", "lease")]
    assert left(dynamodb, moto_table) == {"past#1", "moved", "record"}


def test_a_lease_that_is_extended_after_it_was_seen_stays(moto_table: str) -> None:
    dynamodb = boto3.client("dynamodb")
    put(dynamodb, moto_table, "lease", NOW - 1)

    def extended(**_: Any) -> None:
        dynamodb.meta.events.unregister("before-call.dynamodb.DeleteItem", extended)
        put(dynamodb, moto_table, "lease", NOW + 60)

    dynamodb.meta.events.register("before-call.dynamodb.DeleteItem", extended)
    assert remove_lapsed(dynamodb, moto_table, NOW) == []
    assert left(dynamodb, moto_table) == {"lease"}
