"""The way to a webhook, walked: real servers on loopback that answer well, badly, too much, too late or not at all."""

import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority
from tests.in_time import in_time
from tests.receivers import Behaviour, Receiver, answers, late, receiving, repeated, resets, says, silent
from tracker.model.settings import Settings
from tracker.notify.targets import Forbidden, Resolve, Unsent, check_name
from tracker.notify.webhooks import RESPONSE_BYTES, TIME_LIMIT, Response, post

HERE = Settings(allow_http_loopback_webhooks=True)
WORLD = Settings()
BODY = b'{"type":"deployment.cleanup_succeeded"}'
LIMIT = 0.6


def posted(receiver: Receiver, *, limit: float = 5, url: str = "", **more: Any) -> Response:
    return post(url or receiver.url, {"webhook-id": "msg-1"}, BODY, HERE, limit=limit, **more)


def test_a_webhook_has_fifteen_seconds_in_all() -> None:
    assert TIME_LIMIT == 15


def test_a_webhook_gets_the_request_as_it_is_meant() -> None:
    with receiving(answers(200)) as receiver:
        assert posted(receiver) == Response(200)
        (heard,) = receiver.heard
    assert heard.path == "/hook?token=secret-token"
    assert heard.body == BODY
    assert heard.headers == {
        "host": f"127.0.0.1:{receiver.port}",
        "user-agent": "deployment-tracker",
        "content-type": "application/json",
        "content-length": str(len(BODY)),
        "connection": "close",
        "webhook-id": "msg-1",
    }


ANSWERED: dict[str, tuple[Behaviour, int]] = {
    "200": (answers(200), 200),
    "201": (answers(201, "made"), 201),
    "202": (answers(202), 202),
    "204": (says("HTTP/1.1 204 No Content\r\n\r\n"), 204),
    "HTTP/1.0": (says("HTTP/1.0 200 OK\r\n\r\nfine"), 200),
    "without a word": (says("HTTP/1.1 200\r\n\r\n"), 200),
    "with line feeds alone": (says("HTTP/1.1 200 OK\nContent-Length: 0\n\n"), 200),
    "continued": (says("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), 200),
    "with early hints": (says("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), 200),
    "bit by bit": (late(0.1, says("HTTP/1.1 200 OK\r\n\r\n")), 200),
    "500": (answers(500, "x" * 1000), 500),
    "404": (answers(404), 404),
    "410": (answers(410), 410),
    "a body shorter than it says": (says("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort"), 200),
    "a body longer than it says": (says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + "x" * 100_000), 200),
    "a length that is none": (says("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), 200),
    "two lengths": (says("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 99\r\n\r\nx"), 200),
    "chunks that are none": (says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), 200),
    "a body without end": (repeated("HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536), 200),
    "a body that drips": (repeated("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", b"x", every=0.05), 200),
    "reset after the answer": (resets(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), 200),
}


def unsent(call: Callable[[], object]) -> str:
    """Return why a webhook can't be posted to."""
    with pytest.raises(Unsent) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize("name", ANSWERED)
def test_what_a_webhook_answers_is_its_status_whatever_follows(name: str) -> None:
    behaviour, status = ANSWERED[name]
    with receiving(behaviour) as receiver:
        assert in_time(2, lambda: posted(receiver)).status == status


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_a_webhooks_redirect_is_an_answer_and_not_followed(status: int) -> None:
    with receiving(answers(200)) as inside, receiving(answers(status, Location=inside.url)) as receiver:
        assert posted(receiver) == Response(status)
        assert receiver.connections == 1
        assert inside.connections == 0


FAULTS: dict[str, Behaviour] = {
    "says nothing": silent,
    "hangs up": says(""),
    "resets": resets(),
    "resets within the status": resets(b"HTTP/1.1 20"),
    "resets within the headers": resets(b"HTTP/1.1 200 OK\r\nX: y\r\n"),
    "hangs up within the status": says("HTTP/1.1 200"),
    "hangs up within the headers": says("HTTP/1.1 200 OK\r\nContent-Le"),
    "is later than the limit": late(LIMIT * 2, answers(200)),
    "drips its status": repeated("HTTP/1.1 200 ", b"x", every=0.05),
    "drips its headers": repeated("HTTP/1.1 200 OK\r\n", b"X-More: y\r\n", every=0.05),
    "has headers without end": repeated("HTTP/1.1 200 OK\r\n", b"X-More: " + b"y" * 200 + b"\r\n"),
    "has a header without end": repeated("HTTP/1.1 200 OK\r\nX-More: ", b"y" * 4096),
    "has a status without end": repeated("HTTP/1.1 200 ", b"y" * 4096),
    "has small headers without end": repeated("HTTP/1.1 200 OK\r\n", b"a:b\r\n" * 100),
    "has more than a hundred headers": says("HTTP/1.1 200 OK\r\n" + "a: b\r\n" * 101 + "\r\n"),
    "continues without end": repeated("", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "hints without end": repeated("", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", every=0.01),
    "isn't HTTP": says("220 mail.example.org ESMTP\r\n"),
    "isn't text": says(bytes(range(256)) * 4),
    "is HTTP/0.9": says("<html>fine</html>"),
    "is HTTP/2": says(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00"),
    "is HTTP/3.0": says("HTTP/3.0 200 OK\r\n\r\n"),
    "has no status": says("HTTP/1.1 OK\r\n\r\n"),
    "has a status of two digits": says("HTTP/1.1 20 OK\r\n\r\n"),
    "has a status of four digits": says("HTTP/1.1 2000 OK\r\n\r\n"),
    "has a status that is none": says("HTTP/1.1 999 OK\r\n\r\n"),
    "has a negative status": says("HTTP/1.1 -200 OK\r\n\r\n"),
    "begins with a blank": says("\r\nHTTP/1.1 200 OK\r\n\r\n"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_no_fault_of_a_webhook_passes_for_an_answer_or_takes_longer_than_the_limit(name: str) -> None:
    with receiving(FAULTS[name]) as receiver:
        reason = in_time(LIMIT + 0.4, lambda: unsent(lambda: posted(receiver, limit=LIMIT)))
    assert "secret-token" not in reason
    assert reason


def test_an_endless_answer_of_a_webhook_is_read_no_further_than_its_bound() -> None:
    said = []

    def floods(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            said.append(connection.send(b"X-More: " + b"y" * 1000 + b"\r\n"))

    with receiving(floods) as receiver, pytest.raises(Unsent, match="not an answer of HTTP"):
        posted(receiver)
    # The rest is in the buffers of the kernel.
    assert RESPONSE_BYTES <= sum(said) < 100 * RESPONSE_BYTES


def test_a_webhook_where_nobody_listens_is_no_answer() -> None:
    with receiving(answers(200)) as receiver:
        url = receiver.url
    with pytest.raises(Unsent, match="no connection: Connection refused"):
        post(url, {}, BODY, HERE)


def test_a_webhook_that_takes_no_connection_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        # Fill its queue, so that the next one isn't even acknowledged.
        waiting = [socket.socket() for _ in range(8)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        url = f"http://127.0.0.1:{port}/"
        reason = in_time(LIMIT + 0.4, lambda: unsent(lambda: post(url, {}, BODY, HERE, limit=LIMIT)))
        assert "no answer in time" in reason
        for each in waiting:
            each.close()


def test_a_webhook_that_does_not_read_is_given_up_in_time() -> None:
    held = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=lambda: held.append(listener.accept()[0]), daemon=True).start()
        with pytest.raises(Unsent, match="no answer in time"):
            post(f"http://127.0.0.1:{listener.getsockname()[1]}/", {}, b"x" * 50_000_000, HERE, limit=LIMIT)
    held[0].close()


# Names


def test_a_webhooks_name_is_resolved_once_and_its_address_is_the_one_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []
    real = socket.getaddrinfo

    def watched(host: Any, *args: Any, **more: Any) -> Any:
        asked.append(host)
        return real(host, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", watched)
    with receiving(answers(200)) as receiver:
        assert posted(receiver, url=f"http://localhost:{receiver.port}/").status == 200
        assert receiver.heard[0].headers["host"] == f"localhost:{receiver.port}"
    assert asked[0] == "localhost"
    assert set(asked[1:]) <= {"127.0.0.1", "::1"}


def rebinding(*answers_: list[str]) -> tuple[Resolve, list[str]]:
    """A resolver that says something else each time."""
    left, asked = list(answers_), []

    def resolve(host: str, seconds: float) -> list[str]:
        asked.append(host)
        return left.pop(0)

    return resolve, asked


def test_a_webhooks_name_that_turns_inside_after_registration_is_not_called() -> None:
    resolve, asked = rebinding(["93.184.215.14"], ["127.0.0.1"])
    with receiving(answers(200)) as receiver:
        settings = Settings(webhook_ports=[receiver.port])
        url = f"https://hooks.example.org:{receiver.port}/"
        check_name(url, settings, resolve)
        with pytest.raises(Forbidden):
            post(url, {}, BODY, settings, resolve=resolve)
        assert receiver.connections == 0
    assert len(asked) == 2


def test_a_webhooks_name_that_turns_inside_after_it_was_looked_at_is_not_asked_again() -> None:
    """A rebinding server that answers well when it is looked at finds that nobody asks for the connection's sake."""
    resolve, asked = rebinding(["127.0.0.1"], ["10.0.0.1"])
    with receiving(answers(200)) as receiver:
        assert posted(receiver, url=f"http://localhost:{receiver.port}/", resolve=resolve).status == 200
    assert asked == ["localhost"]


def test_a_webhooks_second_address_is_tried_when_the_first_is_deaf() -> None:
    with receiving(answers(200)) as receiver:
        url = f"http://localhost:{receiver.port}/"
        assert posted(receiver, url=url, resolve=lambda _h, _s: ["127.0.0.77", "127.0.0.1"]).status == 200


@pytest.mark.parametrize("url", ["https://10.0.0.1/", "https://[::1]/", "http://hooks.example.org/"])
def test_a_webhook_that_was_stored_before_it_was_forbidden_is_not_called(url: str) -> None:
    with pytest.raises(Forbidden):
        post(url, {}, BODY, WORLD, resolve=lambda _h, _s: ["93.184.215.14"])


def test_a_webhook_is_called_without_this_process_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving(answers(200)) as proxy, receiving(answers(200)) as receiver:
        for name in ("http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert posted(receiver).status == 200
        assert proxy.connections == 0


# TLS


class Tls:
    """An authority, and what trusts and shows its certificates."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.trusting = ssl.create_default_context(cadata=self.authority.pem)

    def server(self, *hosts: str) -> ssl.SSLContext:
        cert, key = self.authority.files("-".join(hosts), hosts)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        return context


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    return Tls(tmp_path / "authority")


def test_a_webhook_shows_the_certificate_of_its_name(tls: Tls) -> None:
    with receiving(answers(200), tls=tls.server("localhost")) as receiver:
        url = f"https://localhost:{receiver.port}/"
        assert posted(receiver, url=url, context=tls.trusting).status == 200
        assert receiver.names == ["localhost"]


def test_a_webhook_by_address_shows_the_certificate_of_its_address(tls: Tls) -> None:
    with receiving(answers(200), tls=tls.server("127.0.0.1")) as receiver:
        assert posted(receiver, context=tls.trusting).status == 200


@pytest.mark.parametrize("host", ["hooks.example.org", "127.0.0.1"])
def test_a_webhook_with_another_names_certificate_hears_nothing(tls: Tls, host: str) -> None:
    with receiving(answers(200), tls=tls.server(host)) as receiver:
        with pytest.raises(Unsent, match="certificate isn't good: Hostname mismatch"):
            posted(receiver, url=f"https://localhost:{receiver.port}/", context=tls.trusting)
        assert receiver.heard == []


def test_a_webhook_whose_certificate_nobody_knows_hears_nothing(tls: Tls) -> None:
    with receiving(answers(200), tls=tls.server("localhost")) as receiver:
        with pytest.raises(Unsent, match="certificate isn't good"):
            posted(receiver, url=f"https://localhost:{receiver.port}/")
        assert receiver.heard == []


def test_a_webhook_that_speaks_no_tls_hears_nothing() -> None:
    with receiving(answers(200)) as receiver:
        with pytest.raises(Unsent):
            posted(receiver, url=f"https://localhost:{receiver.port}/", limit=LIMIT)
        assert receiver.heard == []


def test_a_webhook_with_an_outdated_tls_hears_nothing(tls: Tls) -> None:
    server = tls.server("localhost")
    server.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        server.maximum_version = ssl.TLSVersion.TLSv1_1
    with receiving(answers(200), tls=server) as receiver:
        with pytest.raises(Unsent, match=r"no TLS|no connection"):
            posted(receiver, url=f"https://localhost:{receiver.port}/", context=tls.trusting)
        assert receiver.heard == []


def test_a_webhook_that_never_finishes_its_handshake_is_given_up_in_time(tls: Tls) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://localhost:{listener.getsockname()[1]}/"
        reason = in_time(
            LIMIT + 0.4, lambda: unsent(lambda: post(url, {}, BODY, HERE, limit=LIMIT, context=tls.trusting))
        )
        assert "no answer in time" in reason


@pytest.mark.parametrize(
    "behave", [silent, repeated("HTTP/1.1 200 OK\r\n", b"a: b\r\n", every=0.05)], ids=["silent", "drips"]
)
def test_a_webhook_behind_tls_has_no_more_time_than_another(tls: Tls, behave: Behaviour) -> None:
    with receiving(behave, tls=tls.server("localhost")) as receiver:
        url = f"https://localhost:{receiver.port}/"
        in_time(LIMIT + 0.4, lambda: unsent(lambda: posted(receiver, url=url, context=tls.trusting, limit=LIMIT)))


def test_slow_webhooks_keep_no_other_waiting() -> None:
    quick_is_answered = threading.Event()
    with receiving(_waiting_for(quick_is_answered)) as slow, receiving(answers(200)) as quick:
        threads = [threading.Thread(target=_ignored(lambda: posted(slow, limit=60))) for _ in range(10)]
        for thread in threads:
            thread.start()
        assert posted(quick).status == 200
        assert all(thread.is_alive() for thread in threads)
        quick_is_answered.set()
        for thread in threads:
            thread.join()


def _waiting_for(event: threading.Event) -> Behaviour:
    def behave(_connection: socket.socket) -> None:
        event.wait(60)

    return behave


def _ignored(call: Callable[[], Any]) -> Callable[[], None]:
    def run() -> None:
        with pytest.raises(Unsent):
            call()

    return run
