"""This is what `sam build` makes is complete: each function can be imported with nothing but its own package and its layers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from local.build import BUILD, OVERLAY, ROOT, build, built, merged, sam, sources
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


def parts(packages: Path, function: str) -> list[Path]:
    """Return the folders that a function imports from: its own package, and its layers."""
    template = yaml.safe_load((packages / "template.yaml").read_text())
    layers = [
        *template["Globals"]["Function"]["Layers"],
        *template["Resources"][folder(function)]["Properties"].get("Layers", []),
    ]
    return [packages / folder(function), *(packages / layer["Ref"] / "python" for layer in layers)]


def imported(packages: Path, function: str, *modules: str) -> None:
    """Import in an interpreter that has no site-packages, as in Lambda's but for its own boto3."""
    path = [str(part) for part in parts(packages, function)]
    code = f"import sys; sys.path[:0] = {path!r}\nfor name in {modules!r}: __import__(name)"
    env = {"PATH": os.environ["PATH"], "AWS_DEFAULT_REGION": "eu-west-1", "POWERTOOLS_SERVICE_NAME": "tracker"}
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", code], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_imports_with_its_own_package_and_its_layers_alone(packages: Path, function: str) -> None:
    imported(packages, function, "app")


@pytest.mark.parametrize("function", ["plan", "release"])
def test_every_deployment_type_imports_where_it_is_loaded(packages: Path, function: str) -> None:
    imported(packages, function, *TYPES)


def test_the_interpreter_that_proves_it_has_no_packages_of_its_own(packages: Path) -> None:
    with pytest.raises(AssertionError, match="No module named 'pytest'"):
        imported(packages, "release", "pytest")


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_with_its_layers_is_within_lambdas_limit(packages: Path, function: str) -> None:
    files = [file for part in parts(packages, function) for file in part.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < LIMIT


def test_nothing_is_built_again_while_nothing_changed(packages: Path) -> None:
    assert build() is False
    with built() as template:
        assert template.is_file()


def test_what_is_built_here_has_besides_what_only_one_machine_has(packages: Path) -> None:
    overlay = yaml.safe_load(OVERLAY.read_text())
    found = yaml.safe_load((packages / "template.yaml").read_text())
    assert found == merged(found, overlay)
    assert OVERLAY in sources()


def test_mappings_are_merged_and_of_other_values_the_overlays_wins() -> None:
    base = {"a": {"b": {"c": 1, "d": [1]}, "e": 2}, "f": 3}
    assert merged(base, {"a": {"b": {"d": [2], "g": 4}}, "f": {}, "h": {"i": 5}}) == {
        "a": {"b": {"c": 1, "d": [2], "g": 4}, "e": 2},
        "f": {},
        "h": {"i": 5},
    }
    assert base == {"a": {"b": {"c": 1, "d": [1]}, "e": 2}, "f": 3}


def test_a_failed_build_says_what_failed(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"sam build failed(?s:.*)no-such-template"):
        sam("build", "--template", tmp_path / "no-such-template.yaml", log=tmp_path / "log")
