"""A small client of the tracker's HTTPS API, signed as IAM wants it; for the local stack, the demo and the tests."""

from typing import Any, NamedTuple

import msgspec
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.httpsession import URLLib3Session

from tracker.model.deployment import encode_key

# Seconds. A cold function on a busy machine takes longer than the 29 that AWS allows.
TIMEOUT = 150


class Answer(NamedTuple):
    """This is what the API said: the HTTP status, and the JSON body."""

    status: int
    body: Any


def path_of(blueprint_id: str, *more: str) -> str:
    """The path of a deployment, or of what is below it: `path_of("a/b", "plan")`."""
    return "/".join(["/deployments", encode_key(blueprint_id), *more])


class Api:
    """Calls to one stage of the API."""

    def __init__(self, url: str, region: str, credentials: Credentials | None) -> None:
        """Without credentials, calls go unsigned."""
        self._url = url
        self._signer = SigV4Auth(credentials, "execute-api", region) if credentials else None
        self._session = URLLib3Session(timeout=TIMEOUT)

    def __call__(self, method: str, path: str, body: Any = None, query: dict[str, str] | None = None) -> Answer:
        """Call it. `body` is sent as JSON, bytes as they are."""
        data = body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        headers = {"Content-Type": "application/json"} if data else {}
        request = AWSRequest(method, self._url + path, headers=headers, data=data, params=query or {})
        if self._signer:
            self._signer.add_auth(request)
        answer = self._session.send(request.prepare())
        try:
            return Answer(answer.status_code, msgspec.json.decode(answer.content))
        except msgspec.DecodeError:
            return Answer(answer.status_code, answer.text)
