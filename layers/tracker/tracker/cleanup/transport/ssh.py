"""A connection through SSH that trusts one pinned host key and uses one given key, nothing else of this machine.

Used by every deployment type whose place is reached through SSH. Errors are raised in the contract's terms: `Refused` for keys
that don't fit, `Unreachable` for all that may mend itself.
"""

import base64
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from io import StringIO
from threading import Timer
from typing import NamedTuple

import paramiko
from paramiko.pkey import UnknownKeyType

from tracker.cleanup.core.contract import Refused, Unreachable

PORT = 22
# Seconds: for each thing waited for, and for a whole connection with all that is done over it.
TIMEOUT = 10.0
LIMIT = 40.0
OUTPUT_MAX = 65_536


@dataclass(frozen=True)
class Login:
    """A host, and the user and keys to log in with.

    `private_key` is the key's text (OpenSSH or PEM; Ed25519, ECDSA or RSA, without a passphrase), `host_key` the
    server's public key as a known_hosts file has it: "ssh-ed25519 AAAA...".
    """

    host: str
    user: str
    private_key: str = field(repr=False)
    host_key: str
    port: int = PORT

    def __str__(self) -> str:
        return f"ssh://{self.user}@{self.host}:{self.port}"


class CommandResult(NamedTuple):
    """The result of a command that ended by itself."""

    exit: int
    stdout: str
    stderr: str


@contextmanager
def connect(login: Login, *, jump: Login | None = None, limit: float = LIMIT) -> Iterator[paramiko.SSHClient]:
    """Open a client that is logged in, through `jump` if given, for at most `limit` seconds."""
    with ExitStack() as stack:
        way = None
        if jump:
            outer = stack.enter_context(connect(jump, limit=limit))
            with translated(f"{jump} to {login.host}"):
                way = _transport(outer).open_channel(
                    "direct-tcpip", (login.host, login.port), ("127.0.0.1", 0), timeout=TIMEOUT
                )
        key = _private_key(login)
        client = stack.enter_context(closing(paramiko.SSHClient()))
        _pin(client, login)
        # Some of paramiko's waits have no end of their own, the one for the answer to an exec request among them.
        timer = Timer(limit, client.close)
        timer.daemon = True
        timer.start()
        stack.callback(timer.cancel)
        with translated(str(login)):
            client.connect(
                login.host,
                login.port,
                login.user,
                pkey=key,
                sock=way,
                allow_agent=False,
                look_for_keys=False,
                timeout=TIMEOUT,
                banner_timeout=TIMEOUT,
                auth_timeout=TIMEOUT,
                channel_timeout=TIMEOUT,
            )
        yield client


def run(client: paramiko.SSHClient, argv: list[str], timeout: float | None = None) -> CommandResult:
    """Run one command, every word of it quoted, and return its result, whatever its exit status.

    `timeout` is how many seconds it may be silent. It runs in the C locale, so that its error texts can be matched; sudo hands
    that on (sudoers(5), env_check).
    """
    localised = ["env", "LC_ALL=C", *argv]
    with translated(argv[0]), closing(start(client, localised, timeout or TIMEOUT)) as command:
        command.shutdown_write()
        stdout = command.makefile("rb").read(OUTPUT_MAX + 1)
        stderr = command.makefile_stderr("rb").read(OUTPUT_MAX + 1)
        if max(len(stdout), len(stderr)) > OUTPUT_MAX:
            raise Unreachable(f"{argv[0]} answered more than {OUTPUT_MAX} bytes")
        code = command.recv_exit_status()
    if code == -1:
        # The connection broke, or a signal ended the command: either way nobody knows how far it came.
        raise Unreachable(f"{argv[0]} ended without an exit status")
    return CommandResult(code, stdout.decode(errors="replace"), stderr.decode(errors="replace"))


def start(client: paramiko.SSHClient, argv: list[str], timeout: float) -> paramiko.Channel:
    """Start one command and return the channel to it. Raises what paramiko raises."""
    opened = _transport(client).open_session(timeout=timeout)
    opened.settimeout(timeout)
    opened.exec_command(shlex.join(argv))
    return opened


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Raise in the contract's terms what paramiko and sockets raise."""
    try:
        yield
    except paramiko.BadHostKeyException as error:
        raise Refused("credentials", f"{where} shows another host key than the pinned one") from error
    except paramiko.AuthenticationException as error:
        # paramiko says a timeout and a cut connection with the same class as a refused key.
        if "timeout" in str(error) or "EOF" in str(error):
            raise Unreachable(f"{where}: {error}") from error
        raise Refused("credentials", f"{where}: {error}") from error
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise Unreachable(f"{where}: {str(error) or type(error).__name__}") from error


def _transport(client: paramiko.SSHClient) -> paramiko.Transport:
    transport = client.get_transport()
    if transport is None:
        raise Unreachable("the connection's time was over")
    return transport


def _private_key(login: Login) -> paramiko.PKey:
    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        try:
            return kind.from_private_key(StringIO(login.private_key))
        except (paramiko.SSHException, ValueError):
            continue
    raise Refused("credentials", f"{login}: no usable private key (Ed25519, ECDSA or RSA, without a passphrase)")


def _pin(client: paramiko.SSHClient, login: Login) -> None:
    try:
        kind, text = login.host_key.split()[:2]
        key = paramiko.PKey.from_type_string(kind, base64.b64decode(text, validate=True))
    except (UnknownKeyType, paramiko.SSHException, ValueError):
        # Without its cause: whatever was put there by mistake mustn't be shown.
        raise Refused("credentials", f"{login}: the pinned host key isn't one (like: ssh-ed25519 AAAA...)") from None
    name = login.host if login.port == PORT else f"[{login.host}]:{login.port}"
    client.get_host_keys().add(name, key.get_name(), key)
