"""This is what a person waits for who types `tracker`: its version and help against a bare Python, a list against the bare call.

Each is a process of its own, in turns with what it is compared to.
"""

import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from bench.rows import Row, Rows, against
from local.__main__ import outputs_file
from local.stack import Stack

RUNS = 11
# A bare start that many times is what nobody notices.
STARTS = 3
VERSION_AIM = 1.0
HELP_AIM = 1.0
LS_AIM = 1.5
TRACKER = ("-m", "deployment_tracker")

_BARE_CALL = """
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.httpsession import URLLib3Session
from botocore.session import Session
import sys
request = AWSRequest("GET", sys.argv[1] + "/deployments?limit=200")
SigV4Auth(Session().get_credentials(), "execute-api", sys.argv[2]).add_auth(request)
assert URLLib3Session().send(request.prepare()).status_code == 200
"""


def rows() -> Rows:
    """Yield a row for the version and one for the help."""
    bare = partial(_run, *("-c", "pass"))
    version = against("", partial(_run, *TRACKER, "--version"), bare, aim=VERSION_AIM, runs=RUNS)
    yield Row(f"tracker --version, against {STARTS} bare starts", version.ratio / STARTS, VERSION_AIM, version.seen)
    help_ = partial(_run, *TRACKER, "-h")
    yield against(
        "tracker -h, against importing botocore",
        help_,
        partial(_run, "-c", "import botocore.session"),
        aim=HELP_AIM,
        runs=RUNS,
    )


def listing(stack: Stack) -> Row:
    """Return the row of `tracker ls` on a stack that runs."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, ".local", "outputs.json")
        file.parent.mkdir()
        file.write_bytes(outputs_file(stack.running))
        ours = partial(_run, *TRACKER, "ls", folder=folder)
        bare = partial(_run, "-c", _BARE_CALL, stack.running.api, stack.running.region, env=stack.running.variables)
        return against("tracker ls, against the bare call", ours, bare, aim=LS_AIM, runs=RUNS)


def _run(*arguments: str, folder: str | None = None, env: dict[str, str] | None = None) -> None:
    path = {"PATH": os.environ["PATH"]}
    subprocess.run([sys.executable, *arguments], cwd=folder, env=path | (env or {}), capture_output=True, check=True)
