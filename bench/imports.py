"""This is what a cold start pays for our own code: importing a function, against what any function of this kind imports.

Each in an interpreter of its own, as often as the others and in turns. Processor time is what is compared: an import
waits for nothing, and whatever else the machine does stays out of it.
"""

import os
import statistics
import subprocess
import sys
from pathlib import Path

from bench.rows import Row, Rows
from tracker.model.catalogue import CATALOGUE

ROOT = Path(__file__).resolve().parent.parent
FUNCTIONS = ("register", "inspect", "amend", "terminate", "plan", "redeliver", "expire", "restore", "announce")
AIM = 1.3
# Of the function that knows the cleanup, before it meets a deployment type.
RELEASE_AIM = 1.5
RUNS = 7
# A type for each SDK, with what it can't do without. tests/build/test_imports.py holds every type to its own SDKs.
TYPES = {
    "AwsEc2": "boto3",
    "GcpGce": "google.cloud.compute_v1",
    "LocalKubernetes": "kubernetes.client",
    "LocalDocker": "docker",
    "SshRemote": "paramiko",
    "DigitalOceanDroplet": "requests",
}
TYPE_AIM = 1.5
TYPE_RUNS = 3

_ALONE = """
import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
logger, tracer, metrics = Logger(), Tracer(), Metrics(namespace="DeploymentTracker")
"""
_TIMED = "import time; began = time.process_time()\n{}\nprint(time.process_time() - began)"


def rows() -> Rows:
    """One row for each function that answers callers or the table's stream, for the one that cleans up, and for it with each SDK."""
    yield from _functions()
    yield from _types()


def _functions() -> Rows:
    codes = {
        name: f"import sys; sys.path.insert(0, 'functions/{name}'); import app" for name in (*FUNCTIONS, "release")
    }
    alone, *took = _medians([_ALONE, *codes.values()], RUNS)
    for name, ours in zip(codes, took, strict=True):
        yield _row(f"import {name}", ours, alone, RELEASE_AIM if name == "release" else AIM)


def _types() -> Rows:
    for type_, sdk in TYPES.items():
        module = f"tracker.cleanup.providers.{CATALOGUE[type_].module}"
        code = f"import sys; sys.path.insert(0, 'functions/release'); import app, {module}"
        ours, theirs = _medians([code, f"{_ALONE}\nimport {sdk}"], TYPE_RUNS)
        yield _row(f"import release with {type_}, against {sdk}", ours, theirs, TYPE_AIM)


def _row(name: str, ours: float, theirs: float, aim: float) -> Row:
    return Row(name, ours / theirs, aim, f"{ours * 1000:.0f} ms : {theirs * 1000:.0f} ms")


def _medians(codes: list[str], runs: int) -> list[float]:
    """Return the median seconds of each piece of code, which take turns."""
    took: list[list[float]] = [[] for _ in codes]
    # The first of each may have to compile what it imports.
    for run in range(runs + 1):
        for code, times in zip(codes, took, strict=True):
            seconds = _timed(code)
            if run:
                times.append(seconds)
    return [statistics.median(times) for times in took]


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
