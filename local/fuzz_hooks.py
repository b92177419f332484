"""Signs the calls that Schemathesis makes up, lets more of them meet a record, and keeps their webhooks on this machine.

Loaded by Schemathesis alone (`make fuzz`).
"""

import os
from http.client import CREATED
from typing import Any
from zlib import crc32

import schemathesis
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import strategies as st
from requests import PreparedRequest
from requests.auth import AuthBase

CREDENTIALS = Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
# No made-up name may be looked up, let alone called: the stack takes the first two, and refuses the others by their form.
WEBHOOKS = (
    "http://127.0.0.1:9/",
    "http://127.0.0.1:9/hooks?token=x",
    "http://example.invalid/",
    "https://10.0.0.1/",
    "https://a.internal/",
    "https://localhost:99999/",
)


# What few calls would meet by chance: the keys of some records, with their form in a path, and what the stack takes for a deployment.
KEYS = [("team/svc-2", "~dGVhbS9zdmMtMg"), *((f"svc-{n}", f"svc-{n}") for n in range(3, 20))]
MACHINE = {"deployment_type": "AwsEc2", "region": "us-east-1", "resource_ids": {"instance_id": "i-0123456789abcdef0"}}
HOOKED = {"cleanup_webhook": WEBHOOKS[0], "webhook_events": ["registered"]}
# The latest deployment under each key, by its form in a path.
generations: dict[str, str] = {}


class Signed(AuthBase):
    """Signs a call as IAM wants it."""

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Sign it when all else of it is as it will be sent."""
        body = request.body or b""
        signed = AWSRequest(request.method, request.url, data=body, headers={"Host": _host(request)})
        SigV4Auth(CREDENTIALS, "execute-api", os.environ["AWS_REGION"]).add_auth(signed)
        request.headers.update({name: value for name, value in signed.headers.items() if name != "Host"})
        return request


def _host(request: PreparedRequest) -> str:
    return (request.url or "").split("/")[2]


def meet(_context: Any, case: Any, _kwargs: dict[str, Any]) -> None:
    """Make most calls that are as described be about a key of few, and registrations about what can be registered."""
    is_positive = case.meta is None or case.meta.generation.mode == schemathesis.GenerationMode.POSITIVE
    turn = crc32(case.id.encode())
    if not is_positive or turn % 4 == 0:
        return
    key, segment = KEYS[turn % len(KEYS)]
    if "blueprint_id" in (case.path_parameters or {}):
        case.path_parameters["blueprint_id"] = segment
    if "webhook_id" in (case.path_parameters or {}) and segment in generations:
        case.path_parameters["webhook_id"] = f"{generations[segment]}-1"
    if case.operation.label == "POST /deployments":
        case.body = {**HOOKED, **case.body, **MACHINE, "blueprint_id": key}


def note(_context: Any, case: Any, response: Any) -> None:
    """Remember what a registration made, whose deliveries have ids that begin so."""
    if case.operation.label == "POST /deployments" and response.status_code == CREATED:
        made = response.json()
        generations[dict(KEYS).get(made["blueprint_id"], "")] = made["generation"]


schemathesis.hook("before_call")(meet)
schemathesis.hook("after_call")(note)
schemathesis.auth.set_from_requests(Signed())
schemathesis.openapi.format("uri", st.sampled_from(WEBHOOKS))
