"""The settings, read once from the environment. No other module reads `os.environ`.

Each field is read from the variable of the same name in capitals, which template.yaml sets from a parameter.
"""

import os
from datetime import timedelta
from functools import lru_cache
from typing import Any

import msgspec

from tracker.model import written
from tracker.model.deployment import DEPLOYMENT_TYPES
from tracker.model.patterns import matches
from tracker.model.written import TwiceError

YEARS_10 = 315_360_000
# What an operator writes as JSON.
JSON_FIELDS = frozenset({"local_place", "webhook_secret_callers", "accounts", "marks", "credentials", "base_urls"})


class LocalPlace(msgspec.Struct, frozen=True):
    """The machine that the stack runs on, which is where deployments of the "local" types are. No other stack can know it."""

    host: str
    boot_id: str
    docker_engine: str = ""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All that an operator can set. Durations are in seconds; 0 means none."""

    table_name: str = ""
    topic_arn: str = ""
    state_machine_arn: str = ""
    plan_function: str = ""
    mode_parameter: str = ""
    set_aside_queue_url: str = ""
    dead_letter_queue_url: str = ""
    deliveries_queue_url: str = ""
    due_queue_url: str = ""
    undelivered_queue_url: str = ""
    webhook_secret: str = ""

    enabled_types: list[str] = msgspec.field(default_factory=lambda: list(DEPLOYMENT_TYPES))
    default_ttl: int = 0
    max_ttl: int = YEARS_10
    max_hold: int = 2_592_000
    retention_days: int = 30
    deadline: int = 7200
    cluster_deadline: int = 14400
    unmendable_rounds: int = 8
    retry_days: float = 7
    # Seconds after the end at which what was proven gone is looked at again; 0 means never.
    look_again: list[int] = msgspec.field(default_factory=lambda: [3600, 86400])
    # Seconds between the two sightings after which a stray is announced, if it is as old as the grace says by then; and the seconds from
    # there to its adoption by the tracker itself.
    stray_gap: int = 3600
    stray_grace: int = 7200
    stray_adoption: int = 0
    # The time limit of the release function, which the watchdog needs.
    release_timeout: int = 300

    # A record may name only what matches one of these patterns (`model/patterns.py`). Without patterns it may name nothing.
    allowed_secrets: list[str] = []
    allowed_key_files: list[str] = []
    allowed_endpoints: list[str] = []
    allowed_hosts: list[str] = []
    allowed_roles: list[str] = []
    # Files and folders on a machine that a cleanup may remove: sockets and disks of a hypervisor, installed files.
    allowed_files: list[str] = []
    # Tap devices that a cleanup may remove on the stack's own machine, and the executables of processes that it may end there.
    allowed_tap_devices: list[str] = []
    allowed_executables: list[str] = []
    allowed_webhook_secrets: list[str] = []
    # Which callers may have calls signed with which secret: a pattern of callers (ARNs) for each pattern of secrets.
    webhook_secret_callers: dict[str, str] = {}
    # Patterns of the roles (ARNs without path) and event sources ("event <source>") that may change any deployment; "*" alone is everyone.
    act_on_everything: list[str] = msgspec.field(default_factory=lambda: ["*"])

    webhook_ports: list[int] = msgspec.field(default_factory=lambda: [443, 8443])
    # Seconds from one attempt at a delivery to the next; more than 28 hours in all.
    webhook_gaps: list[int] = msgspec.field(default_factory=lambda: [5, 300, 1800, 7200, 18_000, 36_000, 36_000])
    # Whether a webhook may be on this machine, and without TLS. Only for a stack that runs on it.
    allow_http_loopback_webhooks: bool = False

    # On AWS the stack itself gives its account, and its roles need the mark as well.
    aws_account: str = ""
    aws_mark: str = ""
    require_mark: bool = True
    # By provider ("gcp", "digitalocean", ...): the account, the ownership mark, the secret that holds the credential, and the
    # URL of the API if it isn't the documented one.
    accounts: dict[str, str] = {}
    marks: dict[str, str] = {}
    credentials: dict[str, str] = {}
    base_urls: dict[str, str] = {}

    local_place: LocalPlace | None = None

    @property
    def retention(self) -> timedelta:
        """Return how long a Terminated record is kept."""
        return timedelta(days=self.retention_days)

    def allows(self, guard: str, value: str) -> bool:
        """Return whether a record may name this `secret`, `key_file`, `endpoint`, `host`, `role`, `file`, `tap_device` or `webhook_secret`.

        A process that a cleanup may end has an allowed `executable`.
        """
        patterns: list[str] = getattr(self, f"allowed_{guard}s")
        return any(matches(pattern, value, guard) for pattern in patterns)

    def lets_sign(self, caller: str, secret: str) -> bool:
        """Return whether a caller (an ARN) may have a deployment's webhook calls signed with this secret."""
        return any(
            matches(secrets, secret, "webhook_secret") and matches(callers, caller, "role")
            for secrets, callers in self.webhook_secret_callers.items()
        )

    def account(self, provider: str) -> str:
        """Return the account of a provider that this stack is for; empty if none is set."""
        return self.accounts.get(provider) or (self.aws_account if provider == "aws" else "")

    def mark(self, provider: str) -> str:
        """Return the ownership mark that is set for a provider; empty if none is."""
        return self.marks.get(provider) or (self.aws_mark if provider == "aws" else "")

    def fallback_env(self, variable: str) -> str:
        """Return a variable that a provider's own tools read (DIGITALOCEAN_TOKEN); empty unless the stack runs on one machine.

        The value isn't kept in a field: it may be a secret, and settings may be shown.
        """
        return os.environ.get(variable, "") if self.local_place else ""


def from_environment(environ: dict[str, str]) -> Settings:
    """Read settings from environment variables. msgspec.ValidationError names a variable that is wrong."""
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(Settings):
        text = environ.get(field.name.upper(), "").strip()
        if not text:
            continue
        if field.type in (list[str], list[int]):
            found[field.name] = [part.strip() for part in text.split(",") if part.strip()]
        elif field.name in JSON_FIELDS:
            found[field.name] = _from_json(field.name.upper(), text)
        else:
            found[field.name] = text
    return msgspec.convert(found, Settings, strict=False)


def _from_json(variable: str, text: str) -> Any:
    try:
        return written.read(text)
    except TwiceError as twice:
        why = f"has the key {twice.key!r} twice, and which one is meant can't be known"
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        why = "isn't JSON"
    raise msgspec.ValidationError(f"{variable} {why}")


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Return the settings of this function."""
    return from_environment(dict(os.environ))
