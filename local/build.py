"""Builds the stack's packages with the SAM CLI, only when what goes into them changed.

Called by the stack; the demo and the tests share one build.
"""

import fcntl
import hashlib
import os
import subprocess
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from local.processes import LocalError

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".local"
BUILD = STATE / "build"
SAM = STATE / "sam" / "bin" / "sam"
OVERLAY = ROOT / "local" / "overlay.yaml"
REGION = "us-east-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}

_SOURCES = ("template.yaml", "statemachine", "functions", "layers", "local/overlay.yaml", "local/build.py")
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
        _add_overlay(BUILD / "template.yaml")
        _FINGERPRINT.write_text(wanted)
        return True


def _add_overlay(template: Path) -> None:
    """Add what only a stack on one machine has to a built template, which is plain YAML without tags."""
    whole = merged(yaml.safe_load(template.read_text()), yaml.safe_load(OVERLAY.read_text()))
    for parameter in whole["Parameters"].values():
        # Lambda's 4 KB for variables, which the lengths stand for, are no limit here: a test leads every provider elsewhere.
        parameter.pop("MaxLength", None)
    for resource in whole["Resources"].values():
        document = resource["Properties"].get("PolicyDocument", {})
        if "Statement" in document:
            # On this machine the cloud is called over plain HTTP, on loopback.
            document["Statement"] = [each for each in document["Statement"] if not _refuses_plain_text(each)]
    template.write_text(yaml.safe_dump(whole, sort_keys=False))


def _refuses_plain_text(statement: dict[str, Any]) -> bool:
    return statement.get("Condition") == {"Bool": {"aws:SecureTransport": "false"}}


def merged(base: dict[str, Any], overlay: dict[str, Any]) -> dict[str, Any]:
    """Return both mappings as one, merging the mappings that they share; the overlay's other values win, and its nulls remove."""
    shared = {
        key: merged(base[key], value)
        for key, value in overlay.items()
        if isinstance(value, dict) and isinstance(base.get(key), dict) and not _is_function(value)
    }
    return {key: value for key, value in (base | overlay | shared).items() if value is not None}


def _is_function(value: dict[str, Any]) -> bool:
    """Return whether it is a function of CloudFormation, such as `{"Ref": "Table"}`, which stands in place of a value."""
    return len(value) == 1 and next(iter(value)).startswith(("Ref", "Fn::"))


@contextmanager
def built() -> Iterator[Path]:
    """The built template with the overlay, unchanged while it is used."""
    with _locked(fcntl.LOCK_SH):
        yield BUILD / "template.yaml"


def check_parameters(named: Collection[str]) -> None:
    """Raise LocalError unless the built template has all parameters of these names: the SAM CLI would ignore the others."""
    with built() as template:
        known = yaml.load(template.read_text(), yaml.CSafeLoader)["Parameters"]
    if unknown := sorted(set(named) - set(known)):
        raise LocalError(
            f"the template has no parameter {', '.join(unknown)}; docs/settings.md lists those that it has"
        )


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
