"""The tables of docs/settings.md, docs/deploying.md and docs/security.md, from template.yaml: parameters, outputs, alarms and roles.

`python -m docs` (`make docs`) writes them into those pages.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from tests.table import template


def parameters() -> Iterator[str]:
    """Yield a table for each group of parameters."""
    described = template()["Parameters"]
    for number, group in enumerate(template()["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]):
        if number:
            yield ""
        yield f"### {group['Label']['default']}"
        yield ""
        yield "| parameter | default | |"
        yield "|---|---|---|"
        for name in group["Parameters"]:
            yield f"| `{name}` | {_default(described[name])} | {described[name]['Description']} |"


def outputs() -> Iterator[str]:
    """Yield a table of the outputs that are for operators and callers: those that the template describes."""
    yield "| output | |"
    yield "|---|---|"
    for name, output in template()["Outputs"].items():
        if "Description" in output:
            yield f"| `{name}` | {output['Description']} |"


def alarms() -> Iterator[str]:
    """Yield a table of the alarms."""
    yield "| alarm | it says |"
    yield "|---|---|"
    for name, resource in template()["Resources"].items():
        if resource["Type"] == "AWS::CloudWatch::Alarm":
            yield f"| `{name}` | {resource['Properties']['AlarmDescription']} |"


def roles() -> Iterator[str]:
    """Yield a table of what each role may do, by service. Its resources and conditions stand in template.yaml."""
    yield "| role of | may |"
    yield "|---|---|"
    given: dict[str, list[str]] = defaultdict(list)
    for name, resource in template()["Resources"].items():
        properties = resource.get("Properties", {})
        if resource["Type"] in ("AWS::Serverless::Function", "AWS::Serverless::StateMachine"):
            given[name] += [action for each in properties["Policies"] for action in _actions(each)]
        elif resource["Type"] == "AWS::IAM::Policy":
            for role in properties["Roles"]:
                given[role.removesuffix("Role")] += _actions(properties["PolicyDocument"])
    for name, actions in given.items():
        services: dict[str, list[str]] = defaultdict(list)
        for service, _, verb in (action.partition(":") for action in dict.fromkeys(actions)):
            services[service].append(verb)
        yield f"| `{name}` | {'; '.join(f'{service}: {", ".join(verbs)}' for service, verbs in services.items())} |"


def _actions(policy: Any) -> list[str]:
    """Return the actions of a policy, also of one that is written as text."""
    if isinstance(policy, list):
        return re.findall(r'"([a-z0-9]+:[A-Z][A-Za-z]+)"', policy[0])
    found = []
    for statement in policy["Statement"]:
        found += statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
    return found


def _default(parameter: dict[str, Any]) -> str:
    return f"`{parameter['Default']}`" if parameter["Default"] != "" else "empty"
