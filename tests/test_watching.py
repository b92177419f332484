"""The dashboard, the alarms and the saved queries ask for what the code sends, and for nothing else."""

import json
import re
from typing import Any

from tests.fakes import NOW, a_deployment
from tests.test_template import LOCAL, RESOURCES, ROOT, of_type, referred
from tracker.model.deployment import EVENT_TYPES, Event
from tracker.watch.gauges import gauges
from tracker.watch.journal import MESSAGE, line
from tracker.watch.measures import SECONDS, measures

# The words of CloudWatch Logs Insights that the queries use, and the fields that each line of a log has.
WORDS = {
    "and", "as", "asc", "by", "count", "count_distinct", "desc", "fields", "filter", "ispresent", "latest", "limit", "or", "sort", "stats",
    "message", "timestamp", "rounds", "deployments", "last",
}  # fmt: skip


class NoRecords:
    """A table without deployments."""

    def by_status(self, *_: object, **__: object) -> Any:
        return type("Page", (), {"items": [], "next_key": None})


def sent() -> set[str]:
    """The names of all metrics that the code sends."""
    source = "".join(
        path.read_text() for path in [*(ROOT / "functions").glob("*/app.py"), *(ROOT / "layers").rglob("runtime.py")]
    )
    names = set(re.findall(r'add_metric\(\s*"(\w+)"', source)) | set(re.findall(r'"(Deliver\w+)"', source))
    for type_ in EVENT_TYPES:
        event = Event(1, type_, "2030-01-01T00:00:00Z", "Active", detail={"never_seen": True})  # type: ignore[arg-type]
        names |= {each.name for each in measures(a_deployment(), event)}
    names |= {each.name for each in gauges(NoRecords(), NOW)}  # type: ignore[arg-type]
    return names | set(SECONDS.values()) | {"LiveByType", "CostPerHour", "LateCostPerHour"}


def widgets() -> list[dict[str, Any]]:
    text = RESOURCES["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    return [each["properties"] for each in json.loads(text)["widgets"]]


def test_the_dashboard_shows_metrics_that_are_sent() -> None:
    ours = set()
    for widget in widgets():
        for metric in widget["metrics"]:
            if metric[0] == "DeploymentTracker":
                assert metric[2:4] == ["service", "${AWS::StackName}"]
                ours.add(metric[1])
            elif isinstance(metric[0], dict):
                ours |= set(re.findall(r'MetricName="(\w+)"', metric[0]["expression"]))
    assert ours - sent() == set()
    assert {"Live", "Overdue", "Lag", "FailedRounds", "LiveByType", "DeliveryAge", "Sweeps"} <= ours


def test_the_dashboard_shows_every_function_and_queue() -> None:
    shown = referred(RESOURCES["Dashboard"]["Properties"]["DashboardBody"])
    assert of_type("AWS::Serverless::Function").keys() | of_type("AWS::SQS::Queue").keys() <= shown


def test_no_widget_lies_over_another() -> None:
    text = RESOURCES["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    taken: set[tuple[int, int]] = set()
    for each in json.loads(text)["widgets"]:
        cells = {
            (x, y)
            for x in range(each["x"], each["x"] + each["width"])
            for y in range(each["y"], each["y"] + each["height"])
        }
        assert not taken & cells
        assert each["x"] + each["width"] <= 24
        taken |= cells


def test_the_alarms_on_our_metrics_are_on_ones_that_are_sent() -> None:
    names = {
        each["MetricName"]
        for each in of_type("AWS::CloudWatch::Alarm").values()
        if each["Namespace"] == "DeploymentTracker"
    }
    assert names
    assert names <= sent()


def test_the_saved_queries_ask_for_fields_that_a_transitions_line_has() -> None:
    deployment = a_deployment()
    fields = set(line(deployment, deployment)) | {"from", "to", "why", "by", "class", *SECONDS}
    queries = of_type("AWS::Logs::QueryDefinition")
    assert len(queries) == 4
    for name, each in queries.items():
        text = re.sub(r'"[^"]*"', "", each["QueryString"])
        words = set(re.findall(r"[a-z_]+", text))
        assert words - WORDS - fields == set(), name
        assert f'message = "{MESSAGE}"' in each["QueryString"] or "blueprint_id =" in each["QueryString"]
        # MiniStack knows none.
        assert LOCAL["Resources"][name] is None
