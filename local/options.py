"""`make options ARGS="canary"`: puts options of deploy/options into the template that `sam build` built, before `sam deploy` takes it.

An option is a part of a template, merged over it as local/overlay.yaml is. Where it has a function published as versions, each build is
one of them.
"""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from local.build import ROOT, merged

OPTIONS = ROOT / "deploy" / "options"
BUILT = ROOT / ".aws-sam" / "build" / "template.yaml"


def options() -> dict[str, Path]:
    """Return the files of the options, by their names."""
    return {path.stem: path for path in sorted(OPTIONS.glob("*.yaml"))}


def with_options(template: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Return a template, in its long form, with options put in."""
    for name in names:
        template = merged(template, yaml.safe_load(options()[name].read_text()))
    return stamped(template, datetime.now(UTC).isoformat())


def stamped(template: dict[str, Any], build: str) -> dict[str, Any]:
    """Return a template whose published functions have a new version with each build, which their description names.

    SAM makes a version where it sees another text. But the code is in layers, and settings are references there: an alias would go on
    with the old ones. A variable would do as well, if the environment had room for one.
    """
    published = {
        name: {"Properties": {"Description": f"{each['Properties']['Description']} (built {build})"}}
        for name, each in template["Resources"].items()
        if "AutoPublishAlias" in each.get("Properties", {})
    }
    return merged(template, {"Resources": published})


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m local.options", description=__doc__)
    parser.add_argument("names", nargs="+", choices=options(), metavar="option", help=", ".join(options()))
    said = parser.parse_args()
    if not BUILT.exists():
        sys.exit(f"error: nothing is built at {BUILT.relative_to(ROOT)}: run `sam build` first")
    BUILT.write_text(yaml.safe_dump(with_options(yaml.safe_load(BUILT.read_text()), said.names), sort_keys=False))
    print(f"{', '.join(said.names)}: put into {BUILT.relative_to(ROOT)}; `sam deploy` takes it from there")


if __name__ == "__main__":
    main()
