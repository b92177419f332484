"""This is who may use the page: nobody without its link, no other site, and no other name of this machine."""

import pytest
from botocore.credentials import Credentials

from deployment_tracker.ui.server import Server, server_of
from deployment_tracker.ui.session import PROOF
from tests.client.api import Fault
from tests.ui.conftest import Browser
from tests.ui.stand import Stand

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
READS = ["/api/deployments", "/api/stack", "/api/brake", "/api/strays", "/api/deployments/x/plan"]


def test_it_listens_on_this_machine_alone(server: Server) -> None:
    assert server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize("path", READS)
def test_nothing_is_told_without_the_link(stranger: Browser, path: str) -> None:
    answer = stranger.ask("GET", path)
    assert (answer.status, answer.code) == (401, "no_session")


def test_nothing_is_changed_without_the_link(stranger: Browser, filled: Stand) -> None:
    answer = stranger.ask("DELETE", "/api/deployments/demo-tuesday")
    assert (answer.status, answer.code) == (401, "no_session")
    assert filled.calls == []


def test_neither_the_cookie_nor_the_proof_is_enough(opened: Browser) -> None:
    assert opened.ask("GET", "/api/stack").status == 200
    assert opened.ask("GET", "/api/stack", Cookie=None).status == 401
    assert opened.ask("GET", "/api/stack", **{PROOF: None}).status == 401
    assert opened.ask("GET", "/api/stack", **{PROOF: "guessed"}).status == 401


def test_the_cookie_is_kept_from_scripts_and_other_sites(stranger: Browser) -> None:
    answer = stranger.ask("POST", "/session", {"token": stranger.token})
    name, _, attributes = answer.headers["set-cookie"].partition("; ")
    assert name.startswith(f"tracker_{stranger.server.server_port}=")
    assert attributes == "Path=/; HttpOnly; SameSite=Strict"
    assert stranger.token not in answer.headers["set-cookie"]


@pytest.mark.parametrize("token", ["", "guessed", None, 1, ["x"]])
def test_a_wrong_token_opens_nothing(stranger: Browser, token: object) -> None:
    answer = stranger.ask("POST", "/session", {"token": token})
    assert (answer.status, answer.code) == (401, "no_session")
    assert "set-cookie" not in answer.headers


def test_the_link_that_a_process_was_started_with_opens_the_page_once(stranger: Browser) -> None:
    token = stranger.server.session.link_once().partition("#token=")[2]
    assert stranger.ask("POST", "/session", {"token": token}).status == 200
    assert stranger.ask("POST", "/session", {"token": token}).status == 401
    assert stranger.ask("POST", "/session", {"token": stranger.token}).status == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example", "[::1]", ""])
def test_it_answers_to_no_other_name(opened: Browser, host: str) -> None:
    for path in ("/", "/api/stack"):
        answer = opened.ask("GET", path, Host=host)
        assert (answer.status, answer.code) == (421, "wrong_host")
    assert opened.ask("POST", "/session", {"token": opened.token}, Host=host, Origin=f"http://{host}").status == 421


def test_it_answers_to_localhost(opened: Browser) -> None:
    assert opened.ask("GET", "/api/stack", Host=f"localhost:{opened.server.server_port}").status == 200


@pytest.mark.parametrize("origin", [None, "null", "https://evil.example", "http://127.0.0.1:1", "http://localhost"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/session"),
        ("DELETE", "/api/deployments/demo-tuesday"),
        ("POST", "/api/deployments/demo-tuesday/extend"),
        ("POST", "/api/strays/x/adopt"),
    ],
)
def test_a_write_comes_from_the_page_alone(
    opened: Browser, filled: Stand, method: str, path: str, origin: str | None
) -> None:
    answer = opened.ask(method, path, {}, Origin=origin)
    assert (answer.status, answer.code) == (403, "wrong_origin")
    assert filled.calls == []


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_a_browser_says_came_from_elsewhere_is_refused(opened: Browser, filled: Stand, site: str) -> None:
    assert opened.ask("GET", "/api/deployments", Sec_Fetch_Site=site).status == 403
    assert opened.ask("DELETE", "/api/deployments/demo-tuesday", Sec_Fetch_Site=site).status == 403
    assert opened.ask("GET", "/api/deployments", Origin="http://127.0.0.1:1").status == 403
    assert opened.ask("POST", "/session", {"token": opened.token}, Sec_Fetch_Site=site).status == 403
    assert filled.calls == []


@pytest.mark.parametrize("path", ["/", "/assets/main.js", "/assets/style.css", "/nothing", "/api/stack", "/d/a%2Fb"])
def test_every_answer_has_the_policy(opened: Browser, path: str) -> None:
    headers = opened.ask("GET", path).headers
    assert headers["content-security-policy"] == POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers


@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS", "HEAD", "TRACE"])
def test_other_methods_are_refused_with_the_policy(opened: Browser, method: str) -> None:
    answer = opened.ask(method, "/api/deployments")
    assert answer.status == 501
    assert answer.headers["content-security-policy"] == POLICY


def test_the_page_names_no_other_host_and_has_no_script_in_itself(opened: Browser) -> None:
    text = opened.ask("GET", "/").body.decode()
    assert "//" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "<style" not in text
    assert " on" + "click" not in text
    assert all("src=" in tag for tag in text.split("<script")[1:])


@pytest.mark.parametrize(
    "path",
    [
        "/assets/../server.py",
        "/assets/%2e%2e/server.py",
        "/assets//etc/passwd",
        "/assets/vendor/vendored.json",
        "/assets/",
        "/etc/passwd",
        "/index.html",
    ],
)
def test_only_the_files_of_the_page_are_served(opened: Browser, path: str) -> None:
    answer = opened.ask("GET", path)
    assert (answer.status, answer.code) == (404, "not_found")


def test_a_body_that_is_too_long_or_has_no_length_is_refused(opened: Browser) -> None:
    assert opened.ask("POST", "/session", b"{}", Content_Length="70000").status == 413
    assert opened.ask("POST", "/session", b"", Transfer_Encoding="chunked").status == 413
    assert opened.ask("POST", "/session", b"", Content_Length="-1").status == 413


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff", b"1"])
def test_a_body_that_is_no_object_is_refused(opened: Browser, body: bytes) -> None:
    answer = opened.ask("POST", "/api/deployments/x/extend", body)
    assert (answer.status, answer.code) == (400, "malformed")


def test_a_credential_in_an_error_of_the_api_never_reaches_the_page(
    opened: Browser, api: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = Credentials(
        "AKIAEXAMPLEEXAMPLE12", "a/secret+key/of/forty/characters/abcdefg", "a-session-token-that-is-long"
    )
    monkeypatch.setattr(opened.server.client.aws, "credentials", lambda: keys)
    text = f"The Canonical String should have been 'x-amz-security-token:{keys.token}' of {keys.access_key}, {keys.secret_key}"
    api.faults = [Fault(403, {"error": {"code": "INVALID_SIGNATURE", "message": text, "more": [keys.token]}})]
    answer = opened.ask("GET", "/api/deployments")
    assert (answer.status, answer.code) == (403, "INVALID_SIGNATURE")
    for each in (keys.access_key, keys.secret_key, keys.token):
        assert str(each) not in str(answer.body)


def test_nothing_is_written_while_it_serves(opened: Browser, filled: Stand, capfd: pytest.CaptureFixture[str]) -> None:
    opened.ask("GET", "/api/deployments")
    opened.ask("GET", "/api/deployments/demo-tuesday?token=x")
    opened.ask("GET", "/nothing", Host="evil.example")
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")


def test_a_port_that_is_taken_is_said(server: Server) -> None:
    with pytest.raises(Exception, match=f"Port {server.server_port} can't be used"):
        server_of(server.client, server.server_port)
