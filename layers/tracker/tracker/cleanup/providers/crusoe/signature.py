"""This is how a request to Crusoe is signed: HMAC-SHA256 over path, sorted query, method and time.

Source: Crusoe's API reference, "Generating a signature", and crusoecloud/client-go, commit e23c062 (2026-07-20), auth/auth.go.
"""

import base64
import binascii
import hmac
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from requests import PreparedRequest
from requests.auth import AuthBase

from tracker.cleanup.core.contract import Refused


def _now() -> datetime:
    return datetime.now(UTC)


class CrusoeSignature(AuthBase):
    """Sign requests with an access key. Raises Refused if the secret isn't in URL-safe base64."""

    def __init__(self, key_id: str, secret: str, now: Callable[[], datetime] = _now) -> None:
        self._key_id = key_id
        self._now = now
        try:
            self._key = base64.b64decode(
                secret.rstrip("=") + "=" * (-len(secret.rstrip("=")) % 4), b"-_", validate=True
            )
        except (binascii.Error, ValueError):
            raise Refused("credentials", "the secret of the Crusoe key isn't in URL-safe base64") from None

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Sort the query, which the server compares as it was sent, and add time and signature."""
        parts = urlsplit(request.url or "")
        query = urlencode(sorted(parse_qsl(parts.query, keep_blank_values=True), key=lambda pair: pair[0]))
        request.url = urlunsplit(parts._replace(query=query))
        timestamp = self._now().isoformat(timespec="seconds")
        payload = f"{parts.path}\n{query}\n{request.method}\n{timestamp}\n".encode()
        signature = base64.urlsafe_b64encode(hmac.digest(self._key, payload, "sha256")).decode().rstrip("=")
        request.headers["X-Crusoe-Timestamp"] = timestamp
        request.headers["Authorization"] = f"Bearer 1.0:{self._key_id}:{signature}"
        return request
