"""`make replay`: puts the deliveries that were given up back into their queue, each of which begins a new series then.

On the stack of `make up`, or with `--stack` on one in an AWS account. What dies here in between is at worst sent twice,
under its one id.
"""

import argparse
import sys
from typing import Any

import boto3
import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from local.processes import LocalError
from local.stack import OUTPUTS, Running, client_of


def replay(sqs: Any, source: str, target: str) -> list[str]:
    """Move what is in `source` now to `target`; why each of them was there."""
    name = "ApproximateNumberOfMessages"
    left = int(sqs.get_queue_attributes(QueueUrl=source, AttributeNames=[name])["Attributes"][name])
    reasons: list[str] = []
    # No more than there were: what comes back at once would go round for ever.
    while len(reasons) < left:
        found = sqs.receive_message(
            QueueUrl=source, MaxNumberOfMessages=min(10, left - len(reasons)), MessageAttributeNames=["reason"]
        ).get("Messages", [])
        if not found:
            break
        for message in found:
            sqs.send_message(QueueUrl=target, MessageBody=message["Body"])
            sqs.delete_message(QueueUrl=source, ReceiptHandle=message["ReceiptHandle"])
            reason = message.get("MessageAttributes", {}).get("reason", {}).get("StringValue")
            reasons.append(reason or "received too often")
    return reasons


def local_stack() -> tuple[Any, dict[str, str]]:
    """A client and the outputs of the stack of `make up`."""
    if not OUTPUTS.exists():
        raise LocalError("no stack runs here: `make up` starts one, --stack names one on AWS")
    running = msgspec.json.decode(OUTPUTS.read_bytes(), type=Running)
    return client_of("sqs", running.endpoint), running.outputs


def aws_stack(name: str, region: str | None, profile: str | None) -> tuple[Any, dict[str, str]]:
    """A client and the outputs of a stack in the account that the credentials are for."""
    session = boto3.Session(profile_name=profile, region_name=region)
    (stack,) = session.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
    return session.client("sqs"), {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m local.replay", description=__doc__)
    parser.add_argument("--stack", help="the name of a stack on AWS (default: the one that `make up` started here)")
    parser.add_argument("--region", help="where it is")
    parser.add_argument("--profile", help="whose credentials are used")
    said = parser.parse_args()
    try:
        sqs, outputs = aws_stack(said.stack, said.region, said.profile) if said.stack else local_stack()
        reasons = replay(sqs, outputs["UndeliveredQueueUrl"], outputs["DeliveriesQueueUrl"])
    except (LocalError, BotoCoreError, ClientError) as error:
        sys.exit(f"error: {error}")
    for reason in sorted(set(reasons)):
        print(f"{reasons.count(reason):6}  {reason}")
    print(f"{len(reasons)} deliveries are tried anew")


if __name__ == "__main__":
    main()
