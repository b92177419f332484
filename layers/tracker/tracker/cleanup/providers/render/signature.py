"""This is how a request to Render's dispersed compute is signed: HMAC-SHA256 over key, time, nonce, method, path, query and body.

Source: dispersednetwork/compute_examples, commit 6ad1ec5 (2026-08-18), compute-examples/python-gpu-workloads/dispersed.py.
"""

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from requests import PreparedRequest
from requests.auth import AuthBase


def _milliseconds() -> int:
    return int(time.time() * 1000)


def _nonce() -> str:
    return secrets.token_hex(16)


class RenderSignature(AuthBase):
    """Sign requests with a key pair."""

    def __init__(
        self,
        public_key: str,
        secret_key: str,
        now: Callable[[], int] = _milliseconds,
        nonce: Callable[[], str] = _nonce,
    ) -> None:
        self._public_key = public_key
        self._secret_key = secret_key.encode()
        self._now = now
        self._nonce = nonce

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Send query and body in their canonical form, which is what the server hashes, and add the signature."""
        parts = urlsplit(request.url or "")
        query = urlencode(sorted(parse_qsl(parts.query, keep_blank_values=True)))
        request.url = urlunsplit(parts._replace(query=query))
        body = b""
        if request.body:
            body = json.dumps(json.loads(request.body), sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
            request.body = body
            request.headers["Content-Length"] = str(len(body))
        timestamp, nonce = str(self._now()), self._nonce()
        hashed = hashlib.sha256(body).hexdigest()
        signed = "|".join((self._public_key, timestamp, nonce, request.method or "", parts.path, query, hashed))
        request.headers["X-API-Key"] = self._public_key
        request.headers["X-Time"] = timestamp
        request.headers["X-Nonce"] = nonce
        request.headers["X-Signature"] = hmac.digest(self._secret_key, signed.encode(), "sha256").hex()
        return request
