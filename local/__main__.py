"""`python -m local up | down | status`: one stack that keeps running, and what is in it from one time to the next."""

import argparse
import shlex
import shutil
import sys
from pathlib import Path

import msgspec

from local.build import STATE, build, check_parameters, fingerprint
from local.processes import LocalError, free_port_pair, is_free
from local.stack import DOCKER_SOCKET, OUTPUTS, Running, Stack, deploy, end_on_sigterm, this_machine

FOLDER = STATE / "stack"
# What a shell reads to call the stack: `source .local/env`.
ENVIRONMENT = STATE / "env"
# LocalStack's too, so it may be taken.
USUAL_PORT = 4566


def up(host: str, port: int | None, parameters: dict[str, str]) -> None:
    """Start it. One that runs is updated if its sources changed, parameters were named, or a Docker engine answers that it doesn't know of."""
    found = _recorded()
    if found and all(process.is_running() for process in found.processes):
        _record(_updated(found, parameters))
        if port and f":{port}" not in found.endpoint:
            print("its port stays as it is: `make down` ends it first")
        return
    if found:
        _end(found)
    if port is None:
        port = USUAL_PORT
        if not (is_free(host, port) and is_free(host, port + 1)):
            port = free_port_pair(host)
            print(
                f"something else listens on port {USUAL_PORT} or {USUAL_PORT + 1}: this stack takes {port} and {port + 1}"
            )
    _record(Stack(FOLDER, host=host, port=port, parameters=parameters, keeps_state=True).start())


def down(*, discard: bool) -> None:
    """End it. What is in it stays, unless it is to be discarded."""
    found = _recorded()
    has_ended = _end(found) if found else False
    if discard:
        shutil.rmtree(FOLDER, ignore_errors=True)
    kept = "discarded" if discard else f"kept in {FOLDER}" if FOLDER.exists() else "nothing"
    print(f"{'ended' if has_ended else 'no stack of this folder was running'}; state: {kept}")


def status() -> None:
    """Say what runs; exit 1 unless all of it does."""
    found = _recorded()
    if not found:
        print("nothing runs")
        sys.exit(1)
    for process in found.processes:
        print(
            f"{process.name:10} pid {process.pid:<8} {'runs' if process.is_running() else 'ENDED'}   log {process.log}"
        )
    print(f"API        {found.api}")
    sys.exit(0 if all(process.is_running() for process in found.processes) else 1)


def exports(running: Running) -> str:
    """Return the shell code after which `curl`, the AWS CLI and every SDK call this stack, whatever they were set to before."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in running.variables.items()]
    return "\n".join(["unset AWS_PROFILE AWS_SESSION_TOKEN", *lines, ""])


def told(running: Running) -> str:
    """Return what a person is told of it: where it is, and the commands to paste."""
    root = STATE.parent
    engine = running.docker_engine and f"found, engine {running.docker_engine}"
    engine = engine or f"none answers at {DOCKER_SOCKET}: start one, and run `make up` again to have it"
    return f"""\
The stack runs.
  API      {running.api}
  Docker   {engine}
  outputs  {OUTPUTS}

Look at it (`tracker` finds it by itself in {root} and below):
  export PATH={shlex.quote(str(root / ".venv/bin"))}:"$PATH"
  tracker ls

Call it with curl, the AWS CLI or an SDK; this points the shell at the stack, with keys of its own, until it is closed:
  source {shlex.quote(str(ENVIRONMENT))}

`make down` ends it."""


def outputs_file(running: Running) -> bytes:
    """Return what other programs find the stack by: all that is known of it, with its variables. `tracker` is one of them."""
    return msgspec.json.format(msgspec.json.encode(msgspec.to_builtins(running) | {"variables": running.variables}))


def _recorded() -> Running | None:
    return msgspec.json.decode(OUTPUTS.read_bytes(), type=Running) if OUTPUTS.exists() else None


def _record(running: Running) -> None:
    """Keep what is known of it for other programs, and print it."""
    OUTPUTS.write_bytes(outputs_file(running))
    ENVIRONMENT.write_text(exports(running))
    print(told(running))


def _updated(found: Running, parameters: dict[str, str]) -> Running:
    """Deploy it again if that changes anything. A Docker engine that doesn't answer just now is still its own."""
    build()
    check_parameters(parameters)
    wanted, sources = found.parameters | parameters, fingerprint()
    place = this_machine()
    if place["docker_engine"] not in ("", found.docker_engine):
        print(f"Docker engine {place['docker_engine']} is there now")
        wanted["LocalPlace"] = msgspec.json.encode(place).decode()
    if (wanted, sources) == (found.parameters, found.built):
        print("runs already")
        return found
    outputs = deploy(Path(found.folder), found.endpoint, wanted)
    return msgspec.structs.replace(found, outputs=outputs, parameters=wanted, built=sources)


def _end(found: Running) -> bool:
    """End what still runs of it. Return False if nothing did."""
    has_ended = False
    for process in reversed(found.processes):
        was_running = process.is_running()
        process.stop()
        has_ended |= was_running
        print(f"{process.name} {'ended' if was_running else 'had ended before'}")
    shutil.rmtree(found.scratch, ignore_errors=True)
    OUTPUTS.unlink()
    ENVIRONMENT.unlink(missing_ok=True)
    return has_ended


def _parameter(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text} isn't NAME=VALUE")
    return name, value


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    upward = commands.add_parser("up", help="build, start and deploy")
    upward.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    usual = f"of MiniStack, EC2's is the next (default {USUAL_PORT}, or if that is taken any that is free)"
    upward.add_argument("--port", type=int, help=usual)
    upward.add_argument(
        "--parameter",
        type=_parameter,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="one of the template's, as --parameter RetryDays=0; may be named again to a stack that runs",
    )
    downward = commands.add_parser("down", help="end it; what is in it stays")
    downward.add_argument("--discard", action="store_true", help="also throw away what is in it")
    commands.add_parser("status", help="say what runs")
    arguments = parser.parse_args()
    end_on_sigterm()
    try:
        if arguments.command == "up":
            up(arguments.host, arguments.port, dict(arguments.parameter))
        elif arguments.command == "down":
            down(discard=arguments.discard)
        else:
            status()
    except LocalError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted: nothing is left running")


if __name__ == "__main__":
    main()
