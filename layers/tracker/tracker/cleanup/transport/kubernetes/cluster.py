"""A Kubernetes API server: how it is reached, which cluster it is, and what its answers mean.

Used by `objects` and `namespace`, and by the types that reach a cluster: with a kubeconfig, or with what a provider's API says of one.
Kubernetes' client sends the calls, but its models don't read the answers: they reject those of older servers, when the call is done.
"""

import base64
import binascii
import re
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import unquote, urlencode, urlsplit

import msgspec
import urllib3
from kubernetes.client import ApiClient, Configuration
from kubernetes.client.exceptions import ApiException

from tracker.cleanup.core.contract import Busy, Refused, Unreachable
from tracker.cleanup.core.kind import Gone, PlaceGone
from tracker.cleanup.transport.bounds import ANSWER_MAX, PART, TEXT_MAX, Page, TooLong, joined, paged
from tracker.cleanup.transport.loopback import is_loopback
from tracker.cleanup.transport.redaction import redacted
from tracker.model.deployment import clipped
from tracker.retry_after import parse_retry_after

# Seconds: to connect, and for each part of an answer.
CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 15.0
# So many objects are asked for at once, and fewer if these are too large for one answer.
PAGE = 250
FEWER = 8
ERROR_TEXT_MAX = 300
THROTTLED_FOR = 1.0
# The longest wait that an answer is believed. No round lasts longer.
WAIT_MAX = 86_400
JSON = "application/json"
# Only the name and other metadata of an object: the content of a secret is never asked for.
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

_SERVER = re.compile(
    r"https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?!.*\.\.)(?:/[A-Za-z0-9._~:-]+)*/?"
)
_TOKEN = re.compile(r"[\x21-\x7e]+")


class ClusterGone(PlaceGone):
    """The provider has no such cluster any more, by this proof of its own. Raised by the functions that reach a cluster."""

    def __init__(self, proof: str) -> None:
        super().__init__(f"it went with its cluster: {proof}")


class NoAccess(Unreachable):
    """The provider has the cluster, but gives no access to it: it may still be being made. Raised by the functions that reach a cluster."""


class TooLarge(Unreachable):
    """The answer has more bytes than are read."""


class NotServed(Unreachable):
    """The server doesn't have this version of the API, or isn't an API server."""


@dataclass(frozen=True)
class Access:
    """The address of an API server, and a credential for it.

    `ca`, `certificate` and `key` are in PEM. Without `ca` the public authorities are trusted. There must be a token, or a certificate and its
    key. Raises Refused if there is neither, or the server isn't https (or this machine itself).
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
        """Return the text without the credential, which an answer may have quoted."""
        return redacted(text, (self.token, self.key, self.certificate))


class Response(NamedTuple):
    """An API server's answer: `body` is the decoded JSON, None if there was none, `size` its bytes."""

    status: int
    body: Any
    headers: Mapping[str, str]
    size: int


class Cluster:
    """A connection to the API server of one cluster. `uid` is the cluster's identity: the uid of its namespace kube-system.

    It is a context manager: when it is entered, the server has accepted the credential, and `uid` is known.
    """

    def __init__(self, access: Access) -> None:
        self.server = access.server.rstrip("/")
        self.uid = ""
        self._access = access

    def __enter__(self) -> Self:
        # Empty, not None: nothing of the environment's proxies.
        self._client = ApiClient(Configuration(host=self.server, proxy="", no_proxy=""))
        # With a TLS context of our own: the client's is as strict as Python's default, which clusters' authorities don't satisfy.
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
        """Return the object at a path that ends with its plural and its name. Raises Gone, or one of the contract's exceptions."""
        body = self._call("GET", path, accept=accept).body
        if not isinstance(body, dict) or _metadata(body).get("name") != unquote(path.rpartition("/")[2]):
            raise Unreachable(f"GET {path}: the answer isn't that object")
        uid_of(body)
        return body

    def items(self, path: str, *, label: str = "", accept: str = JSON) -> Iterator[dict[str, Any]]:
        """Yield all objects of a list, page by page; with a `label` (`key` or `key=value`), those that carry it."""
        limit = PAGE
        selected = {"labelSelector": label} if label else {}

        def page(cursor: str) -> Page[str]:
            nonlocal limit
            while True:
                query = {"limit": str(limit)} | selected | ({"continue": cursor} if cursor else {})
                try:
                    answer = self._call("GET", path, query=query, accept=accept)
                    break
                except TooLarge:
                    if limit == 1:
                        raise
                    limit = max(1, limit // FEWER)
            body = answer.body if isinstance(answer.body, dict) else {}
            found = body.get("items")
            if found is None and "items" in body and body.get("kind") == "PartialObjectMetadataList":
                # So an API server spells such a list that is empty (seen at 1.20.2).
                found = []
            if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
                raise Unreachable(f"GET {path}: the answer isn't a list")
            return Page(found, str(_metadata(answer.body).get("continue") or ""), answer.size)

        yield from paged(f"GET {path}", "", page)

    def delete(self, path: str, uid: str) -> None:
        """Request the deletion of the object that has this uid, after all that it owns. Raises Gone if there is none, or another has its name."""
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
    ) -> Response:
        headers = {"Accept": accept, "User-Agent": "deployment-tracker"}
        if body is not None:
            headers["Content-Type"] = JSON
        if self._access.token:
            headers["Authorization"] = f"Bearer {self._access.token}"
        url = f"{self.server}{path}" + (f"?{urlencode(query)}" if query else "")
        where = f"{method} {path}"
        try:
            timeout = (CONNECT_TIMEOUT, READ_TIMEOUT)
            answer = self._client.call_api(method, url, headers, body, _request_timeout=timeout).response
            with closing(answer):
                raw = joined(answer.stream(PART), ANSWER_MAX)
        except TooLong as too_long:
            raise TooLarge(f"{self.server}: {where}: the answer is too long: {too_long}") from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unreachable(f"{self.server}: {where}: {type(error).__name__}") from None
        except ApiException:
            # The client raises this for an error of TLS.
            raise Unreachable(f"{self.server}: {where}: no TLS with it by the authority that is known") from None
        response = Response(answer.status, _decoded(raw), answer.headers, len(raw))
        if response.status // 100 != HTTPStatus.OK // 100 or _is_failure(response.body):
            raise self._error(method, path, response)
        if response.body is None:
            raise Unreachable(f"{where}: {response.status}, and not to be read")
        return response

    def _error(self, method: str, path: str, response: Response) -> Exception:
        """Return the exception that a failure stands for. Source: API conventions, "Response Status Kind"."""
        where = f"{method} {path}: {response.status}"
        status: dict[str, Any] = response.body if _is_failure(response.body) else {}
        code = status.get("code") if response.status < HTTPStatus.BAD_REQUEST else response.status
        message = self._access.redacted(str(status.get("message", "")))[:TEXT_MAX]
        text = f"{where} {clipped(message, ERROR_TEXT_MAX)}".rstrip()
        match code:
            case HTTPStatus.NOT_FOUND if _names(status, path):
                return Gone(text)
            case HTTPStatus.NOT_FOUND:
                return NotServed(f"{text}, which isn't that it is gone")
            case HTTPStatus.TOO_MANY_REQUESTS:
                return Busy(text, _retry_after(response, status))
            case HTTPStatus.UNAUTHORIZED:
                return Refused("credentials", text)
            case _ if re.search(r"admission webhook .* denied|ValidatingAdmissionPolicy .* denied", message):
                return Refused("protected", text)
            case HTTPStatus.FORBIDDEN if "may not be deleted" in message:
                return Refused("protected", text)
            case HTTPStatus.FORBIDDEN:
                return Refused("credentials", text)
            case HTTPStatus.CONFLICT if re.search(r"UID in (the )?precondition", message):
                return Gone(text)
            case HTTPStatus.CONFLICT if status:
                return Busy(text, _retry_after(response, status))
            case HTTPStatus.BAD_REQUEST | HTTPStatus.METHOD_NOT_ALLOWED | HTTPStatus.UNPROCESSABLE_ENTITY if status:
                return Refused("bad_id", text)
            case _:
                return Unreachable(text)


def uid_of(body: dict[str, Any]) -> str:
    """Return an object's uid: no two objects ever have the same."""
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
    """Return the access that a kubeconfig's context gives; an empty `context` is its current one.

    No program that it names is run. Files that it names are read only if it is this machine's own, which is in `folder`. Raises
    Refused if there is no such context, or it needs something that isn't supported. No error quotes its content.
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
    """One named part of a kubeconfig. Its values may be secrets, so that no error quotes one."""

    def __init__(self, parts: list[_Named] | None, noun: str, name: str, folder: Path | None) -> None:
        found = [getattr(each, noun) for each in parts or [] if each.name == name]
        if len(found) != 1 or found[0] is None:
            raise Refused("credentials", f"the kubeconfig has not one {noun} {name!r}")
        self._part: dict[str, Any] = found[0]
        self._label = f"{noun} {name!r} of the kubeconfig"
        self._folder = folder

    def refuse(self, *keys: str) -> None:
        """Raise Refused if it has one of these keys."""
        found = [key for key in keys if self._part.get(key)]
        if found:
            text = (
                f"{self._label} has {', '.join(found)}: give it a token, or a certificate and its key, and an authority"
            )
            raise Refused("credentials", text)

    def text(self, key: str) -> str:
        value = self._part.get(key)
        if value is not None and not isinstance(value, str):
            raise Refused("credentials", f"{self._label}: {key} isn't a text")
        return value or ""

    def file(self, key: str) -> str:
        """Return the content of the file that it names."""
        name = self.text(key)
        if not name:
            return ""
        if self._folder is None:
            raise Refused("credentials", f"{self._label} names a file in {key}: put its content there, as {key}-data")
        try:
            return (self._folder / name).read_text()
        except (OSError, UnicodeError) as error:
            raise Refused("credentials", f"{self._label}: {key} can't be read: {type(error).__name__}") from None

    def pem(self, key: str) -> str:
        """Return a certificate or a key, which it has in base64, or in a file."""
        try:
            return base64.b64decode(self.text(f"{key}-data"), validate=True).decode() or self.file(key)
        except (binascii.Error, ValueError):
            raise Refused("credentials", f"{self._label}: {key}-data isn't base64 of PEM") from None


def _tls(access: Access) -> dict[str, Any]:
    """Return the pool's arguments: a TLS context that trusts the given authority alone, and presents the certificate."""
    if access.server.startswith("http:"):
        return {}
    # Not create_default_context, whose strict mode rejects the authorities that clusters make for themselves.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if access.ca:
            context.load_verify_locations(cadata=access.ca)
        else:
            context.load_default_certs()
        if access.certificate and access.key:
            # OpenSSL takes a certificate and its key from files only: they exist for this one call.
            with tempfile.TemporaryDirectory() as folder:
                certificate, key = Path(folder, "cert.pem"), Path(folder, "key.pem")
                certificate.write_text(access.certificate)
                key.write_text(access.key)
                context.load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError):
        raise Refused("credentials", f"{access.server}: no usable authority, certificate or key for it") from None
    named = {"server_hostname": access.tls_server_name, "assert_hostname": access.tls_server_name}
    return {"ssl_context": context, **(named if access.tls_server_name else {})}


def _decoded(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _metadata(body: dict[str, Any]) -> dict[str, Any]:
    found = body.get("metadata")
    return found if isinstance(found, dict) else {}


def _is_failure(body: Any) -> bool:
    """Return whether the server itself says that it failed, and not some proxy."""
    return isinstance(body, dict) and body.get("kind") == "Status" and body.get("status") == "Failure"


def _names(status: dict[str, Any], path: str) -> bool:
    """Return whether a NotFound is about the object at that path, and not about a version of the API, say."""
    *_, plural, name = path.split("/")
    details = status.get("details")
    if status.get("reason") != "NotFound" or not isinstance(details, dict):
        return False
    return (details.get("kind"), details.get("name")) == (plural, unquote(name))


def _retry_after(response: Response, status: dict[str, Any]) -> float:
    wait = parse_retry_after(response.headers.get("Retry-After", ""), longest=WAIT_MAX)
    if wait is not None:
        return wait
    details = status.get("details")
    seconds = details.get("retryAfterSeconds") if isinstance(details, dict) else None
    if isinstance(seconds, int):
        return float(min(max(0, seconds), WAIT_MAX))
    return THROTTLED_FOR if response.status == HTTPStatus.TOO_MANY_REQUESTS else 0.0
