"""Builds the stack's packages with the SAM CLI, only when what goes into them changed.

Called by the stack; the demo and the tests share one build.
"""

import fcntl
import hashlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local.processes import LocalError

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".local"
BUILD = STATE / "build"
SAM = STATE / "sam" / "bin" / "sam"
REGION = "us-east-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}

_SOURCES = ("template.yaml", "statemachine", "functions", "layers")
_FINGERPRINT = BUILD / ".fingerprint"


def environment(**more: str) -> dict[str, str]:
    """Ours, without whatever leads to a real AWS account or to other packages, and with Python 3.13 first."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "SAM_", "PYTHON", "VIRTUAL_ENV"))}
    env["PATH"] = f"{ROOT / '.venv' / 'bin'}:{env.get('PATH', '')}"
    return env | {"PYTHONUNBUFFERED": "1"} | more


def sam(*arguments: str | Path, log: Path, endpoint: str = "") -> None:
    """Run the SAM CLI, against nothing but `endpoint`. LocalError with the end of what it said when it fails."""
    if not SAM.exists():
        raise LocalError(f"no SAM CLI at {SAM}: run `make setup`")
    nowhere = {"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}
    env = environment(
        **CREDENTIALS,
        **nowhere,
        AWS_DEFAULT_REGION=REGION,
        AWS_EC2_METADATA_DISABLED="true",
        AWS_ENDPOINT_URL=endpoint or "http://127.0.0.1:9",
        SAM_CLI_TELEMETRY="0",
        # Seconds between two looks at a deployment: here it takes less than one.
        SAM_CLI_POLL_DELAY="0.2",
    )
    done = subprocess.run(
        [SAM, *arguments], cwd=ROOT, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    log.write_text(done.stdout + done.stderr)
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-25:])
        raise LocalError(f"sam {arguments[0]} failed; all of it is in {log}\n{said}")


def build() -> bool:
    """Build what changed; False if nothing did."""
    STATE.mkdir(exist_ok=True)
    with _locked(fcntl.LOCK_EX):
        wanted = fingerprint()
        if _FINGERPRINT.exists() and _FINGERPRINT.read_text() == wanted:
            return False
        _FINGERPRINT.unlink(missing_ok=True)
        sam("build", "--build-dir", BUILD, "--cache-dir", STATE / "build-cache", log=STATE / "build.log")
        _FINGERPRINT.write_text(wanted)
        return True


@contextmanager
def built() -> Iterator[Path]:
    """The built template, unchanged while it is used."""
    with _locked(fcntl.LOCK_SH):
        yield BUILD / "template.yaml"


def fingerprint() -> str:
    """Of everything that goes into the packages."""
    digest = hashlib.sha256()
    for file in sources():
        digest.update(f"{file.relative_to(ROOT)} {file.stat().st_size}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def sources() -> list[Path]:
    """The files that are built."""
    found = [file for name in _SOURCES for file in ((ROOT / name).rglob("*"), [ROOT / name])[(ROOT / name).is_file()]]
    return sorted(file for file in found if file.is_file() and "__pycache__" not in file.parts)


@contextmanager
def _locked(how: int) -> Iterator[None]:
    with (STATE / "build.lock").open("w") as file:
        fcntl.flock(file, how)
        yield
