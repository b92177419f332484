"""Removes what lapsed, as DynamoDB's TTL does on AWS and MiniStack's doesn't (it leaves no stream record).

Run beside the stack: every second it reads the table through the public API and deletes, on condition that it
still is so, each item whose `ttl` passed. It scans, which nothing in the product does.
"""

import argparse
import time
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from local.build import CREDENTIALS, REGION

PERIOD = 1.0


def remove_lapsed(dynamodb: Any, table: str, now: int) -> list[tuple[str, str]]:
    """Delete each item whose `ttl` is before `now`; their keys."""
    lapsed = {"#ttl": "ttl"}, {":now": {"N": str(now)}}
    pages = dynamodb.get_paginator("scan").paginate(
        TableName=table,
        FilterExpression="#ttl < :now",
        ProjectionExpression="blueprint_id, #item",
        ExpressionAttributeNames=lapsed[0] | {"#item": "item"},
        ExpressionAttributeValues=lapsed[1],
    )
    removed = []
    for key in [item for page in pages for item in page["Items"]]:
        try:
            dynamodb.delete_item(
                TableName=table,
                Key=key,
                ConditionExpression="#ttl < :now",
                ExpressionAttributeNames=lapsed[0],
                ExpressionAttributeValues=lapsed[1],
            )
        except dynamodb.exceptions.ConditionalCheckFailedException:
            continue
        removed.append((key["blueprint_id"]["S"], key["item"]["S"]))
    return removed


def main() -> None:
    """Do so until told to end."""
    parser = argparse.ArgumentParser(prog="python -m local.leases", description=__doc__)
    parser.add_argument("--table", required=True)
    parser.add_argument("--endpoint", required=True)
    arguments = parser.parse_args()
    keys = {"aws_access_key_id": CREDENTIALS["AWS_ACCESS_KEY_ID"]}
    keys |= {"aws_secret_access_key": CREDENTIALS["AWS_SECRET_ACCESS_KEY"]}
    dynamodb = boto3.client("dynamodb", region_name=REGION, endpoint_url=arguments.endpoint, **keys)
    while True:
        try:
            for blueprint_id, item in remove_lapsed(dynamodb, arguments.table, int(time.time())):
                print(f"removed {item} of {blueprint_id}", flush=True)
        except (BotoCoreError, ClientError) as error:
            # The stack is busy or goes down: it is looked at again in a second.
            print(f"{type(error).__name__}: {error}", flush=True)
        time.sleep(PERIOD)


if __name__ == "__main__":
    main()
