"""Machines to test on: an SSH server, ours or a real one, and a folder of programs on its path.

The programs behave as their manuals say, and note each call. systemd runs in no container, and Docker or Podman not
everywhere; where Docker does, the real one is called, and only noted.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.ssh_server import SshServer

FULL_ID = "0123456789abcdef" * 4
OTHER_ID = "fedcba9876543210" * 4

# `containers` holds what `ps` shows: id, names, status and swarm service. Removing an unknown one by force succeeds, as seen.
DOCKER = """case "$1" in
info) echo ENGINE ;;
ps) cat containers ;;
rm)
  for last; do :; done
  grep -q "^$last|" containers || { echo "Error: No such container: $last" >&2; return 0; }
  sed -i "/^$last|/d" containers
  echo "$last" ;;
*) return 1 ;;
esac"""
PODMAN = """case "$1" in
info) echo /home/user/.local/share/containers/storage ;;
ps) cat containers ;;
rm) for last; do :; done; grep -q "^$last" containers || return 0; sed -i "/^$last/d" containers; echo "$last" ;;
*) return 125 ;;
esac"""
# As its manual says: `show` always succeeds, `stop` on an unknown unit exits 5, `disable` on one 1.
SYSTEMCTL = """verb=$1
for last; do :; done
case "$verb" in
show)
  if [ -e "$last.state" ]; then cat "$last.state"
  else printf 'LoadState=not-found\\nActiveState=inactive\\nMainPID=0\\nFragmentPath=\\nUnitFileState=\\n'; fi ;;
disable)
  [ -e "$last.state" ] || { echo "Failed to disable unit: Unit file $last does not exist." >&2; return 1; }
  sed -i 's/^UnitFileState=enabled/UnitFileState=disabled/' "$last.state" ;;
stop)
  [ -e "$last.state" ] || { echo "Failed to stop $last: Unit $last not loaded." >&2; return 5; }
  if [ -e slow ]; then sed -i 's/^ActiveState=.*/ActiveState=deactivating/' "$last.state"
  else sed -i 's/^ActiveState=.*/ActiveState=inactive/; s/^MainPID=.*/MainPID=0/' "$last.state"; fi ;;
daemon-reload)
  for state in *.state; do
    path=$(sed -n 's/^FragmentPath=//p' "$state")
    case "$path" in "" | /etc/systemd/system/*) [ -f "units/${path##*/}" ] || rm -f "$state" ;; esac
  done ;;
reset-failed) ;;
*) return 1 ;;
esac"""
# What it does with an administrator's units, it does with those in `units`.
RM = """for last; do :; done
case "$last" in /etc/systemd/system/*) set -- -f -- "units/${last##*/}" ;; esac
/bin/rm "$@" """
SUDO = """[ "$1" = -n ] || { echo 'sudo: a password is required' >&2; return 1; }
shift
"$@" """


class Programs:
    """The folder: what its programs are and remember, and how they fail."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.units = folder / "units"
        self.units.mkdir()
        self._asked = folder / "asked"
        self.forget()
        self.containers = []
        self.program("sudo", SUDO)
        self.program("systemctl", SYSTEMCTL)
        self.program("rm", RM)

    @property
    def path(self) -> str:
        return f"{self.folder}:/usr/bin:/bin"

    def program(self, name: str, script: str) -> None:
        """A program. `name.fault`, where there is one, comes before its work."""
        text = f"""#!/bin/sh
cd {self.folder}
echo "{name} $*" >>asked
work() {{
{script}
}}
[ ! -e {name}.fault ] || . ./{name}.fault
work "$@"
"""
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)

    def real(self, *names: str) -> None:
        """Programs of this machine, each call noted."""
        for name in names:
            self.program(name, f'{shutil.which(name)} "$@"')

    @contextmanager
    def failing(self, name: str, verbs: str, script: str) -> Iterator[None]:
        """Yield what happens instead of a program's work, where its first word is one of `verbs` (a|b)."""
        fault = self.folder / f"{name}.fault"
        fault.write_text(f'case "$1" in\n{verbs}) {script} ;;\nesac\n')
        try:
            yield
        finally:
            fault.unlink()

    @property
    def asked(self) -> list[str]:
        """The calls since `forget`, in order."""
        return self._asked.read_text().splitlines()

    def forget(self) -> None:
        self._asked.write_text("")

    @property
    def containers(self) -> list[str]:
        """Return what `docker ps` and `podman ps` list."""
        return (self.folder / "containers").read_text().splitlines()

    @containers.setter
    def containers(self, lines: list[str]) -> None:
        (self.folder / "containers").write_text("".join(f"{line}\n" for line in lines))

    def unit(self, name: str, *, file: str | None = None, active: str = "active", enabled: str = "enabled") -> None:
        """systemd has this unit, by a file that is an administrator's unless said otherwise."""
        file = f"/etc/systemd/system/{name}" if file is None else file
        if file.startswith("/etc/systemd/system/"):
            (self.units / Path(file).name).write_text("[Service]\n")
        pid = "0" if active in ("inactive", "failed") else "42"
        state = {"LoadState": "loaded", "ActiveState": active, "MainPID": pid, "FragmentPath": file}
        self.state_of(name).write_text("".join(f"{k}={v}\n" for k, v in {**state, "UnitFileState": enabled}.items()))

    def state_of(self, unit: str) -> Path:
        return self.folder / f"{unit}.state"

    def unit_names(self) -> list[str]:
        return [path.name.removesuffix(".state") for path in self.folder.glob("*.state")]


class Machine(NamedTuple):
    """A server, and the programs that it runs."""

    server: SshServer
    programs: Programs
