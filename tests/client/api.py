"""The API as the client meets it: a real server on loopback that checks each signature by botocore's own signer.

What it answers is made by the layer's own types, readers and errors. `faults` are answered first, one a call.
"""

import base64
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from uuid import UUID, uuid5

import msgspec
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tracker.intake import api
from tracker.intake.amendment import parse_amendment
from tracker.intake.listing import parse_query
from tracker.intake.registration import parse_registration
from tracker.model.catalogue import CATALOGUE
from tracker.model.catalogue.vocabulary import MARK_KEY
from tracker.model.delivery import Delivery
from tracker.model.deployment import Cleanup, Deployment, Event, decode_key, encode_key, format_time, parse_time
from tracker.model.errors import Conflict, Invalid, NotFound, Problem
from tracker.model.marks import Mark
from tracker.model.settings import LocalPlace, Settings
from tracker.store.records import Listed

REGION = "eu-west-1"
KEYS = Credentials("test", "test")
SETTINGS = Settings(
    local_place=LocalPlace(host="here", boot_id="0b3e1f5c-8d2a-4c7e-9f60-1a2b3c4d5e6f", docker_engine="ENGINE")
)
# What is added to the layer's own answers as it is.
MORE = ("owner", "labels", "cost_per_hour", "cost", "hold")
NAMESPACE = UUID("0b3e1f5c-8d2a-4c7e-9f60-1a2b3c4d5e6f")


class Call(NamedTuple):
    """One request: its path as it came, its query and body decoded."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    headers: dict[str, str]


class Fault(NamedTuple):
    """An answer that isn't the API's own choice. Without a status the connection is closed."""

    status: int | None
    body: Any = b""
    headers: Mapping[str, str] = MappingProxyType({})


class Held(Conflict):
    code = "held"


class PlanChanged(Conflict):
    code = "plan_changed"


class Api:
    """A stack that ends nothing by itself: `records` and `more` (fields that the layer's record lacks) are what there is."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.records: dict[str, Deployment] = {}
        self.more: dict[str, dict[str, Any]] = {}
        self.deliveries: dict[str, list[Delivery]] = {}
        self.strays: list[dict[str, Any]] = []
        self.plan: dict[str, Any] = {"resources": [], "digest": "d-1"}
        self.brake: dict[str, str] | None = None
        self.page_size = 200
        # Further looks at what is ending, after which it has ended; negative: it never does.
        self.looks = 1
        self.ahead = timedelta()
        self.url = ""

    @property
    def last(self) -> Call:
        return self.calls[-1]

    def called(self, method: str) -> list[Call]:
        return [call for call in self.calls if call.method == method]

    def add(self, key: str, type_: str = "AwsEc2", **changes: Any) -> Deployment:
        """A record, as the layer makes it of a registration."""
        more = {name: changes.pop(name) for name in list(changes) if name in MORE}
        entry = CATALOGUE[type_]
        body = {
            "blueprint_id": key,
            "deployment_type": type_,
            "region": entry.region.example if entry.region else None,
            "resource_ids": {group[0]: entry.ids[group[0]].example for group in entry.needs_one_of},
            **{name: changes.pop(name) for name in list(changes) if name in ("deployed_at", "ttl_seconds", "id")},
        }
        record = msgspec.structs.replace(self.read(json.dumps(body)), **changes)
        self.records[key] = record
        self.more[key] = more
        return record

    def read(self, text: str) -> Deployment:
        now = datetime.now(UTC)
        body = json.loads(text)
        generation = str(uuid5(NAMESPACE, str(body.get("blueprint_id"))))
        return parse_registration(
            text, SETTINGS, now=now, registered_by="arn:aws:iam::1:user/ann", generation=generation
        )

    def shown(self, key: str) -> dict[str, Any]:
        record = self.records[key]
        mark = Mark("tag", MARK_KEY, record.generation)
        return {**api.shown(record), "mark": msgspec.to_builtins(mark), **self.more.get(key, {})}

    def line(self, key: str) -> dict[str, Any]:
        record = self.records[key]
        error = record.cleanup.last_error
        listed = Listed(
            **{name: getattr(record, name) for name in Listed.__struct_fields__ if hasattr(record, name)},
            quarantined=record.cleanup.quarantined,
            failures=record.cleanup.failures,
            last_error={"class": error.error_class} if error else None,
            next_attempt_at=record.cleanup.next_attempt_at,
        )
        return {**msgspec.to_builtins(listed), **self.more.get(key, {})}

    # What the calls do

    def answer(self, call: Call) -> tuple[int, Any]:
        match [call.method, *call.path.removeprefix("/v1").split("/")[1:]]:
            case ["POST", "deployments"]:
                return self._register(json.dumps(call.body))
            case ["GET", "deployments"]:
                return self._list(call.query)
            case ["GET", "strays"]:
                return 200, {"strays": self.strays, "cursor": None}
            case [method, "strays", key, word]:
                return self._stray(decode_key(unquote(key)), word, call.body)
            case [method, "deployments", segment, *rest]:
                key = decode_key(unquote(segment))
                if encode_key(key) != segment:
                    raise Invalid("blueprint_id", segment, "the key's one spelling in a path", malformed=True)
                if key not in self.records:
                    raise NotFound(f"nothing is recorded under {key!r}")
                return self._about(method, key, rest, call)
        raise NotFound(f"no such call: {call.method} {call.path}")

    def _register(self, text: str) -> tuple[int, Any]:
        fields = json.loads(text)
        ours = {
            name: fields.pop(name) for name in ("owner", "labels", "cost_per_hour", "warn_before") if name in fields
        }
        record = self.read(json.dumps(fields))
        there = self.records.get(record.blueprint_id)
        if there is None:
            self.records[record.blueprint_id], self.more[record.blueprint_id] = record, ours
            return 201, self.shown(record.blueprint_id)
        if there.fingerprint == record.fingerprint:
            return 200, self.shown(record.blueprint_id)
        raise Conflict(f"{record.blueprint_id!r} is taken", deployment=there)

    def _list(self, query: dict[str, str]) -> tuple[int, Any]:
        known = {name: value for name, value in query.items() if name not in ("cursor", "owner", "label", "held")}
        asked = parse_query(known)
        start = int(query.get("cursor", "0"))
        keys = [
            key
            for key in sorted(self.records)
            if asked.wants(msgspec.convert({**self.line(key)}, Listed))
            and query.get("owner") in (None, self.more[key].get("owner"))
            and (query.get("held") != "true" or self.more[key].get("hold"))
        ]
        end = start + min(asked.limit, self.page_size)
        cursor = str(end) if end < len(keys) else None
        return 200, {"deployments": [self.line(key) for key in keys[start:end]], "cursor": cursor}

    def _about(  # noqa: C901 - a table of calls
        self, method: str, key: str, rest: list[str], call: Call
    ) -> tuple[int, Any]:
        record = self.records[key]
        match [method, *rest]:
            case ["GET"]:
                self._look(key)
                return 200, self.shown(key)
            case ["DELETE"]:
                return self._end(key, call)
            case ["GET", "plan"]:
                return 200, {"blueprint_id": key, "status": record.status, "brake": {"mode": "enforce"}, **self.plan}
            case ["POST", "extend"]:
                return self._extend(key, call.body)
            case ["POST", "hold"]:
                self.more[key]["hold"] = {**call.body, "by": "ann", "at": format_time(datetime.now(UTC))}
                return 200, self.shown(key)
            case ["DELETE", "hold"]:
                self.more[key]["hold"] = None
                return 200, self.shown(key)
            case ["POST", "forget"]:
                self._change(key, status="Terminated")
                return 200, self.shown(key)
            case ["GET", "deliveries"]:
                found = [msgspec.to_builtins(each) for each in self.deliveries.get(key, [])]
                return 200, {"deliveries": found, "cursor": None}
            case ["POST", "deliveries", id_, "redeliver"]:
                if not any(each.id == id_ for each in self.deliveries.get(key, [])):
                    raise NotFound(f"no delivery {id_!r} of {key!r}")
                return 202, {"blueprint_id": key, "webhook_id": id_, "series": 2}
            case ["POST", "announce"]:
                return 200, {"announced": [f"{record.generation}-{call.body['from_sequence']}"]}
            case ["PATCH"]:
                amended, to = parse_amendment(json.dumps(call.body), record, SETTINGS, now=datetime.now(UTC))
                new, more = to or key, self.more.pop(key)
                del self.records[key]
                self.records[new], self.more[new] = msgspec.structs.replace(amended, blueprint_id=new), more
                return 200, self.shown(new)
        raise NotFound(f"no such call: {call.method} {call.path}")

    def _end(self, key: str, call: Call) -> tuple[int, Any]:
        if self.more[key].get("hold") and not (call.body or {}).get("over_hold"):
            raise Held(f"{key!r} is held", hold=self.more[key]["hold"])
        if call.query.get("plan", self.plan["digest"]) != self.plan["digest"]:
            raise PlanChanged("the plan has changed", changed=["aws:volume vol-1 appeared"])
        if self.records[key].status == "Terminated":
            return 200, self.shown(key)
        if self.brake:
            return 202, self.shown(key) | {"brake": self.brake}
        self._change(
            key, status="Terminating", cleanup=Cleanup(round=1, reason=(call.body or {}).get("reason", "requested"))
        )
        return 202, self.shown(key)

    def _look(self, key: str) -> None:
        if self.records[key].status == "Terminating":
            if self.looks == 0:
                self._change(key, status="Terminated")
            self.looks -= 1

    def _extend(self, key: str, body: dict[str, Any]) -> tuple[int, Any]:
        record = self.records[key]
        if not record.is_live:
            raise Conflict(f"{key!r} is {record.status}", deployment=record)
        before = record.expires_at
        if "by" in body:
            after = format_time(parse_time(str(before)) + timedelta(seconds=body["by"]))
        else:
            after = format_time(parse_time(body["until"]))
        self._change(key, expires_at=after)
        return 200, self.shown(key) | {"extended": {"from": before, "to": after}}

    def _stray(self, key: str, word: str, body: Any) -> tuple[int, Any]:
        if not any(stray["key"] == key for stray in self.strays):
            raise NotFound(f"there is no stray {key!r}")
        if word == "adopt":
            self.add("adopted", ttl_seconds=body.get("ttl_seconds"))
            return 201, self.shown("adopted")
        return 200, {"key": key, "kind": "aws:instance", "id": "i-1", "exempt": body}

    def _change(self, key: str, **changes: Any) -> None:
        self.records[key] = msgspec.structs.replace(self.records[key], **changes)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: Api

    def handle_one_call(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        call = Call(self.command, parts.path, dict(parse_qsl(parts.query)), json.loads(raw) if raw else None, headers)
        self.api.calls.append(call)
        if self.api.faults:
            fault = self.api.faults.pop(0)
            if fault.status is None:
                self.close_connection = True
                return
            self._reply(fault.status, fault.body, fault.headers)
            return
        if not is_signed(self.command, f"{self.api.url[:-3]}{self.path}", headers, raw):
            self._reply(403, {"error": {"code": "INVALID_SIGNATURE", "message": "The signature doesn't match."}})
            return
        try:
            status, body = self.api.answer(call)
        except Problem as problem:
            status, body = problem.status, api.explain(problem)
        self._reply(status, body)

    do_GET = do_POST = do_PATCH = do_DELETE = handle_one_call  # noqa: N815 - the names that http.server calls

    def _reply(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        self.send_response_only(status)
        self.send_header("Date", format_datetime(datetime.now(UTC) + self.api.ahead, usegmt=True))
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def is_signed(method: str, url: str, headers: dict[str, str], raw: bytes) -> bool:
    """Return whether botocore's signer comes to the same signature for what was received, and the query is spelled as AWS signs it."""
    query = urlsplit(url).query
    if query != "&".join(sorted(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in parse_qsl(query))):
        return False
    given = headers.get("authorization", "")
    names = given.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    request = AWSRequest(method, url, headers={name: headers[name] for name in names if name in headers}, data=raw)
    request.context["timestamp"] = headers.get("x-amz-date", "")
    signer = SigV4Auth(KEYS, "execute-api", REGION)
    canonical = signer.canonical_request(request)
    signature = signer.signature(signer.string_to_sign(request, canonical), request)
    return given.endswith(f"Signature={signature}") and "host" in names


@contextmanager
def serving(found: Api | None = None) -> Iterator[Api]:
    """An API that listens."""
    found = found or Api()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"api": found}))
    server.daemon_threads = True
    found.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()


def event(sequence: int, type_: Any, at: str, status: Any = "Active", **detail: Any) -> Event:
    return Event(sequence, type_, at, status, detail=detail)


def encoded(key: str) -> str:
    """The spelling of docs/api.md."""
    return "~" + base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")
