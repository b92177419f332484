"""Signed HTTPS calls over pooled connections, tried again where that is safe.

A call that may be repeated is repeated after any failure that passes: no answer, 429, 500, 502, 503, 504. Any other is repeated only
if it certainly did nothing: the connection was refused, or the answer was 429, or 503 with the code `contended`. Waits grow from
half a second and are random (full jitter); a `Retry-After` of up to half a minute is waited for, a longer one ends the tries.
"""

import json
import random
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

from deployment_tracker.errors import ApiError, ServerFault, Throttled, Unreachable, error_of
from deployment_tracker.times import length, now
from deployment_tracker.version import __version__

SERVICE = "execute-api"
ATTEMPTS = 5
# Seconds.
CONNECT_WITHIN = 5
# API Gateway answers within 29.
ANSWERED_WITHIN = 35
WAIT_FIRST, WAIT_MOST, RETRY_AFTER_MOST = 0.5, 8.0, 30.0
# By more than this signatures count as expired.
SKEW_MOST = 300
CONNECTIONS = 16

_PASSES = frozenset({429, 500, 502, 503, 504})
_OK = range(200, 300)
_DENIED = (401, 403)
_SERVER_ERRORS = 500


class Transport:
    """Calls to one stage of the API.

    `credentials` returns botocore's credentials, asked for at each attempt, so that renewed ones are used. Without it, calls go unsigned.
    """

    def __init__(
        self,
        url: str,
        region: str,
        credentials: Callable[[], Any] | None,
        *,
        answered_within: float = ANSWERED_WITHIN,
        sleep: Callable[[float], object] = time.sleep,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        # Imported here, so that what needs no stack doesn't wait for it.
        from botocore.httpsession import URLLib3Session  # noqa: PLC0415
        from botocore.utils import get_environ_proxies  # noqa: PLC0415

        self.url = url.rstrip("/")
        self.region = region
        # Seconds that this machine's clock is ahead of the API's, by the latest answer.
        self.skew: float | None = None
        self._credentials = credentials
        self._sleep = sleep
        self._uniform = uniform
        self._session = URLLib3Session(
            timeout=(CONNECT_WITHIN, answered_within),
            max_pool_connections=CONNECTIONS,
            proxies=get_environ_proxies(url),
        )

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        *,
        may_repeat: bool,
    ) -> tuple[int, Any]:
        """Return the status, which is 2xx, and the JSON of the answer. TrackerError otherwise."""
        data = b"" if body is None else json.dumps(body, ensure_ascii=False).encode()
        target = self.url + path
        if query:
            # As signatures have it: a blank is %20.
            pairs = sorted((_quoted(name), _quoted(value)) for name, value in query.items())
            target += "?" + "&".join(f"{name}={value}" for name, value in pairs)
        for tried in range(1, ATTEMPTS + 1):
            try:
                return self._once(method, target, data)
            except (ApiError, Unreachable) as error:
                wait = self._wait(error, tried, may_repeat=may_repeat)
                if wait is None:
                    if not may_repeat and not _did_nothing(error):
                        error.hint = "It may have been done all the same: look before you repeat it."
                    raise
            self._sleep(wait)
        raise AssertionError("the last try returns or raises")

    def _once(self, method: str, target: str, data: bytes) -> tuple[int, Any]:
        from botocore import exceptions  # noqa: PLC0415

        request = self._signed(method, target, data)
        try:
            answer = self._session.send(request)
            status, text = answer.status_code, answer.content
        except (exceptions.ConnectTimeoutError, exceptions.EndpointConnectionError) as error:
            raise _unreachable(self.url, error, was_sent=False) from None
        except exceptions.SSLError as error:
            hint = "A proxy of your network may replace certificates: AWS_CA_BUNDLE names the file with its own."
            raise Unreachable(f"{self.url} has a certificate that isn't trusted: {_reason(error)}.", hint) from None
        except exceptions.HTTPClientError as error:
            raise _unreachable(self.url, error) from None
        date = answer.headers.get("Date")
        self._see_clock(date)
        try:
            found = json.loads(text)
        except ValueError:
            if status in _OK:
                hint = "Is the URL that of the output ApiUrl?"
                raise ServerFault(
                    status, "", f"{self.url} answered with what isn't the tracker's JSON.", hint
                ) from None
            found = None
        if status in _OK:
            return status, found
        refusal = error_of(status, found)
        refusal.details.setdefault("retry_after", answer.headers.get("Retry-After"))
        if status in _DENIED and self.skew is not None and abs(self.skew) > SKEW_MOST:
            way = "ahead" if self.skew > 0 else "behind"
            refusal.hint = f"This machine's clock is {length(abs(self.skew))} {way}: set it."
        raise refusal

    def _signed(self, method: str, target: str, data: bytes) -> Any:
        from botocore.auth import SigV4Auth  # noqa: PLC0415
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415

        headers = {"User-Agent": f"deployment-tracker/{__version__}", "Accept": "application/json"}
        if data:
            headers["Content-Type"] = "application/json"
        request = AWSRequest(method, target, headers=headers, data=data)
        if self._credentials:
            SigV4Auth(self._credentials(), SERVICE, self.region).add_auth(request)
        return request.prepare()

    def _see_clock(self, date: str | None) -> None:
        try:
            there = parsedate_to_datetime(date or "")
        except ValueError:
            return
        self.skew = (now() - there.astimezone(UTC)).total_seconds()

    def _wait(self, error: ApiError | Unreachable, tried: int, *, may_repeat: bool) -> float | None:
        """Return the seconds to wait before the next try, None if there is none."""
        if tried == ATTEMPTS or not _passes(error, may_repeat=may_repeat):
            return None
        wait = self._uniform(0, min(WAIT_MOST, WAIT_FIRST * 2 ** (tried - 1)))
        asked = _retry_after(error.details.get("retry_after")) if isinstance(error, ApiError) else 0.0
        return None if asked > RETRY_AFTER_MOST else max(wait, asked)


def _passes(error: ApiError | Unreachable, *, may_repeat: bool) -> bool:
    if isinstance(error, ApiError) and error.status not in _PASSES:
        return False
    return may_repeat or _did_nothing(error)


def _did_nothing(error: ApiError | Unreachable) -> bool:
    """Return whether a call that failed certainly changed nothing."""
    if isinstance(error, Unreachable):
        return not error.was_sent
    return isinstance(error, Throttled) or error.code == "contended" or error.status < _SERVER_ERRORS


def _retry_after(text: Any) -> float:
    """Return the seconds of a `Retry-After`: a number, or a date."""
    if not isinstance(text, str):
        return 0.0
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


def _unreachable(url: str, error: Exception, *, was_sent: bool = True) -> Unreachable:
    hint = "`tracker doctor` looks for the cause."
    return Unreachable(f"{url} doesn't answer: {_reason(error)}.", hint, was_sent=was_sent)


def _reason(error: Exception) -> str:
    """Return the innermost cause of an SDK's error, in one line."""
    cause: BaseException = getattr(error, "kwargs", {}).get("error") or error
    while isinstance(reason := getattr(cause, "reason", None), BaseException):
        cause = reason
    return " ".join(str(cause).rpartition(">: ")[2].rstrip(".").split())


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")
