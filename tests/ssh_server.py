"""An SSH server of ours in this process: for tests of what is reached through SSH where no sshd is.

It is what `tests.real_targets.Sshd` is: a host key of its own, one key that it lets in, and a shell for commands.
"""

import os
import signal
import socket
import subprocess
import threading
from contextlib import suppress
from io import StringIO

import paramiko
from paramiko import common

# Seconds: for the commands that still run when it ends, and for its threads.
ENDS_WITHIN = 5.0


class SshServer:
    """Runs commands as this process's user, with `environ` and nothing else; logs in whoever has the key, under any name."""

    def __init__(self, **environ: str) -> None:
        self.private_key, self.public_key = _pair()
        host_key, self.host_key = _pair()
        self._host_key = paramiko.ECDSAKey.from_private_key(StringIO(host_key))
        self.environ = environ
        self._transports: list[paramiko.Transport] = []
        self._threads: list[threading.Thread] = []
        self._running: set[subprocess.Popen[bytes]] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    def let_in(self, public_key: str) -> None:
        """From now on, this key and no other."""
        self.public_key = public_key

    def stop(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for transport in self._transports:
            transport.close()
        for process in list(self._running):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        for thread in self._threads:
            thread.join(ENDS_WITHIN)

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport = paramiko.Transport(connection)
        self._transports.append(transport)
        transport.add_server_key(self._host_key)
        try:
            transport.start_server(server=_Door(self))
        except (paramiko.SSHException, EOFError, OSError):
            transport.close()

    def run(self, channel: paramiko.Channel, command: str) -> None:
        """As sshd does: by a shell, which the command replaces; what a signal ended has no exit status."""
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {command}"],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._running.add(process)
        with process:
            stdout, stderr = process.communicate()
        self._running.remove(process)
        with suppress(OSError, EOFError, paramiko.SSHException):
            # A caller ends its side when it was told that the command runs: before that nothing must be said of its end.
            channel.settimeout(ENDS_WITHIN)
            channel.recv(1)
            channel.sendall(stdout)
            channel.sendall_stderr(stderr)
            if process.returncode >= 0:
                channel.send_exit_status(process.returncode)
            channel.close()


class _Door(paramiko.ServerInterface):
    """This is who may do what."""

    def __init__(self, server: SshServer) -> None:
        self._server = server

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        is_known = f"{key.get_name()} {key.get_base64()}" == self._server.public_key
        return common.AUTH_SUCCESSFUL if is_known else common.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return common.OPEN_SUCCEEDED if kind == "session" else common.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self._server._start(self._server.run, channel, command.decode())
        return True


def _pair() -> tuple[str, str]:
    """A new private key's text, and its public line."""
    key, text = paramiko.ECDSAKey.generate(), StringIO()
    key.write_private_key(text)
    return text.getvalue(), f"{key.get_name()} {key.get_base64()}"
