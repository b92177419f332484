"""A Kubernetes API server: how it is reached, which cluster it is, and what its answers mean.

Used by `kubernetes_objects`, and by the types that reach a cluster: with a kubeconfig, or with what a provider says of one.
The client carries the calls, but doesn't read the answers: its models refuse what older servers say, after it was done.
"""

import base64
import binascii
import re
import ssl
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import urlencode, urlsplit

import msgspec
import urllib3
from kubernetes.client import ApiClient, Configuration
from kubernetes.client.exceptions import ApiException

from tracker.cleanup.calls import is_loopback, redacted
from tracker.cleanup.contract import Busy, Refused, Unreachable
from tracker.deployment import clipped

# Seconds: to connect, for each part of an answer, and for the whole of it.
CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 15.0
LIMIT = 40.0
ANSWER_MAX = 16 * 1024 * 1024
PAGE = 250
SAID_MAX = 300
THROTTLED_FOR = 1.0
JSON = "application/json"
# Only what an object is called: what a secret holds is never asked for.
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"

_SERVER = re.compile(
    r"https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?!.*\.\.)(?:/[A-Za-z0-9._~:-]+)*/?"
)
_TOKEN = re.compile(r"[\x21-\x7e]+")


class Gone(Exception):
    """The server has no such object, or another one of that name; the text is the proof."""


class ClusterGone(Exception):
    """The provider has no such cluster any more; the text is the proof. Raised by what reaches a cluster."""


class NoAccess(Unreachable):
    """The provider has the cluster, but says no way into it, as while it is being made. Raised by what reaches a cluster."""


class NotServed(Unreachable):
    """This version of the API isn't to be had there, or something else than an API server answered."""


@dataclass(frozen=True)
class Access:
    """How an API server is reached. All are texts: `ca` in PEM (empty: the public authorities), then a token, or a certificate and its key.

    Refused, if it isn't https (or this machine itself), or nothing says who is asking.
    """

    server: str
    ca: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    certificate: str = field(default="", repr=False)
    key: str = field(default="", repr=False)
    tls_server_name: str = ""

    def __post_init__(self) -> None:
        if not _SERVER.fullmatch(self.server):
            raise Refused("credentials", "the cluster's server isn't an https:// URL")
        if self.server.startswith("http:") and not is_loopback(urlsplit(self.server).hostname):
            raise Refused("credentials", f"{self.server}: https only, or this machine itself")
        if self.token and not _TOKEN.fullmatch(self.token):
            raise Refused("credentials", f"{self.server}: its token isn't one")
        if not self.token and not (self.certificate and self.key):
            raise Refused(
                "credentials", f"{self.server}: there is neither a token nor a certificate with its key for it"
            )

    def redacted(self, text: str) -> str:
        """A text in which nothing of the credential is left, should something have quoted it."""
        return redacted(text, (self.token, self.key, self.certificate))


class Answer(NamedTuple):
    """What was answered: `body` is the JSON, None where there was none."""

    status: int
    body: Any
    headers: Mapping[str, str]


class Cluster:
    """An open connection to the API server of one cluster, of which `uid` is the identity: that of its namespace kube-system.

    A context manager. Whoever is in it knows that the server took the credential.
    """

    def __init__(self, access: Access) -> None:
        self.server = access.server.rstrip("/")
        self.uid = ""
        self._access = access

    def __enter__(self) -> Self:
        # Empty, not None: nothing of the environment's proxies.
        self._client = ApiClient(Configuration(host=self.server, proxy="", no_proxy=""))
        # With an own context: the client's would add what Python is strict about, and clusters' authorities aren't.
        self._client.rest_client.pool_manager = urllib3.PoolManager(retries=False, **_tls(self._access))
        try:
            self.uid = uid_of(self.get("/api/v1/namespaces/kube-system", accept=METADATA))
        except Gone as gone:
            self.__exit__()
            raise Unreachable(f"{self.server} doesn't say which cluster it is: {gone}") from None
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()  # type: ignore[no-untyped-call]

    def get(self, path: str, *, accept: str = JSON) -> dict[str, Any]:
        """The object at a path, whose last parts are its plural and its name. Gone, or one of the contract's exceptions."""
        answer = self._call("GET", path, accept=accept)
        body = answer.body
        if not isinstance(body, dict) or _metadata(body).get("name") != path.rpartition("/")[2]:
            raise Unreachable(f"GET {path}: the answer isn't that object")
        uid_of(body)
        return body

    def items(self, path: str) -> Iterator[dict[str, Any]]:
        """All objects of a list, page by page."""
        query = {"limit": str(PAGE)}
        while True:
            body = self._call("GET", path, query=query).body
            found = body.get("items") if isinstance(body, dict) else None
            if not isinstance(found, list):
                raise Unreachable(f"GET {path}: the answer isn't a list")
            yield from found
            following = _metadata(body).get("continue")
            if not following:
                return
            query = {"limit": str(PAGE), "continue": following}

    def delete(self, path: str, uid: str) -> None:
        """Ask the object to go that has this uid, after all that it owns. Gone; nothing is asked of another one."""
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Foreground",
            "preconditions": {"uid": uid},
        }
        self._call("DELETE", path, body=options)

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        accept: str = JSON,
    ) -> Answer:
        headers = {"Accept": accept, "User-Agent": "deployment-tracker"}
        if body is not None:
            headers["Content-Type"] = JSON
        if self._access.token:
            headers["Authorization"] = f"Bearer {self._access.token}"
        url = f"{self.server}{path}" + (f"?{urlencode(query)}" if query else "")
        where = f"{method} {path}"
        try:
            timeout = (CONNECT_TIMEOUT, READ_TIMEOUT)
            response = self._client.call_api(method, url, headers, body, _request_timeout=timeout).response
            with closing(response):
                raw = _read(response)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unreachable(f"{self.server}: {where}: {type(error).__name__}") from None
        except ApiException:
            # What the client makes of an error of TLS.
            raise Unreachable(f"{self.server}: {where}: no TLS with it by the authority that is known") from None
        answer = Answer(response.status, _parsed(raw), response.headers)
        if answer.status // 100 != HTTPStatus.OK // 100 or _is_failure(answer.body):
            raise self._meaning(method, path, answer)
        if answer.body is None:
            raise Unreachable(f"{where}: {answer.status}, and not to be read")
        return answer

    def _meaning(self, method: str, path: str, answer: Answer) -> Exception:
        """The exception that a failure stands for. Which is which: API conventions, "Response Status Kind"."""
        where = f"{method} {path}: {answer.status}"
        status: dict[str, Any] = answer.body if _is_failure(answer.body) else {}
        code = status.get("code") if answer.status < HTTPStatus.BAD_REQUEST else answer.status
        said = self._access.redacted(str(status.get("message", "")))
        text = f"{where} {clipped(said, SAID_MAX)}".rstrip()
        match code:
            case HTTPStatus.NOT_FOUND if _names(status, path):
                return Gone(text)
            case HTTPStatus.NOT_FOUND:
                return NotServed(f"{text}, which isn't that it is gone")
            case HTTPStatus.TOO_MANY_REQUESTS:
                return Busy(text, _retry_after(answer, status))
            case HTTPStatus.UNAUTHORIZED:
                return Refused("credentials", text)
            case _ if re.search(r"admission webhook .* denied|ValidatingAdmissionPolicy .* denied", said):
                return Refused("protected", text)
            case HTTPStatus.FORBIDDEN if "may not be deleted" in said:
                return Refused("protected", text)
            case HTTPStatus.FORBIDDEN:
                return Refused("credentials", text)
            case HTTPStatus.CONFLICT if re.search(r"UID in (the )?precondition", said):
                return Gone(text)
            case HTTPStatus.CONFLICT if status:
                return Busy(text, _retry_after(answer, status))
            case HTTPStatus.BAD_REQUEST | HTTPStatus.METHOD_NOT_ALLOWED | HTTPStatus.UNPROCESSABLE_ENTITY if status:
                return Refused("bad_id", text)
            case _:
                return Unreachable(text)


def uid_of(body: dict[str, Any]) -> str:
    """An object's identity: no two objects ever have the same."""
    uid = _metadata(body).get("uid")
    if not isinstance(uid, str) or not uid:
        raise Unreachable("what answers there isn't a Kubernetes API server: an object has no uid")
    return uid


class _Named(msgspec.Struct):
    name: str
    cluster: dict[str, Any] | None = None
    user: dict[str, Any] | None = None
    context: dict[str, Any] | None = None


class _Kubeconfig(msgspec.Struct, rename={"current_context": "current-context"}):
    clusters: list[_Named] | None = None
    users: list[_Named] | None = None
    contexts: list[_Named] | None = None
    current_context: str | None = None


def access_of(kubeconfig: str, context: str = "", *, folder: Path | None = None) -> Access:
    """How a kubeconfig's context (empty: its current one) reaches its cluster.

    Nothing is run for it. Files that it names are read only if it is this machine's own, which lies in `folder`. Refused, if
    there is no such context, or it needs what isn't done here. Nothing of its content is in an error.
    """
    try:
        config = msgspec.yaml.decode(kubeconfig, type=_Kubeconfig)
    except (msgspec.DecodeError, RecursionError):
        raise Refused("credentials", "the kubeconfig isn't one") from None
    name = context or config.current_context or ""
    if not any(each.name == name for each in config.contexts or []):
        raise Refused(
            "bad_id", f"the kubeconfig has no context {name!r}" if name else "the kubeconfig has no current context"
        )
    chosen = _Part(config.contexts, "context", name, folder)
    server = _Part(config.clusters, "cluster", chosen.text("cluster"), folder)
    user = _Part(config.users, "user", chosen.text("user"), folder)
    server.refuse("insecure-skip-tls-verify", "proxy-url")
    user.refuse("as", "as-uid", "as-groups", "as-user-extra", "username", "password")
    token = user.file("tokenFile").strip() or user.text("token")
    certificate, key = user.pem("client-certificate"), user.pem("client-key")
    if not token and not (certificate and key):
        user.refuse("exec", "auth-provider")
    return Access(
        server.text("server"),
        ca=server.pem("certificate-authority"),
        token=token,
        certificate=certificate,
        key=key,
        tls_server_name=server.text("tls-server-name"),
    )


class _Part:
    """One named part of a kubeconfig. Its texts may be secrets, and so no error has one."""

    def __init__(self, parts: list[_Named] | None, noun: str, name: str, folder: Path | None) -> None:
        found = [getattr(each, noun) for each in parts or [] if each.name == name]
        if len(found) != 1 or found[0] is None:
            raise Refused("credentials", f"the kubeconfig has not one {noun} {name!r}")
        self._part: dict[str, Any] = found[0]
        self._what = f"{noun} {name!r} of the kubeconfig"
        self._folder = folder

    def refuse(self, *keys: str) -> None:
        """Refused, if it has one of these."""
        there = [key for key in keys if self._part.get(key)]
        if there:
            text = (
                f"{self._what} has {', '.join(there)}: give it a token, or a certificate and its key, and an authority"
            )
            raise Refused("credentials", text)

    def text(self, key: str) -> str:
        value = self._part.get(key)
        if value is not None and not isinstance(value, str):
            raise Refused("credentials", f"{self._what}: {key} isn't a text")
        return value or ""

    def file(self, key: str) -> str:
        """What is in the file that it names."""
        name = self.text(key)
        if not name:
            return ""
        if self._folder is None:
            raise Refused("credentials", f"{self._what} names a file in {key}: put its content there, as {key}-data")
        try:
            return (self._folder / name).read_text()
        except (OSError, UnicodeError) as error:
            raise Refused("credentials", f"{self._what}: {key} can't be read: {type(error).__name__}") from None

    def pem(self, key: str) -> str:
        """A certificate or a key, which stands there in base64, or in a file."""
        try:
            return base64.b64decode(self.text(f"{key}-data"), validate=True).decode() or self.file(key)
        except (binascii.Error, ValueError):
            raise Refused("credentials", f"{self._what}: {key}-data isn't base64 of PEM") from None


def _tls(access: Access) -> dict[str, Any]:
    """What the pool needs: a context that trusts the given authority alone, and shows the certificate."""
    if access.server.startswith("http:"):
        return {}
    # Not create_default_context, whose strict mode refuses the authorities that clusters make for themselves.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if access.ca:
            context.load_verify_locations(cadata=access.ca)
        else:
            context.load_default_certs()
        if access.certificate and access.key:
            # OpenSSL takes a certificate and its key from files only: they are there for this one call.
            with tempfile.TemporaryDirectory() as folder:
                certificate, key = Path(folder, "cert.pem"), Path(folder, "key.pem")
                certificate.write_text(access.certificate)
                key.write_text(access.key)
                context.load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError):
        raise Refused("credentials", f"{access.server}: no usable authority, certificate or key for it") from None
    named = {"server_hostname": access.tls_server_name, "assert_hostname": access.tls_server_name}
    return {"ssl_context": context, **(named if access.tls_server_name else {})}


def _read(response: urllib3.BaseHTTPResponse) -> bytes:
    until = time.monotonic() + LIMIT
    raw = bytearray()
    for part in response.stream(65_536):
        raw += part
        if len(raw) > ANSWER_MAX or time.monotonic() > until:
            raise OSError("too long")
    return bytes(raw)


def _parsed(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _metadata(body: dict[str, Any]) -> dict[str, Any]:
    found = body.get("metadata")
    return found if isinstance(found, dict) else {}


def _is_failure(body: Any) -> bool:
    """Whether it is the server's own word for a failure, and not some proxy's."""
    return isinstance(body, dict) and body.get("kind") == "Status" and body.get("status") == "Failure"


def _names(status: dict[str, Any], path: str) -> bool:
    """Whether a NotFound is about the object at that path, and not about a version of the API, say."""
    *_, plural, name = path.split("/")
    details = status.get("details")
    if status.get("reason") != "NotFound" or not isinstance(details, dict):
        return False
    return (details.get("kind"), details.get("name")) == (plural, name)


def _retry_after(answer: Answer, status: dict[str, Any]) -> float:
    given = answer.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,6}", given):
        return float(given)
    details = status.get("details")
    seconds = details.get("retryAfterSeconds") if isinstance(details, dict) else None
    if isinstance(seconds, int):
        return float(max(0, seconds))
    return THROTTLED_FOR if answer.status == HTTPStatus.TOO_MANY_REQUESTS else 0.0
