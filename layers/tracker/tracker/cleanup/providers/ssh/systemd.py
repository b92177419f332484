"""Services of systemd on a machine that is reached through SSH: stopped, disabled, and their files removed.

A unit has no identity besides its name. What is in a package's folder belongs to that package.
"""

from pathlib import PurePosixPath

import msgspec

from tracker.cleanup.core.contract import Progress, Unreachable
from tracker.cleanup.core.kind import Gone
from tracker.cleanup.providers.ssh.machine import Machine, MachineKind, raise_failure
from tracker.model.catalogue import entry
from tracker.model.deployment import Resource

# Where an administrator's units are (systemd.unit(5), "Unit File Load Path").
FOLDERS = frozenset({"/etc/systemd/system", "/run/systemd/system", "/run/systemd/transient"})


class Service(msgspec.Struct, rename="pascal"):
    """The properties of a unit, by `systemctl show`."""

    load_state: str
    active_state: str
    main_pid: str = msgspec.field(name="MainPID")
    fragment_path: str = ""
    unit_file_state: str = ""

    def __str__(self) -> str:
        return f"{self.load_state}, {self.active_state}"

    @property
    def is_stopped(self) -> bool:
        return self.active_state in ("inactive", "failed") and self.main_pid in ("", "0")

    def is_gone(self, unit: str) -> bool:
        """Return whether it is stopped, and has no file; or was made from a template, which others use too, and isn't enabled."""
        is_of_template = bool(self.fragment_path) and PurePosixPath(self.fragment_path).name != unit
        is_off = is_of_template and not self.unit_file_state.startswith("enabled")
        return self.is_stopped and (self.load_state == "not-found" or is_off)


class Unit(MachineKind[Service]):
    """A service, which goes with its file where an administrator's files are."""

    reuses_ids = True
    noun = "service"
    form = entry("SshRemote").ids["unit"].pattern

    def read(self, connection: Machine, resource: Resource) -> Service:
        service = _show(connection, resource.id)
        if service.is_gone(resource.id):
            raise Gone(f"systemctl show {resource.id}: {service}, no process")
        return service

    def progress(self, body: Service) -> tuple[Progress, str]:
        return ("leaving" if body.active_state == "deactivating" else "present"), str(body)

    def protection(self, connection: Machine, resource: Resource, body: Service) -> str:
        folder = PurePosixPath(body.fragment_path).parent
        if not body.fragment_path or str(folder) in FOLDERS:
            return ""
        return f"{resource.id} is in {folder}, where packages have theirs"

    def request_deletion(self, connection: Machine, resource: Resource, body: Service) -> None:
        """Disable and stop the service, and remove its file if it has stopped at once; else the next step does."""
        unit, path = resource.id, PurePosixPath(body.fragment_path)
        systemctl = connection.as_root("systemctl")
        # It fails for what can't be enabled at all; whether it was needed, the next read says.
        connection.run(*systemctl, "disable", unit)
        stop = connection.run(*systemctl, "stop", "--no-block", unit)
        if stop.exit and "not loaded" not in stop.stderr:
            raise_failure(systemctl, stop)
        if not _show(connection, unit).is_stopped:
            return
        if path.name == unit:
            connection.read(*connection.as_root("rm", "-f", "--", str(path)))
            connection.read(*systemctl, "daemon-reload")
        connection.run(*systemctl, "reset-failed", unit)


def _show(machine: Machine, unit: str) -> Service:
    properties = "LoadState,ActiveState,MainPID,FragmentPath,UnitFileState"
    text = machine.read("systemctl", "show", f"--property={properties}", unit)
    try:
        return msgspec.convert(dict(line.split("=", 1) for line in text.splitlines() if line), Service)
    except (msgspec.ValidationError, ValueError) as error:
        raise Unreachable(f"systemctl show {unit}: not to be read") from error
