"""The shared SSH connection, against real servers."""

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import StringIO

import paramiko
import pytest

from tests.in_time import in_time
from tests.real_targets import Sshd, free_port
from tracker.cleanup.core.contract import Refused, Unreachable
from tracker.cleanup.transport import ssh as ssh_connection
from tracker.cleanup.transport.ssh import Login, connect, run

_KEY = paramiko.ECDSAKey.generate()
_ANY_HOST_KEY = f"{_KEY.get_name()} {_KEY.get_base64()}"


def _any_key() -> str:
    text = StringIO()
    _KEY.write_private_key(text)
    return text.getvalue()


def login_at(server: Sshd) -> Login:
    return Login("127.0.0.1", server.user, server.private_key, server.host_key, server.port)


@pytest.fixture
def silent_server() -> Iterator[int]:
    """A port that accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_command_answers_with_its_exit_status_and_both_outputs(sshd: Sshd) -> None:
    with connect(login_at(sshd)) as client:
        assert run(client, ["sh", "-c", "echo out; echo err >&2; exit 3"]) == (3, "out\n", "err\n")


@pytest.mark.parametrize("word", ["a b", "$(touch /tmp/never)", "; exit 9", "'", '"', "*", "--all", "", "ü\n"])
def test_a_word_reaches_the_command_as_it_is(sshd: Sshd, word: str) -> None:
    with connect(login_at(sshd)) as client:
        assert run(client, ["printf", "%s", word]).stdout == word


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_each_kind_of_key_lets_in(sshd: Sshd, make_key: Callable[[str], tuple[str, str]], kind: str) -> None:
    private, public = make_key(kind)
    (sshd.folder / "user.pub").write_text(public + "\n")
    with connect(replace(login_at(sshd), private_key=private)) as client:
        assert run(client, ["true"]).exit == 0


def test_an_rsa_host_key_can_be_pinned(
    make_sshd: Callable[..., Sshd], make_key: Callable[[str], tuple[str, str]], sshd: Sshd
) -> None:
    private, public = make_key("rsa")
    (sshd.folder / "rsa").write_text(private)
    (sshd.folder / "rsa").chmod(0o600)
    server = make_sshd(f"HostKey {sshd.folder}/rsa")
    with connect(replace(login_at(server), host_key=public)) as client:
        assert run(client, ["true"]).exit == 0


def test_another_host_key_than_the_pinned_one_is_refused(sshd: Sshd, make_key: Callable[..., tuple[str, str]]) -> None:
    _, other = make_key()
    with pytest.raises(Refused, match="another host key") as refusal, connect(replace(login_at(sshd), host_key=other)):
        pytest.fail("connected")
    assert refusal.value.error_class == "credentials"


def test_a_pinned_key_of_a_kind_that_the_server_lacks_is_refused(
    sshd: Sshd, make_key: Callable[..., tuple[str, str]]
) -> None:
    _, other = make_key("ecdsa")
    with pytest.raises(Refused, match="another host key"), connect(replace(login_at(sshd), host_key=other)):
        pytest.fail("connected")


@pytest.mark.parametrize("host_key", ["", "ssh-ed25519", "ssh-ed25519 nonsense!", "ssh-dss AAAA", "ssh-ed25519 AAAA"])
def test_a_pinned_key_that_is_none_is_refused(sshd: Sshd, host_key: str) -> None:
    with (
        pytest.raises(Refused, match="pinned host key") as refusal,
        connect(replace(login_at(sshd), host_key=host_key)),
    ):
        pytest.fail("connected")
    assert refusal.value.error_class == "credentials"


def test_a_key_that_the_server_does_not_know_is_refused(sshd: Sshd, make_key: Callable[..., tuple[str, str]]) -> None:
    private, _ = make_key()
    with pytest.raises(Refused) as refusal, connect(replace(login_at(sshd), private_key=private)):
        pytest.fail("connected")
    assert refusal.value.error_class == "credentials"


def test_a_broken_private_key_is_refused_and_never_shown(sshd: Sshd) -> None:
    broken = sshd.private_key.replace("OPENSSH", "OPENSHH")
    login = replace(login_at(sshd), private_key=broken)
    with pytest.raises(Refused, match="no usable private key") as refusal, connect(login):
        pytest.fail("connected")
    secret = broken.splitlines()[1]
    assert secret not in str(refusal.value)
    assert secret not in repr(login)


def test_a_closed_port_is_unreachable() -> None:
    login = Login("127.0.0.1", "root", _any_key(), _ANY_HOST_KEY, free_port())
    with pytest.raises(Unreachable), connect(login):
        pytest.fail("connected")


def test_a_name_that_no_one_has_is_unreachable() -> None:
    with pytest.raises(Unreachable), connect(Login("nobody.invalid", "root", _any_key(), _ANY_HOST_KEY)):
        pytest.fail("connected")


def test_a_server_that_stays_silent_is_unreachable_in_time(silent_server: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh_connection, "TIMEOUT", 0.5)
    login = Login("127.0.0.1", "root", _any_key(), _ANY_HOST_KEY, silent_server)

    def tried() -> None:
        with pytest.raises(Unreachable), connect(login):
            pytest.fail("connected")

    in_time(5, tried)


def test_a_silent_command_is_unreachable_in_time(sshd: Sshd) -> None:
    with connect(login_at(sshd)) as client, pytest.raises(Unreachable):
        run(client, ["sleep", "30"], timeout=0.5)


def test_a_connection_ends_when_its_time_is_over(sshd: Sshd) -> None:
    with connect(login_at(sshd), limit=1.5) as client:
        with pytest.raises(Unreachable):
            run(client, ["sh", "-c", "while :; do echo on and on; sleep 0.1; done"], timeout=30)
        with pytest.raises(Unreachable):
            run(client, ["true"])


def test_too_much_output_is_unreachable_not_kept(sshd: Sshd) -> None:
    with connect(login_at(sshd)) as client, pytest.raises(Unreachable, match="more than"):
        run(client, ["head", "-c", "100000", "/dev/zero"])


def test_a_server_killed_during_a_command_is_unreachable(sshd: Sshd) -> None:
    def kill_sessions() -> None:
        children = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(sshd.process.pid)], check=True, capture_output=True, text=True
        )
        subprocess.run(["kill", "-9", *children.stdout.split()], check=True)

    with connect(login_at(sshd)) as client:
        threading.Timer(0.5, kill_sessions).start()
        with pytest.raises(Unreachable):
            run(client, ["sleep", "20"], timeout=10)


def test_a_command_ended_by_a_signal_is_unreachable(sshd: Sshd) -> None:
    with connect(login_at(sshd)) as client, pytest.raises(Unreachable, match="without an exit status"):
        run(client, ["sh", "-c", "kill -9 $$"])


def test_a_jump_host_leads_to_the_target(make_sshd: Callable[..., Sshd]) -> None:
    bastion, target = make_sshd(), make_sshd()
    with connect(login_at(target), jump=login_at(bastion)) as client:
        seen = run(client, ["sh", "-c", "echo $SSH_CONNECTION"]).stdout.split()
    assert seen[3] == str(target.port)
    assert "Accepted publickey" in (bastion.folder / "log").read_text()


def test_a_jump_host_has_its_own_pinned_key(make_sshd: Callable[..., Sshd]) -> None:
    bastion, target = make_sshd(), make_sshd()
    jump = replace(login_at(bastion), host_key=target.host_key)
    with pytest.raises(Refused, match="another host key"), connect(login_at(target), jump=jump):
        pytest.fail("connected")


def test_a_target_behind_a_jump_host_is_pinned_too(make_sshd: Callable[..., Sshd]) -> None:
    bastion, target = make_sshd(), make_sshd()
    login = replace(login_at(target), host_key=bastion.host_key)
    with pytest.raises(Refused, match="another host key"), connect(login, jump=login_at(bastion)):
        pytest.fail("connected")


def test_a_target_that_the_jump_host_can_not_reach_is_unreachable(sshd: Sshd) -> None:
    login = replace(login_at(sshd), port=free_port())
    with pytest.raises(Unreachable), connect(login, jump=login_at(sshd)):
        pytest.fail("connected")
