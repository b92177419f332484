"""This is what importing costs: no cloud SDK outside of release, plan and survey, nothing read and nothing made at import."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tracker.model.catalogue import CATALOGUE

ROOT = Path(__file__).parents[2]
SDKS = ("google", "docker", "kubernetes", "paramiko", "requests", "azure")
LIGHT = ("register", "inspect", "amend", "terminate", "expire", "restore", "announce")
ALL = sorted(path.parent.name for path in (ROOT / "functions").glob("*/app.py"))

LOADING = """
import json, os, sys
reads = []
class Watched(type(os.environ)):
    def _note(self, key):
        name = key if isinstance(key, str) else key.decode()
        caller = sys._getframe(2)
        while caller and caller.f_code.co_filename.startswith(("<frozen", os.path.dirname(os.__file__))) \\
                and "site-packages" not in caller.f_code.co_filename:
            caller = caller.f_back
        file = caller.f_code.co_filename if caller else ""
        if "/tracker/" in file or "/functions/" in file:
            reads.append(name)
    def __getitem__(self, key):
        self._note(key)
        return super().__getitem__(key)
    def get(self, key, default=None):
        self._note(key)
        return super().get(key, default)
os.environ.__class__ = Watched
import botocore.session, botocore.client
made = []
real = botocore.client.ClientCreator.create_client
def create_client(self, service_name, *args, **kwargs):
    made.append(service_name)
    return real(self, service_name, *args, **kwargs)
botocore.client.ClientCreator.create_client = create_client
import app
print(json.dumps({"modules": sorted(sys.modules), "reads": reads, "made": made}))
"""


def loaded(verb: str, prelude: str = LOADING) -> dict[str, list[str]]:
    """Return what a process of its own, with no environment but its paths, holds after importing a function."""
    path = [str(ROOT / "functions" / verb), str(ROOT / "layers" / "tracker")]
    done = subprocess.run(
        [sys.executable, "-c", prelude],
        env={"PYTHONPATH": os.pathsep.join(path)},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def test_every_function_is_looked_at() -> None:
    assert set(LIGHT) | {"release", "plan", "survey"} <= set(ALL)


@pytest.mark.parametrize("verb", ALL)
def test_importing_a_function_reads_no_environment_and_makes_no_client(verb: str) -> None:
    found = loaded(verb)
    assert "tracker.model.settings" in found["modules"]
    assert found["reads"] == []
    # The X-Ray SDK, which the tracer loads, makes one for itself.
    assert set(found["made"]) <= {"xray"}
    # Types are loaded on demand alone, also where they may be.
    assert not {name.partition(".")[0] for name in found["modules"]} & set(SDKS)
    if verb not in ("release", "plan", "survey"):
        assert not [name for name in found["modules"] if name.startswith("tracker.cleanup")]


# The SDKs that a type works with, by what they are imported as. The Kubernetes client loads Google's authentication by itself.
OWN = {
    "LocalDocker": {"docker", "paramiko"},
    "LocalKubernetes": {"kubernetes"},
    "CoreWeaveWorkload": {"kubernetes"},
    "AwsEks": {"kubernetes"},
    "GcpGce": {"google.cloud"},
    "GcpGke": {"kubernetes"},
    "AzureAks": {"kubernetes"},
    "DigitalOceanDoks": {"kubernetes"},
    "VultrVke": {"kubernetes"},
    "SshRemote": {"paramiko"},
    "BareMetal": {"paramiko"},
}


@pytest.mark.parametrize("name", [name for name, type_ in CATALOGUE.items() if type_.module])
def test_a_type_loads_its_own_sdk_alone(name: str) -> None:
    module = f"tracker.cleanup.providers.{CATALOGUE[name].module}"
    found = loaded("release", LOADING.replace("import app\n", f"import app, {module}\n"))
    sdks = {"docker", "google.cloud", "kubernetes", "paramiko"} & set(found["modules"])
    assert sdks == OWN.get(name, set())
    assert found["reads"] == []


def test_what_would_be_seen_is_seen() -> None:
    """The watch itself: an environment that is read, a client that is made and an SDK that is loaded do show."""
    seeing = LOADING.replace(
        "import app\n", "import app, docker\nfrom tracker.model.settings import settings\nsettings()\n"
    )
    seeing = seeing.replace("print(", "import boto3; boto3.client('sqs', region_name='eu-west-1')\nprint(")
    found = loaded("register", seeing)
    assert "docker" in found["modules"]
    assert "sqs" in found["made"]
    assert "PYTHONPATH" in found["reads"]
