"""EC2 on one machine: moto's, mended where it is kinder than AWS, and able to fail when told to.

`python -m local.ec2 --port P` is a part of the local stack; tests start the class `Ec2` in a thread. Answers and state are
moto's own; here only what it skips is added: an instance shuts down for a while before it is terminated, and what it uses can't
be deleted until then. Point `AWS_ENDPOINT_URL_EC2` (and, for tests, `AWS_ENDPOINT_URL_STS`) to it.

    PUT /_local/faults     [{"action": "TerminateInstances", "kind": "throttle", "times": 2}]   what fails from now on
    GET /_local/faults     the same, with how often each has `fired`;  DELETE: nothing fails any more
    GET /_local/calls      every call, with its time, parameters and outcome;  DELETE: forget them
"""

import argparse
import os
import re
import signal
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Callable
from copy import copy
from fnmatch import fnmatchcase
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, RLock, Thread, Timer
from typing import Any, Literal, override
from urllib.parse import parse_qsl, urlencode, urlsplit
from xml.sax.saxutils import escape

import msgspec
from moto.ec2.models import ec2_backends
from moto.iam.models import get_account_id_from
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.test import EnvironBuilder, run_wsgi_app

# Seconds: how long an instance takes to terminate, and how long a call hangs whose caller doesn't give up.
TERMINATING = 4.0
HANGS_FOR = 300.0
CALLS_KEPT = 10_000

type Form = dict[str, str]


class Fault(msgspec.Struct, forbid_unknown_fields=True):
    """Calls that fail. `action` may hold wildcards; `id`: only calls that name it; `times` null: until it is cleared.

    `error` answers with `status` and `code`; `throttle` as EC2 throttles; `reset` and `hang` never answer and delete
    nothing; `cut` does what was asked and breaks off within the answer; `page` answers 200 with some proxy's HTML;
    `accept` says that it is done, and does nothing. An error or throttle may say `retry_after`, in seconds.
    """

    action: str
    kind: Literal["error", "throttle", "reset", "hang", "cut", "page", "accept"]
    id: str = ""
    code: str = "InternalError"
    status: int = 500
    message: str = "An internal error has occurred"
    retry_after: int | None = None
    times: int | None = None
    fired: int = 0

    def applies(self, action: str, form: Form) -> bool:
        """Return whether it still fails this call."""
        if self.id and self.id not in form.values():
            return False
        return fnmatchcase(action, self.action) and (self.times is None or self.fired < self.times)


class Call(msgspec.Struct):
    """One call: `at` in seconds since 1970, `status` None where no whole answer was given."""

    action: str
    at: float
    parameters: Form
    fault: str = ""
    status: int | None = None


class Answer(msgspec.Struct):
    status: int
    body: bytes
    content_type: str = "text/xml;charset=UTF-8"
    retry_after: int | None = None


class NoAnswer(Exception):
    """The connection breaks; `sent` is what still goes out before, `is_reset` how it ends."""

    def __init__(self, sent: Answer | None = None, *, is_reset: bool = False) -> None:
        super().__init__()
        self.sent = sent
        self.is_reset = is_reset


class WrongCall(Exception):
    """This is what EC2 answers with an error that moto doesn't know."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Ec2:
    """The server. `faults` and `calls` are what `/_local` shows."""

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, terminating: float = TERMINATING) -> None:
        self.terminating = terminating
        self.faults: list[Fault] = []
        self.calls: deque[Call] = deque(maxlen=CALLS_KEPT)
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = _Server((host, port), self)
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._lock = RLock()
        self._timers: list[Timer] = []
        self._ended = Event()
        self._mends: dict[str, Callable[[Any, Form], Form | Answer]] = {
            "TerminateInstances": self._terminate,
            "DeleteSecurityGroup": _refuse_used_group,
            "ReleaseAddress": _refuse_associated_address,
            "DeleteKeyPair": _name_key_pair,
            "DescribeKeyPairs": _name_key_pair,
        }

    @property
    def url(self) -> str:
        """Return where it listens."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def start(self) -> "Ec2":
        """Serve, in a thread."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """End it; what hangs is let go."""
        self._ended.set()
        for timer in self._timers:
            timer.cancel()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def settle(self) -> None:
        """Let all that takes its time be over now: for tests whose time is their own."""
        for timer in self._timers:
            if timer.is_alive():
                timer.cancel()
                timer.function()
        self._timers = []

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """Answer one request. NoAnswer, if a fault says so."""
        form = dict(parse_qsl(body.decode("utf-8", "replace") or urlsplit(path).query, keep_blank_values=True))
        action = form.get("Action", "")
        if not action:
            return self._asked_moto(method, path, headers, body)
        scope = re.search(r"Credential=([^/,]*)/[^/]*/([^/]*)/([^/]*)/", headers.get("authorization", ""))
        key, region, service = scope.groups() if scope else ("", "us-east-1", "ec2")
        call = Call(
            action, time.time(), {key: value for key, value in form.items() if key not in ("Action", "Version")}
        )
        self.calls.append(call)
        fault = self._fault(action, form)
        try:
            if fault:
                call.fault = fault.kind
            if fault and fault.kind != "cut":
                answer = self._failed(fault, action, service)
            else:
                answer = self._served(method, path, headers, form, get_account_id_from(key), region)
        except WrongCall as wrong:
            answer = _error(400, wrong.code, str(wrong), service)
        if fault and fault.kind == "cut":
            raise NoAnswer(answer)
        call.status = answer.status
        return answer

    def _fault(self, action: str, form: Form) -> Fault | None:
        with self._lock:
            fault = next((fault for fault in self.faults if fault.applies(action, form)), None)
            if fault:
                fault.fired += 1
            return fault

    def _failed(self, fault: Fault, action: str, service: str) -> Answer:
        match fault.kind:
            case "error":
                answer = _error(fault.status, fault.code, fault.message, service)
                answer.retry_after = fault.retry_after
                return answer
            case "throttle":
                answer = _error(503, "RequestLimitExceeded", "Request limit exceeded.", service)
                answer.retry_after = fault.retry_after
                return answer
            case "accept":
                return Answer(200, f"<{action}Response><return>true</return></{action}Response>".encode())
            case "page":
                return Answer(200, b"<html><body>Please sign in.</body></html>", "text/html")
            case "hang":
                self._ended.wait(HANGS_FOR)
                raise NoAnswer
            case _:
                raise NoAnswer(is_reset=True)

    def _served(self, method: str, path: str, headers: dict[str, str], form: Form, account: str, region: str) -> Answer:
        with self._lock:
            mend = self._mends.get(form["Action"])
            backend = ec2_backends[account][region]
            mended = mend(backend, form) if mend else form
            if isinstance(mended, Answer):
                return mended
            answer = self._asked_moto(method, urlsplit(path).path, headers, urlencode(mended).encode())
            if form["Action"] == "RunInstances":
                _let_interfaces_go(backend, form, answer)
            return answer

    def _asked_moto(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        sent = [(name, value) for name, value in headers.items() if name not in ("content-length", "transfer-encoding")]
        environ = EnvironBuilder(path, base_url=self.url, method=method, headers=sent, data=body).get_environ()
        parts, status, given = run_wsgi_app(self._moto, environ, buffered=True)
        return Answer(int(status.split()[0]), b"".join(parts), given.get("Content-Type", "text/xml"))

    def _terminate(self, backend: Any, form: Form) -> Form | Answer:
        """Shut down, and terminate later. What moto would refuse, it refuses itself."""
        known = {instance.id: instance for instance in backend.all_instances()}
        names = [value for key, value in form.items() if key.startswith("InstanceId.")]
        if "DryRun" in form or any(name not in known or known[name].disable_api_termination for name in names):
            return form
        items = ""
        for instance in (known[name] for name in names):
            before = _state(instance)
            if instance._state.name not in ("shutting-down", "terminated"):  # noqa: SLF001 - nothing public sets it
                instance._state.name, instance._state.code = "shutting-down", 32  # noqa: SLF001
                self._later(self.terminating, partial(_terminated, backend, instance))
            items += (
                f"<item><instanceId>{instance.id}</instanceId><currentState>{_state(instance)}</currentState>"
                f"<previousState>{before}</previousState></item>"
            )
        namespace = "http://ec2.amazonaws.com/doc/2016-11-15/"
        text = (
            f'<TerminateInstancesResponse xmlns="{namespace}"><requestId>local</requestId>'
            f"<instancesSet>{items}</instancesSet></TerminateInstancesResponse>"
        )
        return Answer(200, text.encode())

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        def locked() -> None:
            with self._lock:
                act()

        timer = Timer(seconds, locked)
        timer.daemon = True
        self._timers = [*(one for one in self._timers if one.is_alive()), timer]
        timer.start()


def _terminated(backend: Any, instance: Any) -> None:
    """As AWS does: an address that it had is free again, and an interface that outlives it."""
    for address in list(backend.addresses):
        if address.instance is instance and address.association_id:
            backend.disassociate_address(association_id=address.association_id)
    backend.terminate_instances([instance.id])
    # moto needs an interface to show of it: a copy, while the interface itself is gone, or on its own.
    shown = {index: copy(interface) for index, interface in instance.nics.items()}
    for interface in list(instance.nics.values()):
        if not interface.delete_on_termination:
            instance.detach_eni(interface)
    instance.nics = shown


def _let_interfaces_go(backend: Any, form: Form, answer: Answer) -> None:
    """Interfaces that are made with an instance go with it, unless it is said otherwise: moto's all stay."""
    if any(re.fullmatch(r"NetworkInterface\.\d+\.(NetworkInterfaceId|DeleteOnTermination)", key) for key in form):
        return
    made = re.findall(r"<instanceId>(i-[0-9a-f]+)</instanceId>", answer.body.decode())
    for instance in backend.all_instances():
        for interface in instance.nics.values() if instance.id in made else ():
            interface.delete_on_termination = True


def _refuse_used_group(backend: Any, form: Form) -> Form:
    name = form.get("GroupId", "")
    for interface in backend.enis.values():
        if any(group.id == name for group in interface.group_set):
            raise WrongCall("DependencyViolation", f"resource {name} has a dependent object")
    for group in backend.describe_security_groups():
        rules = [*group.ingress_rules, *group.egress_rules]
        if group.id != name and any((rule.source_group or {}).get("GroupId") == name for rule in rules):
            raise WrongCall("DependencyViolation", f"resource {name} has a dependent object")
    return form


def _refuse_associated_address(backend: Any, form: Form) -> Form:
    for address in backend.addresses:
        if address.allocation_id == form.get("AllocationId") and address.association_id:
            text = f"Address {address.public_ip} is in use."
            raise WrongCall("InvalidIPAddress.InUse", text)
    return form


def _name_key_pair(backend: Any, form: Form) -> Form:
    """Key pairs by their ids: moto knows them by name alone, and answers with all or with none."""
    named = dict(form)
    for parameter in [key for key in form if re.fullmatch(r"KeyPairId(\.\d+)?", key)]:
        asked = named.pop(parameter)
        pair = next((pair for pair in backend.key_pairs.values() if pair.id == asked), None)
        if pair is None:
            raise WrongCall("InvalidKeyPair.NotFound", f"The key pair '{asked}' does not exist")
        named[parameter.replace("KeyPairId", "KeyName")] = pair.key_name
    return named


def _state(instance: Any) -> str:
    state = instance._state  # noqa: SLF001 - what moto shows is a copy of it
    return f"<code>{state.code}</code><name>{state.name}</name>"


def _error(status: int, code: str, message: str, service: str) -> Answer:
    error = f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>"
    if service == "ec2":
        text = f"<Response><Errors>{error}</Errors><RequestID>local</RequestID></Response>"
    else:
        text = f"<ErrorResponse>{error}<RequestId>local</RequestId></ErrorResponse>"
    return Answer(status, text.encode())


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], ec2: Ec2) -> None:
        self.ec2 = ec2
        super().__init__(address, _Handler)

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        # A caller that went away, because we kept it waiting, is no news.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        try:
            if self.path.startswith("/_local/"):
                self._send(self._controlled(body))
            else:
                headers = {name.lower(): value for name, value in self.headers.items()}
                self._send(self.server.ec2.answer(self.command, self.path, headers, body))
        except NoAnswer as broken:
            self._break_off(broken)

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - http.server's names

    def _controlled(self, body: bytes) -> Answer:
        ec2 = self.server.ec2
        status = 200
        match self.command, self.path:
            case "PUT", "/_local/faults":
                try:
                    ec2.faults = msgspec.json.decode(body, type=list[Fault])
                except msgspec.DecodeError as error:
                    return Answer(400, msgspec.json.encode({"error": str(error)}), "application/json")
            case "DELETE", "/_local/faults":
                ec2.faults = []
            case "DELETE", "/_local/calls":
                ec2.calls.clear()
            case "GET", "/_local/faults" | "/_local/calls":
                pass
            case _:
                status = 404
        shown: list[Any] = list(ec2.calls) if self.path.endswith("/calls") else ec2.faults
        return Answer(status, msgspec.json.encode(shown), "application/json")

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        if answer.retry_after is not None:
            self.send_header("Retry-After", str(answer.retry_after))
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def _break_off(self, broken: NoAnswer) -> None:
        self.close_connection = True
        if broken.sent:
            # Half of it under the whole one's length.
            self.send_response(broken.sent.status)
            self.send_header("Content-Length", str(len(broken.sent.body)))
            self.end_headers()
            self.wfile.write(broken.sent.body[: len(broken.sent.body) // 2])
        if broken.is_reset:
            # No lingering: the kernel then answers with RST. A shutdown would send FIN first.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())

    @override
    def log_message(self, format: str, *args: Any) -> None:
        # `/_local/calls` is the log.
        return


def main() -> None:
    """Serve until told to end."""
    parser = argparse.ArgumentParser(prog="python -m local.ec2", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--host", default="127.0.0.1", help="what to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="default: any that is free")
    parser.add_argument(
        "--terminating",
        type=float,
        default=TERMINATING,
        help="seconds that an instance shuts down (default %(default)s)",
    )
    arguments = parser.parse_args()
    ended = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    ec2 = Ec2(host=arguments.host, port=arguments.port, terminating=arguments.terminating).start()
    print(f"EC2 at {ec2.url}", flush=True)
    ended.wait()
    ec2.stop()


if __name__ == "__main__":
    main()
