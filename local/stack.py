"""The stack on one machine: MiniStack with the real template on it, the EC2 stand-in, and the loop that removes leases.

`python -m local` keeps one running; the demo and the tests use `with Stack() as stack:` for one of their own, which
is gone afterwards, also after Ctrl-C.
"""

import json
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import boto3
import docker
import msgspec
from botocore.config import Config
from botocore.credentials import Credentials
from docker.errors import DockerException

from local.api import Api
from local.build import CREDENTIALS, REGION, ROOT, STATE, build, built, check_parameters, environment, fingerprint, sam
from local.processes import LocalError, Process, answers, free_port_pair, is_free, launch, listens, tail, wait_until

NAME = "deployment-tracker"
DOCKER_SOCKET = "/var/run/docker.sock"
SCRATCH_NEEDED = 4 * 1024**3
OUTPUTS = STATE / "outputs.json"
MINISTACK = STATE / "ministack" / "bin" / "ministack"


class Running(msgspec.Struct, frozen=True):
    """This is what is known of a started stack; `.local/outputs.json` holds it for other programs."""

    folder: str
    scratch: str
    endpoint: str
    ec2_endpoint: str
    ec2_faults: str
    api: str
    region: str
    parameters: dict[str, str]
    outputs: dict[str, str]
    processes: list[Process]
    # The fingerprint of the sources whose build was deployed.
    built: str = ""

    @property
    def docker_engine(self) -> str:
        """The id of the Docker engine that the stack cleans up on, empty if there was none when it was deployed."""
        return str(json.loads(self.parameters["LocalPlace"])["docker_engine"])

    @property
    def variables(self) -> dict[str, str]:
        """The environment in which `curl`, every SDK and the AWS CLI lead to this stack, and to no account.

        Of the AWS CLI the versions from 2.13 on; in version 1 `aws sqs` wants `--endpoint-url` as well.
        """
        return {
            "API": self.api,
            "REGION": self.region,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ENDPOINT_URL_EC2": self.ec2_endpoint,
            **CREDENTIALS,
        }


class Stack:
    """One stack with ports and a folder of its own.

    It listens on `host`, given a `port` on that one (EC2 on the next), else on any that are free.
    `parameters` are the template's. `wait_scale` shortens the workflow's waits (0.1: a tenth). With `keeps_state`,
    what is in it comes back at the next start in the same folder. `enforces_roles` holds each function to its own role.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        parameters: dict[str, str] | None = None,
        wait_scale: float = 1,
        keeps_state: bool = False,
        enforces_roles: bool = True,
    ) -> None:
        self._is_temporary = folder is None
        (STATE / "stacks").mkdir(parents=True, exist_ok=True)
        self.folder = folder or Path(tempfile.mkdtemp(prefix="stack-", dir=STATE / "stacks"))
        self._host = host
        self._port = port
        self._parameters = parameters or {}
        self._wait_scale = wait_scale
        self._keeps_state = keeps_state
        self._enforces_roles = enforces_roles
        self._processes: list[Process] = []
        self._scratch = ""
        self._running: Running | None = None

    def __enter__(self) -> Self:
        end_on_sigterm()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def running(self) -> Running:
        """Return what was started."""
        if self._running is None:
            raise LocalError("the stack isn't started")
        return self._running

    @property
    def outputs(self) -> dict[str, str]:
        """The outputs of the template."""
        return self.running.outputs

    @cached_property
    def api(self) -> Api:
        """`stack.api("POST", "/deployments", {...})`, signed."""
        return Api(self.running.api, self.running.region, Credentials(*CREDENTIALS.values()))

    def client(self, service: str) -> Any:
        """A boto3 client of a service of this stack (EC2's leads to the stand-in)."""
        endpoint = self.running.ec2_endpoint if service == "ec2" else self.running.endpoint
        return client_of(service, endpoint, region=self.running.region)

    def invoke(self, function: str, event: dict[str, Any]) -> Any:
        """Invoke a function (`Expire`) as a schedule does, which tries again while the account's concurrency is used up. Return its answer.

        LocalError if the function itself failed.
        """
        name = self.outputs[f"{function}FunctionName"]
        functions = client_of("lambda", self.running.endpoint, attempts=10, region=self.running.region)
        answer = functions.invoke(FunctionName=name, Payload=json.dumps(event))
        found = json.load(answer["Payload"])
        if "FunctionError" in answer:
            raise LocalError(f"{name} failed: {found}")
        return found

    def start(self) -> Running:
        """Build, start and deploy. Whatever fails, nothing is left running; the logs are."""
        try:
            return self._start()
        except BaseException:
            self._end()
            raise

    def stop(self) -> None:
        """End what was started; last started, first ended. A kept state is saved at the end of MiniStack."""
        self._end()
        if self._is_temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def log(self, name: str) -> str:
        """The end of the log of `ministack`, `ec2` or `leases`."""
        return tail(self.folder / f"{name}.log", 100)

    def _end(self) -> None:
        while self._processes:
            self._processes.pop().stop()
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._running = None

    def _start(self) -> Running:
        port = self._port or free_port_pair(self._host)
        ec2_port = port + 1
        for each in (port, ec2_port):
            if not is_free(self._host, each):
                raise LocalError(f"something else listens on port {each} of {self._host}: choose another with --port")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._scratch = tempfile.mkdtemp(prefix="deployment-tracker-", dir=_scratch_space() or self.folder)
        with _step("building the packages") as step:
            step.note = "done" if build() else "unchanged"
        check_parameters(self._parameters)
        endpoint, ec2_endpoint = f"http://{self._host}:{port}", f"http://{self._host}:{ec2_port}"
        with _step(f"starting MiniStack and the EC2 stand-in ({endpoint}, {ec2_endpoint})"):
            self._launch_ministack(port, endpoint)
            self._launch_ec2(ec2_port, ec2_endpoint)
        parameters = {
            "EndpointUrl": endpoint,
            "Ec2EndpointUrl": ec2_endpoint,
            "LocalPlace": json.dumps(this_machine()),
            "AllowHttpLoopbackWebhooks": "true",
            # Whoever reaches this stack is its one user.
            "WebhookSecretCallers": json.dumps({"deployment-tracker/webhooks/**": "**"}),
            "ReleaseConcurrency": "6",
            **self._parameters,
        }
        outputs = deploy(self.folder, endpoint, parameters)
        self._launch(
            "leases",
            [sys.executable, "-m", "local.leases", "--table", outputs["TableName"], "--endpoint", endpoint],
            environment(PYTHONPATH=f"{ROOT}:{ROOT / 'layers' / 'tracker'}"),
        )
        self._running = Running(
            folder=str(self.folder),
            scratch=self._scratch,
            endpoint=endpoint,
            ec2_endpoint=ec2_endpoint,
            ec2_faults=f"{ec2_endpoint}/_local/faults",
            api=outputs["ApiUrl"],
            region=REGION,
            parameters=parameters,
            outputs=outputs,
            processes=list(self._processes),
            built=fingerprint(),
        )
        return self._running

    def _launch_ministack(self, port: int, endpoint: str) -> None:
        if not MINISTACK.exists():
            raise LocalError(f"no MiniStack at {MINISTACK}: run `make setup`")
        # No AWS_ENDPOINT_URL here: the functions inherit all of it.
        env = environment(
            GATEWAY_PORT=str(port),
            BIND_HOST=self._host,
            MINISTACK_REGION=REGION,
            AUTH="true" if self._enforces_roles else "false",
            PERSIST_STATE="1" if self._keeps_state else "0",
            STATE_DIR=str(self.folder / "state"),
            S3_PERSIST="1" if self._keeps_state else "0",
            S3_DATA_DIR=str(self.folder / "s3"),
            TMPDIR=self._scratch,
            SFN_WAIT_SCALE=str(self._wait_scale),
            # Each is a process: more of them than this only wait for each other on a small machine.
            LAMBDA_ACCOUNT_CONCURRENCY="24",
            IOT_MTLS_ENABLED="0",
            SFTP_ENABLED="0",
            LOG_LEVEL="INFO",
        )
        self._read_streams_anew()
        self._launch("ministack", [MINISTACK], env, port=port, ready=f"{endpoint}/_ministack/health")

    def _read_streams_anew(self) -> None:
        """MiniStack saves how far functions have read the table's stream, but not the stream: they would miss its start."""
        file = self.folder / "state" / "lambda.json"
        if file.exists():
            saved = msgspec.json.decode(file.read_bytes())
            saved["payload"].pop("dynamodb_stream_positions", None)
            file.write_bytes(msgspec.json.encode(saved))

    def _launch_ec2(self, port: int, endpoint: str) -> None:
        command = [sys.executable, "-m", "local.ec2", "--host", self._host, "--port", str(port)]
        self._launch("ec2", command, environment(PYTHONPATH=str(ROOT)), port=port, ready=f"{endpoint}/_local/faults")

    def _launch(
        self, name: str, command: Sequence[str | Path], env: dict[str, str], port: int = 0, ready: str = ""
    ) -> None:
        """Start a process. With `ready`, wait until that URL answers and it is the process itself that listens on `port`."""
        process = launch(name, command, env=env, log=self.folder / f"{name}.log", cwd=ROOT)
        self._processes.append(process)
        if ready:
            wait_until(lambda: process.listens_on(port) and answers(ready), process)


def deploy(folder: Path, endpoint: str, parameters: dict[str, str], region: str = REGION) -> dict[str, str]:
    """Deploy the built template to the MiniStack at `endpoint`, or update what is there. Return the template's outputs.

    What was deployed, and what the SAM CLI said, is left in `folder`. LocalError if it fails.
    """
    # JSON is YAML, and what the SAM CLI knows the file as.
    file = folder / "parameters.yaml"
    file.write_text(json.dumps(parameters))
    with _step("deploying the template"), built() as template:
        sam(
            "deploy",
            *("--template-file", template, "--stack-name", NAME, "--region", region, "--resolve-s3"),
            *("--capabilities", "CAPABILITY_IAM", "--parameter-overrides", f"file://{file}"),
            *("--no-confirm-changeset", "--no-fail-on-empty-changeset", "--no-progressbar"),
            log=folder / "deploy.log",
            endpoint=endpoint,
        )
    (stack,) = client_of("cloudformation", endpoint, region=region).describe_stacks(StackName=NAME)["Stacks"]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    # MiniStack leaves out what a template reserves. 0 reserves nothing.
    if reserved := int(parameters["ReleaseConcurrency"]):
        client_of("lambda", endpoint, region=region).put_function_concurrency(
            FunctionName=outputs["ReleaseFunctionName"], ReservedConcurrentExecutions=reserved
        )
    return outputs


def end_on_sigterm() -> None:
    """Let SIGTERM (a job's time limit) end us as Ctrl-C does, so that what was started is ended too."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def _scratch_space() -> str | None:
    """Memory, where there is plenty: each function's process unpacks thousands of files before it starts."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
    roomy = memory.is_dir() and shutil.disk_usage(memory).free >= SCRATCH_NEEDED
    return str(memory) if roomy else None


def this_machine() -> dict[str, str]:
    """Return what a "local" deployment type may mean here: host, boot, and the Docker engine if one answers."""
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return {"host": socket.gethostname(), "boot_id": boot_id, "docker_engine": _docker_engine()}


def _docker_engine() -> str:
    """The id of the engine behind the socket that the tracker uses. Of one that isn't there, docker-py leaves a socket open."""
    if not listens(DOCKER_SOCKET):
        return ""
    try:
        client = docker.DockerClient(f"unix://{DOCKER_SOCKET}", timeout=5)
    except DockerException:
        return ""
    try:
        return str(client.info()["ID"])
    except DockerException:
        return ""
    finally:
        client.close()


def client_of(service: str, endpoint: str, attempts: int = 2, region: str = REGION) -> Any:
    """A boto3 client of a stack at that endpoint, which makes each call that often at most."""
    return boto3.client(
        service,
        region_name=region,
        endpoint_url=endpoint,
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        config=Config(
            connect_timeout=5, read_timeout=150, retries={"total_max_attempts": attempts, "mode": "standard"}
        ),
    )


class _step:  # noqa: N801 - used as a word
    """Says what takes its time, and how long it took."""

    def __init__(self, what: str) -> None:
        self._what = what
        self.note = "done"

    def __enter__(self) -> Self:
        self._since = time.monotonic()
        print(f"{self._what} ...", flush=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        note = "failed" if kind else self.note
        print(f"{self._what}: {note} in {time.monotonic() - self._since:.1f} s", flush=True)
