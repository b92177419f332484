"""`python -m deployment_tracker` is `tracker`."""

from deployment_tracker.cli import main

main()
