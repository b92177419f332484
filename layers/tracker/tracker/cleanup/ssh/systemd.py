"""Services of systemd on a machine that is reached through SSH: stopped, disabled, and their files removed.

A unit has no identity besides its name. What is in a package's folder belongs to that package.
"""

from pathlib import PurePosixPath

import msgspec

from tracker.cleanup.contract import Look, Refused, Unreachable
from tracker.cleanup.ssh.machine import Machine, complain, reached
from tracker.deployment import Resource
from tracker.settings import Settings

# Where an administrator's units are (systemd.unit(5), "Unit File Load Path").
FOLDERS = frozenset({"/etc/systemd/system", "/run/systemd/system", "/run/systemd/transient"})


class Unit:
    """A service, which goes with its file where an administrator's files are."""

    one_at_a_time = False

    def state(self, resource: Resource, settings: Settings) -> Look:
        with reached(resource.place, settings) as machine:
            service = _show(machine, resource.id)
        said = f"{service.load_state}, {service.active_state}"
        if service.is_gone(resource.id):
            return Look("gone", proof=f"systemctl show {resource.id}: {said}, no process")
        return Look("leaving" if service.active_state == "deactivating" else "present", detail=said)

    def delete(self, resource: Resource, settings: Settings) -> None:
        unit = resource.id
        with reached(resource.place, settings) as machine:
            service = _show(machine, unit)
            if service.is_gone(unit):
                return
            path = PurePosixPath(service.fragment_path)
            if service.fragment_path and str(path.parent) not in FOLDERS:
                raise Refused("protected", f"{unit} is in {path.parent}, where packages have theirs")
            systemctl = machine.as_root("systemctl")
            # It fails for what can't be enabled at all; whether it was needed, the next look says.
            machine.run(*systemctl, "disable", unit)
            stop = machine.run(*systemctl, "stop", "--no-block", unit)
            if stop.exit and "not loaded" not in stop.stderr:
                complain(systemctl, stop)
            if not _show(machine, unit).is_stopped:
                return
            if path.name == unit:
                machine.read(*machine.as_root("rm", "-f", "--", str(path)))
                machine.read(*systemctl, "daemon-reload")
            machine.run(*systemctl, "reset-failed", unit)


class _Service(msgspec.Struct, rename="pascal"):
    """What `systemctl show` says of a unit."""

    load_state: str
    active_state: str
    main_pid: str = msgspec.field(name="MainPID")
    fragment_path: str = ""
    unit_file_state: str = ""

    @property
    def is_stopped(self) -> bool:
        return self.active_state in ("inactive", "failed") and self.main_pid in ("", "0")

    def is_gone(self, unit: str) -> bool:
        """Without its file; or, made from a template, which others use too, not started and not to be."""
        is_of_template = bool(self.fragment_path) and PurePosixPath(self.fragment_path).name != unit
        is_off = is_of_template and not self.unit_file_state.startswith("enabled")
        return self.is_stopped and (self.load_state == "not-found" or is_off)


def _show(machine: Machine, unit: str) -> _Service:
    properties = "LoadState,ActiveState,MainPID,FragmentPath,UnitFileState"
    text = machine.read("systemctl", "show", f"--property={properties}", unit)
    try:
        return msgspec.convert(dict(line.split("=", 1) for line in text.splitlines() if line), _Service)
    except (msgspec.ValidationError, ValueError) as error:
        raise Unreachable(f"systemctl show {unit}: not to be read") from error
