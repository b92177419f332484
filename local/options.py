"""`make options ARGS="canary"`: puts options of deploy/options into the template that `sam build` built, before `sam deploy` takes it.

An option is a part of a template, merged over it as local/overlay.yaml is.
"""

import argparse
import sys
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
    return template


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
