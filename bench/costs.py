"""This is what a million lifecycles and an idle stack cost: the counted units, multiplied by list prices. docs/costs.md shows it."""

from collections.abc import Iterator

from bench import units
from bench.rows import Row, Rows
from tests.table import template
from tracker.watch import gauges

# List prices in USD of us-east-1, without any free tier. Where they were entered no page of AWS could be reached: compare them with
# https://aws.amazon.com/<service>/pricing before you count on them. They are for a million, but for Lambda's GB-seconds (one), logs (a GB), and alarms, metrics and secrets (one, for a month).
PRICES = {
    "API Gateway, REST calls": 3.50,
    "DynamoDB, write request units": 0.625,
    "DynamoDB, read request units": 0.125,
    "Lambda, invocations": 0.20,
    "Lambda, GB-seconds (x86)": 0.0000166667,
    "SQS, requests": 0.40,
    "SNS, publishes": 0.50,
    "Step Functions, transitions": 25.0,
    "CloudWatch, GB of logs": 0.50,
    "CloudWatch, alarms": 0.10,
    "CloudWatch, metrics": 0.30,
    "CloudWatch, dashboards": 3.00,
    "Secrets Manager, secrets": 0.40,
}
MILLION, GB = 1e6, 1e9
SINGLE = (
    "Lambda, GB-seconds (x86)",
    "CloudWatch, GB of logs",
    "CloudWatch, alarms",
    "CloudWatch, metrics",
    "CloudWatch, dashboards",
    "Secrets Manager, secrets",
)

# Assumed, since only AWS shows it: seconds that a call on AWS takes and that an invocation takes besides, and what Lambda and
# Powertools log of one, with the line of a transition.
CALL, BESIDES, LOG_BYTES = 0.025, 0.010, 2000
MEMORY = {"release": 1.024}
USUAL_MEMORY = 0.512
MINUTES = 60 * 24 * 30
# Of each idle queue: as many long polls at once as Lambda keeps (docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html),
# of 20 seconds each.
POLLS = 5 * 3 * MINUTES
# Metrics that an idle stack sends: Sweeps and DueSoon, Strays and Blind, and every five minutes the gauges (watch/gauges.py).
IDLE_METRICS = 4 + 9

# Counted 2026-11-26, of an instance with a volume and an address; tests/test_costs.py holds it.
COUNTED = {
    "Lambda, invocations": 19,
    "DynamoDB, read request units": 25,
    "DynamoDB, write request units": 63,
    "Step Functions, transitions": 3,
    "SNS, publishes": 7,
    "SQS, requests": 12,
}


def of_life(life: units.Life) -> dict[str, float]:
    """Return how much of each priced unit a lifecycle takes."""
    batches = life.calls("SendMessageBatch")
    return {
        "API Gateway, REST calls": 1,
        "DynamoDB, write request units": life.total("writes"),
        "DynamoDB, read request units": life.total("reads"),
        "Lambda, invocations": len(life.steps),
        "Lambda, GB-seconds (x86)": sum(map(_gb_seconds, life.steps)),
        # What is sent is received and deleted; a batch of ten shares each of these, which isn't counted on.
        "SQS, requests": 2 * batches,
        "SNS, publishes": life.calls("Publish"),
        "Step Functions, transitions": life.transitions,
        "CloudWatch, GB of logs": len(life.steps) * LOG_BYTES / GB,
    }


def of_idle_month(minute: units.Step, counting: units.Step) -> dict[str, float]:
    """Return how much of each priced unit a stack takes in 30 days in which nothing happens."""
    resources = template()["Resources"]
    kinds = [each["Type"] for each in resources.values()]

    def more(usual: float, counting: float) -> float:
        return (counting - usual) * MINUTES / gauges.EVERY

    mappings = sum(
        event["Type"] == "SQS" for each in resources.values() for event in each["Properties"].get("Events", {}).values()
    )
    return {
        "DynamoDB, read request units": minute.reads * MINUTES + more(minute.reads, counting.reads),
        "Lambda, invocations": MINUTES,
        "Lambda, GB-seconds (x86)": _gb_seconds(minute) * MINUTES + more(_gb_seconds(minute), _gb_seconds(counting)),
        "SQS, requests": mappings * POLLS,
        "CloudWatch, GB of logs": MINUTES * LOG_BYTES / GB,
        "CloudWatch, alarms": kinds.count("AWS::CloudWatch::Alarm"),
        "CloudWatch, metrics": IDLE_METRICS,
        "CloudWatch, dashboards": kinds.count("AWS::CloudWatch::Dashboard"),
        "Secrets Manager, secrets": kinds.count("AWS::SecretsManager::Secret"),
    }


def dollars(name: str, amount: float) -> float:
    """Return what so much of a unit costs."""
    return amount * PRICES[name] / (1 if name in SINGLE else MILLION)


def tables() -> Iterator[str]:
    """Yield the lines of docs/costs.md's tables."""
    yield from _table("A lifecycle; the price is for a million of them", of_life(units.life()), MILLION)
    yield ""
    yield from _table(
        "An idle stack, for 30 days", of_idle_month(units.idle_minute(), units.idle_minute(counts=True)), 1
    )


def rows() -> Rows:
    """Each counted unit against what is published."""
    found = of_life(units.life())
    for name, counted in COUNTED.items():
        yield Row(f"a lifecycle's {name}", found[name] / counted, 1.0, f"{found[name]:g} : {counted}")


def _table(title: str, amounts: dict[str, float], times: float) -> Iterator[str]:
    yield f"| {title} | units | USD |"
    yield "|---|---|---|"
    total = 0.0
    for name, amount in amounts.items():
        price = dollars(name, amount * times)
        total += price
        yield f"| {name} | {amount:,.4g} | {price:,.2f} |"
    yield f"| **all** | | **{total:,.2f}** |"


def _gb_seconds(step: units.Step) -> float:
    return (len(step.calls) * CALL + BESIDES) * MEMORY.get(step.function, USUAL_MEMORY)
