"""The product's table as template.yaml defines it, made on whatever speaks DynamoDB.

Called by the fixtures that give tests a table; what the template says of keys, indexes, stream and TTL is what is tested.
"""

from functools import cache
from pathlib import Path
from typing import Any

import boto3
import yaml

TEMPLATE = Path(__file__).parent.parent / "template.yaml"


class _Loader(yaml.SafeLoader):
    """Reads a template's short forms of intrinsic functions as their plain values."""


def _plain(loader: yaml.SafeLoader, _suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return node.value


_Loader.add_multi_constructor("!", _plain)


@cache
def template() -> dict[str, Any]:
    """template.yaml, its intrinsic functions as their arguments."""
    found: dict[str, Any] = yaml.load(TEMPLATE.read_text(), _Loader)
    return found


def create_table(name: str, *, indexed: bool = True, client: Any = None, **options: Any) -> None:
    """Make it, with its indexes (if `indexed`), its stream and its TTL; by a client made with boto3's `options`."""
    properties = template()["Resources"]["Table"]["Properties"]
    keys = {key["AttributeName"] for key in properties["KeySchema"]}
    defined = [each for each in properties["AttributeDefinitions"] if indexed or each["AttributeName"] in keys]
    indexes = {"GlobalSecondaryIndexes": properties["GlobalSecondaryIndexes"]} if indexed else {}
    dynamodb = client or boto3.client("dynamodb", **options)
    dynamodb.create_table(
        TableName=name,
        BillingMode=properties["BillingMode"],
        AttributeDefinitions=defined,
        KeySchema=properties["KeySchema"],
        StreamSpecification={"StreamEnabled": True} | properties["StreamSpecification"],
        **indexes,
    )
    dynamodb.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    dynamodb.update_time_to_live(TableName=name, TimeToLiveSpecification=properties["TimeToLiveSpecification"])
