"""`python -m local up | down | status`: one stack that keeps running, and what is in it from one time to the next."""

import argparse
import shutil
import sys

import msgspec

from local.build import STATE
from local.processes import LocalError
from local.stack import OUTPUTS, Running, Stack, end_on_sigterm

FOLDER = STATE / "stack"


def up(host: str, port: int) -> None:
    """Start it, or say that it runs."""
    found = _recorded()
    if found and all(process.is_running() for process in found.processes):
        print(f"runs already: {found.api}")
        return
    if found:
        _end(found)
    running = Stack(FOLDER, host=host, port=port, keeps_state=True).start()
    OUTPUTS.write_bytes(msgspec.json.format(msgspec.json.encode(running)))
    print(f"API      {running.api}\nAWS      {running.endpoint}\nEC2      {running.ec2_endpoint}\noutputs  {OUTPUTS}")


def down(*, discard: bool) -> None:
    """End it. What is in it stays, unless it is to be discarded."""
    found = _recorded()
    if found:
        _end(found)
    if discard:
        shutil.rmtree(FOLDER, ignore_errors=True)
    kept = "discarded" if discard else f"kept in {FOLDER}" if FOLDER.exists() else "nothing"
    print(f"{'ended' if found else 'nothing was running'}; state: {kept}")


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


def _recorded() -> Running | None:
    return msgspec.json.decode(OUTPUTS.read_bytes(), type=Running) if OUTPUTS.exists() else None


def _end(found: Running) -> None:
    for process in reversed(found.processes):
        process.stop()
        print(f"{process.name} ended")
    shutil.rmtree(found.scratch, ignore_errors=True)
    OUTPUTS.unlink()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    upward = commands.add_parser("up", help="build, start and deploy")
    upward.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    upward.add_argument("--port", type=int, default=4566, help="of MiniStack, EC2's is the next (default %(default)s)")
    downward = commands.add_parser("down", help="end it; what is in it stays")
    downward.add_argument("--discard", action="store_true", help="also throw away what is in it")
    commands.add_parser("status", help="say what runs")
    arguments = parser.parse_args()
    end_on_sigterm()
    try:
        if arguments.command == "up":
            up(arguments.host, arguments.port)
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
