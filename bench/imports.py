"""What a cold start pays for our own code: importing a function, against what any function of this kind imports.

Each in an interpreter of its own, as often as the others and in turns. Processor time is what is compared: an import
waits for nothing, and whatever else the machine does stays out of it.
"""

import os
import statistics
import subprocess
import sys
from pathlib import Path

from bench.rows import Row, Rows

ROOT = Path(__file__).resolve().parent.parent
FUNCTIONS = ("register", "inspect", "amend", "terminate", "plan", "redeliver", "expire", "restore", "announce")
AIM = 1.3
# Of the function that knows the cleanup, before it meets a deployment type.
RELEASE_AIM = 1.5
RUNS = 11

_ALONE = """
import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
logger, tracer, metrics = Logger(), Tracer(), Metrics(namespace="DeploymentTracker")
"""
_TIMED = "import time; began = time.process_time()\n{}\nprint(time.process_time() - began)"


def rows() -> Rows:
    """One row for each function that answers callers or the table's stream; then the one that cleans up."""
    codes = {"": _ALONE} | {
        name: f"import sys; sys.path.insert(0, 'functions/{name}'); import app" for name in (*FUNCTIONS, "release")
    }
    took: dict[str, list[float]] = {name: [] for name in codes}
    # The first of each may have to compile what it imports.
    for run in range(RUNS + 1):
        for name, code in codes.items():
            seconds = _timed(code)
            if run:
                took[name].append(seconds)
    alone = statistics.median(took[""])
    for name in (*FUNCTIONS, "release"):
        ours, aim = statistics.median(took[name]), RELEASE_AIM if name == "release" else AIM
        yield Row(f"import {name}", ours / alone, aim, f"{ours * 1000:.0f} ms : {alone * 1000:.0f} ms")


def _timed(code: str) -> float:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": "layers/tracker",
        "AWS_DEFAULT_REGION": "us-east-1",
        "POWERTOOLS_SERVICE_NAME": "bench",
        "TABLE_NAME": "bench",
    }
    command = [sys.executable, "-c", _TIMED.format(code)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)
