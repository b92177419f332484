"""The API with the functions' real handlers behind it, as template.yaml routes its calls: a stack on moto that the page can call."""

import json
import re
import threading
from functools import cache
from typing import Any

from tests.client.api import Api, Call
from tests.functions.conftest import Stack
from tests.table import template

CALLER = "arn:aws:iam::123456789012:user/ann"


class Gateway(Api):
    """Hands each signed call to its function, one at a time, as the handlers expect of Lambda."""

    def __init__(self, stack: Stack) -> None:
        super().__init__()
        self._stack = stack
        self._lock = threading.Lock()

    def answer(self, call: Call) -> tuple[int, Any]:
        path = call.path.removeprefix("/v1")
        function, resource, parameters = route(call.method, path)
        event = {
            "resource": resource,
            "path": path,
            "httpMethod": call.method,
            "headers": call.headers,
            "queryStringParameters": call.query or None,
            "multiValueQueryStringParameters": {name: [value] for name, value in call.query.items()} or None,
            "pathParameters": parameters or None,
            "requestContext": {"identity": {"userArn": CALLER}},
            "body": None if call.body is None else json.dumps(call.body),
            "isBase64Encoded": False,
        }
        with self._lock:
            found = self._stack.call(function, event)
        return found["statusCode"], found["body"].encode()


def route(method: str, path: str) -> tuple[str, str, dict[str, str]]:
    """Return the function's folder, the resource, and the parameters of a path, as API Gateway would."""
    for (wanted, resource), function in routes().items():
        pattern = re.sub(r"\\{([a-z_]+)\\}", r"(?P<\1>[^/]+)", re.escape(resource))
        if wanted == method and (found := re.fullmatch(pattern, path)):
            return function, resource, found.groupdict()
    raise AssertionError(f"the gateway has no {method} {path}")


@cache
def routes() -> dict[tuple[str, str], str]:
    """Return the folder of the function of each method and resource."""
    found = {}
    for resource in template()["Resources"].values():
        properties = resource.get("Properties", {})
        for event in properties.get("Events", {}).values():
            if event["Type"] == "Api":
                key = event["Properties"]["Method"].upper(), event["Properties"]["Path"]
                found[key] = properties["CodeUri"].rstrip("/").rpartition("/")[2]
    return found
