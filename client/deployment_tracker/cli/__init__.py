"""The command line `tracker`: what people type, and what they read. All that it knows of the API is `deployment_tracker.client`."""

import sys

from deployment_tracker.version import __version__


def main() -> None:
    """Run `tracker`. Its version alone needs nothing of what the verbs need."""
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"tracker {__version__}\n")
        return
    from deployment_tracker.cli.app import tracker  # noqa: PLC0415 - the package itself stays light

    tracker()
