"""A Docker engine, reached through a unix socket, TCP with TLS, or SSH, and trusted by what the record's secret holds.

Used by the types that talk to an engine. docker-py's client is used without its own way of connecting, which reads ~/.docker: nothing
of this machine's own configuration counts. What goes wrong is raised in the contract's terms.
"""

import re
import socket
import ssl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from http import HTTPStatus
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import docker
import requests
from docker.errors import APIError
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

from tracker.cleanup.core.contract import Busy, Refused, Unreachable
from tracker.cleanup.transport import secrets, ssh
from tracker.cleanup.transport.bounds import ANSWER_MAX, PART, joined
from tracker.cleanup.transport.loopback import is_loopback
from tracker.model.settings import Settings

DEFAULT_HOST = "unix:///var/run/docker.sock"
# Seconds for an answer.
TIMEOUT = 10

_HOST = re.compile(
    r"(?P<scheme>tcp|ssh)://(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]*)@)?"
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
)


class Engine(docker.APIClient):
    """One Docker engine: docker-py's client, without its own `__init__`.

    That one reads ~/.docker, and sends the headers that it finds there. Here nothing of this machine counts, neither
    that nor ~/.netrc nor the environment's proxies and authorities: the `adapter` says what is reached, and who is trusted.
    """

    def __init__(self, host: str, adapter: HTTPAdapter) -> None:
        super(docker.APIClient, self).__init__()
        self.trust_env = False
        self.adapters.clear()
        self.base_url = "http+docker://engine"
        self.mount(self.base_url, adapter)
        self.hooks["response"].append(_refuse_redirect)
        self.timeout = TIMEOUT
        self._general_configs: dict[str, Any] = {}
        self.host = host

    def identify(self) -> None:
        """Learn the engine's id, and the version of the API that it speaks."""
        with _translated(self.host):
            self._version = self.version(api_version=False)["ApiVersion"]
            self.id: str = self.info()["ID"]

    def ask[**P, T](self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Return what one of this client's calls returns, None if the engine has no such thing."""
        with _translated(self.host):
            try:
                return call(*args, **kwargs)
            except docker.errors.NotFound as error:
                if _message(error) in ("", "page not found"):
                    raise
                return None


@contextmanager
def connect(host: str, secret: str, settings: Settings) -> Iterator[Engine]:
    """Open the engine at `host` (a URL like DOCKER_HOST), with the keys of `secret`, and ask which one it is.

    Raises Refused if no setting allows the host, or it lacks what proves who answers there.
    """
    with ExitStack() as stack:
        engine = stack.enter_context(Engine(host, _adapter(host, secret, settings, stack)))
        engine.identify()
        yield engine


@contextmanager
def _translated(host: str) -> Iterator[None]:
    """Raise in the contract's terms what docker-py and requests raise; `ssh.translated` does so for the rest."""
    with ssh.translated(host):
        try:
            yield
        except APIError as error:
            raise _exception(error, host) from error
        except requests.exceptions.SSLError as error:
            # An alert about a certificate, the other side's or ours, is an answer; a cut handshake isn't. Only the
            # alert is matched: requests puts the host's name around it.
            alert = str(getattr(error.args[0], "reason", error))
            if "CERT" in alert.upper() or "UNKNOWN_CA" in alert:
                raise Refused("credentials", f"{host}: {alert}") from error
            raise Unreachable(f"{host}: {alert}") from error
        except (requests.JSONDecodeError, KeyError, TypeError) as error:
            raise Unreachable(f"{host}: what answers there isn't a Docker engine ({error!r})") from error


def _exception(error: APIError, host: str) -> Exception:
    """Return the exception that an answer stands for, by the engine's API reference."""
    message = _message(error)
    text = f"{host}: {error}"
    match error.status_code:
        # Of networks only: the engine's word for "in use", and for those that come with it.
        case HTTPStatus.FORBIDDEN if "active endpoints" in message:
            return Busy(text)
        case HTTPStatus.FORBIDDEN if "pre-defined" in message:
            return Refused("protected", text)
        # A plugin of the engine's, or a proxy before it.
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            return Refused("credentials", text)
        case _ if not message:
            return Unreachable(text)
        case HTTPStatus.CONFLICT:
            return Busy(text)
        case HTTPStatus.BAD_REQUEST:
            return Refused("bad_id", text)
        case _:
            return Unreachable(text)


def _message(error: APIError) -> str:
    """Return the engine's own error text, empty if it wasn't the engine that answered: docker-py takes any text for it."""
    try:
        return str(error.response.json()["message"]) if error.response is not None else ""
    except (requests.JSONDecodeError, KeyError, TypeError):
        return ""


def _refuse_redirect(response: requests.Response, *_: Any, **__: Any) -> None:
    """Raise for a redirection. An engine sends none; requests would follow, and docker-py would take it for the answer."""
    if HTTPStatus.MULTIPLE_CHOICES <= response.status_code < HTTPStatus.BAD_REQUEST:
        raise APIError(f"{response.status_code} Redirection of {response.url}", response)


def _adapter(host: str, secret: str, settings: Settings, stack: ExitStack) -> HTTPAdapter:
    """Return the way to an engine; `stack` closes what that leads through."""
    if host != DEFAULT_HOST and not settings.allows("endpoint", host):
        raise Refused("bad_id", f"docker_host {host} isn't among the allowed endpoints")
    if host.startswith("unix:///"):
        return _PoolAdapter(_SocketPool(lambda: _unix_socket(host.removeprefix("unix://"))))
    parts = _HOST.fullmatch(host)
    if parts is None:
        raise Refused("bad_id", f"docker_host {host!r} is neither unix:///path, tcp://host:port nor ssh://user@host")
    name, port = parts["name"].strip("[]"), int(parts["port"] or 0)
    if parts["scheme"] == "ssh" and parts["user"] and secret:
        keys = secrets.read(secret, settings, "docker", "private_key", "host_key")
        login = ssh.Login(name, parts["user"], keys["private_key"], keys["host_key"], port or ssh.PORT)
        client = stack.enter_context(ssh.connect(login))
        # As the docker client itself reaches an engine through SSH.
        argv = ["docker", "system", "dial-stdio"]
        return _PoolAdapter(_SocketPool(lambda: cast(socket.socket, ssh.start(client, argv, TIMEOUT))))
    if parts["scheme"] == "tcp" and port and secret:
        return _PoolAdapter(HTTPSConnectionPool(name, port, ssl_context=_tls(secret, settings)))
    if parts["scheme"] == "tcp" and port and is_loopback(name):
        return _PoolAdapter(HTTPConnectionPool(name, port))
    needed = "a port and docker_tls_secret" if parts["scheme"] == "tcp" else "a user and docker_ssh_secret"
    raise Refused("missing_id", f"docker_host {host} needs {needed}")


class _PoolAdapter(HTTPAdapter):
    """Sends requests through one pool, which alone decides whom to trust: requests would add public authorities to it.

    Answers are read here, and no further than the bounds allow; requests would read them to their end.
    """

    def __init__(self, pool: HTTPConnectionPool) -> None:
        super().__init__()
        self._pool = pool

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> HTTPConnectionPool:
        return self._pool

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        response = super().send(request, *args, **kwargs)
        try:
            with closing(response.raw):
                response.raw = BytesIO(joined(response.raw.stream(PART, decode_content=True), ANSWER_MAX))
        except HTTPError as error:
            raise requests.ConnectionError(error, request=request) from error
        return response

    def cert_verify(self, *_: Any) -> None:
        """Leave the pool's own context as it is."""

    def close(self) -> None:
        super().close()
        self._pool.close()


class _Connection(HTTPConnection):
    """HTTP over a socket that was opened for it.

    docker-py's own connections take SSH keys and hosts from the home, and leave a Unix socket open that couldn't connect.
    """

    def __init__(self, host: str, *, open_socket: Callable[[], socket.socket], **options: Any) -> None:
        super().__init__(host, **options)
        self._open_socket = open_socket

    def connect(self) -> None:
        self.sock = self._open_socket()


class _SocketPool(HTTPConnectionPool):
    ConnectionCls = _Connection

    def __init__(self, open_socket: Callable[[], socket.socket]) -> None:
        super().__init__("docker", open_socket=open_socket)


def _unix_socket(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(TIMEOUT)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def _tls(secret: str, settings: Settings) -> ssl.SSLContext:
    """Return a context that trusts the secret's authority alone and shows the secret's certificate."""
    pems = secrets.read(secret, settings, "docker", "ca", "cert", "key")
    # Not create_default_context, whose strict mode refuses the certificates that Docker's own guide makes.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=pems["ca"])
        # OpenSSL takes a certificate and its key from files only: they are there for this one call.
        with tempfile.TemporaryDirectory() as folder:
            certificate, key = Path(folder, "cert.pem"), Path(folder, "key.pem")
            certificate.write_text(pems["cert"])
            key.write_text(pems["key"])
            context.load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError):
        raise Refused("credentials", f"secret {secret} holds no usable authority, certificate and key") from None
    return context
