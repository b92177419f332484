"""The environment, read once: the only module that looks at `os.environ`.

Each field is the variable of the same name in capitals, set by template.yaml from a parameter.
"""

import os
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

import msgspec

from tracker.deployment import DEPLOYMENT_TYPES

YEARS_10 = 315_360_000


class LocalPlace(msgspec.Struct, frozen=True):
    """This machine, as only a stack that runs on it can know it: what "local" types may mean."""

    host: str
    boot_id: str
    docker_engine: str = ""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator can set. Durations are in seconds; 0 means none."""

    table_name: str = ""
    topic_arn: str = ""
    state_machine_arn: str = ""
    plan_function: str = ""
    mode_parameter: str = ""
    set_aside_queue_url: str = ""
    dead_letter_queue_url: str = ""
    deliveries_queue_url: str = ""
    undelivered_queue_url: str = ""
    webhook_secret: str = ""

    enabled_types: list[str] = msgspec.field(default_factory=lambda: list(DEPLOYMENT_TYPES))
    default_ttl: int = 0
    max_ttl: int = YEARS_10
    retention_days: int = 30
    deadline: int = 7200
    cluster_deadline: int = 14400
    unmendable_rounds: int = 8
    retry_days: float = 7
    sweep_limit: int = 200
    # The release function's own time limit, for the watchdog.
    release_timeout: int = 300

    # A record may name only what matches one of these (shell-style) patterns. None: nothing.
    allowed_secrets: list[str] = []
    allowed_key_files: list[str] = []
    allowed_endpoints: list[str] = []
    allowed_hosts: list[str] = []
    allowed_roles: list[str] = []
    # Files and folders on a machine that a cleanup may remove: a hypervisor's sockets and disks, what was installed.
    allowed_files: list[str] = []
    allowed_webhook_secrets: list[str] = []

    webhook_ports: list[int] = msgspec.field(default_factory=lambda: [443, 8443])
    # Seconds from one attempt at a delivery to the next: over 28 hours.
    webhook_gaps: list[int] = msgspec.field(default_factory=lambda: [5, 300, 1800, 7200, 18_000, 36_000, 36_000])
    # Webhooks on this machine, http too: only for a stack that runs on it.
    allow_http_loopback_webhooks: bool = False

    # The ownership mark and the account per platform; empty: not set.
    aws_mark: str = ""
    google_mark: str = ""
    digitalocean_mark: str = ""
    require_mark: bool = True
    aws_account: str = ""
    # By provider ("gcp", "digitalocean", ...): its account, the secret with its credential, and where its API is instead
    # of where its documentation says.
    accounts: dict[str, str] = {}
    credentials: dict[str, str] = {}
    base_urls: dict[str, str] = {}

    local_place: LocalPlace | None = None

    @property
    def retention(self) -> timedelta:
        """How long a Terminated record is kept."""
        return timedelta(days=self.retention_days)

    def allows(self, guard: str, value: str) -> bool:
        """Whether a record may name this `secret`, `key_file`, `endpoint`, `host`, `role`, `file` or `webhook_secret`."""
        patterns: list[str] = getattr(self, f"allowed_{guard}s")
        return any(fnmatchcase(value, pattern) for pattern in patterns)

    def account(self, provider: str) -> str:
        """The account of a provider that this stack is for; empty if none is set."""
        return self.accounts.get(provider) or (self.aws_account if provider == "aws" else "")

    def customary(self, variable: str) -> str:
        """An environment variable that a provider's own tools read (DIGITALOCEAN_TOKEN), on a stack of one machine alone.

        Never kept here: it may be a secret, and settings may be shown.
        """
        return os.environ.get(variable, "") if self.local_place else ""


def from_environment(environ: dict[str, str]) -> Settings:
    """Read settings from variables; msgspec.ValidationError names what is wrong."""
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(Settings):
        text = environ.get(field.name.upper(), "").strip()
        if not text:
            continue
        if field.type in (list[str], list[int]):
            found[field.name] = [part.strip() for part in text.split(",") if part.strip()]
        elif field.name in ("local_place", "accounts", "credentials", "base_urls"):
            found[field.name] = msgspec.json.decode(text)
        else:
            found[field.name] = text
    return msgspec.convert(found, Settings, strict=False)


@lru_cache(maxsize=1)
def settings() -> Settings:
    """This function's settings."""
    return from_environment(dict(os.environ))
