"""What `sam build` makes is complete: each function can be imported with nothing but its own package and the layer."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from local.build import BUILD, ROOT, build, built, sam
from local.processes import LocalError

FUNCTIONS = sorted(file.parent.name for file in (ROOT / "functions").glob("*/app.py"))
TYPES = sorted(
    ".".join(file.relative_to(ROOT / "layers/tracker").with_suffix("").parts)
    for file in (ROOT / "layers/tracker/tracker/cleanup").rglob("*.py")
)
# Lambda's limit for a function with its layers, unzipped.
LIMIT = 250 * 1024 * 1024


@pytest.fixture(scope="module")
def packages() -> Path:
    build()
    return BUILD


def folder(function: str) -> str:
    return f"{function.capitalize()}Function"


def imported(packages: Path, function: str, *modules: str) -> None:
    """Import in an interpreter that has no site-packages, as in Lambda's but for its own boto3."""
    path = [str(packages / folder(function)), str(packages / "TrackerLayer" / "python")]
    code = f"import sys; sys.path[:0] = {path!r}\nfor name in {modules!r}: __import__(name)"
    env = {"PATH": os.environ["PATH"], "AWS_DEFAULT_REGION": "eu-west-1", "POWERTOOLS_SERVICE_NAME": "tracker"}
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", code], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.timeout(300)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_imports_with_its_own_package_and_the_layer_alone(packages: Path, function: str) -> None:
    imported(packages, function, "app")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("function", ["plan", "release"])
def test_every_deployment_type_imports_where_it_is_loaded(packages: Path, function: str) -> None:
    imported(packages, function, *TYPES)


@pytest.mark.timeout(300)
def test_the_interpreter_that_proves_it_has_no_packages_of_its_own(packages: Path) -> None:
    with pytest.raises(AssertionError, match="No module named 'pytest'"):
        imported(packages, "release", "pytest")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_with_its_layer_is_within_lambdas_limit(packages: Path, function: str) -> None:
    files = [f for part in (folder(function), "TrackerLayer") for f in (packages / part).rglob("*") if f.is_file()]
    assert sum(file.stat().st_size for file in files) < LIMIT


@pytest.mark.timeout(300)
def test_nothing_is_built_again_while_nothing_changed(packages: Path) -> None:
    assert build() is False
    with built() as template:
        assert template.is_file()


def test_a_failed_build_says_what_failed(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"sam build failed(?s:.*)no-such-template"):
        sam("build", "--template", tmp_path / "no-such-template.yaml", log=tmp_path / "log")
