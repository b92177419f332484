"""BareMetal: what it does with files; containers and services are SshRemote's."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import ClassVar

import pytest
from msgspec.structs import replace

from tests.cleanup.providers.ssh.machines import Machine
from tests.cleanup.providers.ssh.target import NA, RealSshTarget, SshTarget
from tests.conformance.target import Key, Made
from tracker.cleanup.core.contract import Observation, Refused, Unreachable
from tracker.cleanup.providers.ssh import bare_metal
from tracker.cleanup.providers.ssh.machine import open_machine
from tracker.model.deployment import Deployment, Resource
from tracker.model.settings import Settings


def deployment(files: list[str], metadata: dict[str, str], resources: list[Resource] | None = None) -> Deployment:
    return Deployment(
        id="dep-1",
        blueprint_id="bp-1",
        deployment_type="BareMetal",
        resource_ids={"file": list(files)},
        metadata=metadata,
        resources=resources or [],
        deployed_at="2026-01-01T00:00:00Z",
        registered_at="2026-01-01T00:00:00Z",
        generation="g",
    )


class Files:
    """Files on a machine, below a folder that is allowed, and the kind that removes them."""

    def __init__(self, machine: Machine, folder: Path, metadata: dict[str, str]) -> None:
        self.machine = machine
        self.outside = folder / "outside"
        self.allowed = folder / "allowed"
        for each in (self.outside, self.allowed):
            each.mkdir()
        self.metadata = metadata
        self.settings = Settings(
            allowed_hosts=["127.0.0.1"], allowed_secrets=["ssh/*"], allowed_files=[f"{self.allowed}/**"]
        )
        machine.programs.real("stat", "realpath", "cut")

    def folder(self, name: str = "bp-1") -> Path:
        """One that was installed, with something in it."""
        made = self.allowed / name
        made.mkdir()
        (made / "file").write_text("x")
        return made

    def resource(self, path: Path | str) -> Resource:
        (found,) = bare_metal.discover(deployment([str(path)], self.metadata), self.settings)
        return found

    def look(self, resource: Resource) -> Observation:
        return bare_metal.KINDS["ssh:file"].state(resource, self.settings)

    def delete(self, resource: Resource) -> None:
        bare_metal.KINDS["ssh:file"].delete(resource, self.settings)

    def refused(self, resource: Resource) -> str:
        """The class of the refusal to delete it; nothing was removed."""
        with pytest.raises(Refused) as refusal:
            self.delete(resource)
        assert not any(call.startswith("rm ") for call in self.machine.programs.asked)
        return refusal.value.error_class


@pytest.fixture
def files(machine: Machine, tmp_path: Path, at: Callable[..., dict[str, str]]) -> Files:
    return Files(machine, tmp_path, at(machine.server))


def test_a_folder_goes_with_all_that_is_in_it(files: Files) -> None:
    ours, others = files.folder(), files.folder("bp-2")
    resource = files.resource(ours)
    assert (files.look(resource).state, files.look(resource).detail) == ("present", "directory")
    files.delete(resource)
    gone = files.look(resource)
    assert (gone.state, gone.unproven, gone.proof) == ("gone", False, f"stat {ours}: no such file")
    files.delete(resource)
    assert (others / "file").exists()


def test_a_link_goes_and_what_it_leads_to_stays(files: Files) -> None:
    (files.outside / "kept").write_text("x")
    link = files.allowed / "link"
    for target in (files.outside, files.outside / "kept", files.outside / "nowhere"):
        link.symlink_to(target)
        resource = files.resource(link)
        assert files.look(resource).detail == "symbolic link"
        files.delete(resource)
        assert files.look(resource).state == "gone"
        assert not link.is_symlink()
    assert (files.outside / "kept").exists()


def test_a_path_through_a_link_that_leads_out_is_refused(files: Files) -> None:
    (files.outside / "kept").write_text("x")
    (files.allowed / "link").symlink_to(files.outside)
    resource = files.resource(files.allowed / "link" / "kept")
    with pytest.raises(Refused, match=f"{files.outside}/kept isn't among the allowed files"):
        files.look(resource)
    assert files.refused(resource) == "bad_id"
    assert (files.outside / "kept").exists()


def test_a_path_through_a_link_that_leads_to_what_is_allowed_too_goes_there(files: Files) -> None:
    ours = files.folder()
    (files.allowed / "link").symlink_to(ours)
    resource = files.resource(files.allowed / "link" / "file")
    files.delete(resource)
    assert files.look(resource).state == "gone"
    assert list(ours.iterdir()) == []


def test_what_is_allowed_no_longer_is_refused(files: Files) -> None:
    resource = files.resource(files.folder())
    files.settings = replace(files.settings, allowed_files=["/opt/*"])
    assert files.refused(resource) == "bad_id"
    again = deployment([resource.id], files.metadata, [resource])
    with pytest.raises(Refused, match="allowed"):
        bare_metal.discover(again, files.settings)


@pytest.mark.parametrize(
    ("path", "error_class"),
    [
        ("/usr/lib/firmware", "protected"),
        ("/usr/local/bin", "protected"),
        ("/lib/x/y", "protected"),
        ("/etc/ssh/sshd_config", "protected"),
        ("/var/lib/docker", "protected"),
        ("/boot/efi/x", "protected"),
        ("/opt/x", "bad_id"),
        ("/usr/local/bin/bp-1", ""),
        ("/opt/blueprints/bp-1", ""),
        ("/var/lib/bp-1", ""),
    ],
)
def test_the_systems_own_folders_are_refused_whatever_is_allowed(path: str, error_class: str) -> None:
    with pytest.raises(Refused) if error_class else nullcontext() as refusal:
        bare_metal._check_allowed(path, Settings(allowed_files=[f"/{path.split('/')[1]}/**"]))
    assert not refusal or refusal.value.error_class == error_class


@pytest.mark.parametrize("below", ["", "/data", "/data/more"])
@pytest.mark.parametrize("used", ["mount", "home"])
def test_a_folder_with_a_mount_or_a_home_in_it_is_refused(files: Files, used: str, below: str) -> None:
    ours = files.folder()
    mounts, homes = ["/", "/proc"], ["/root", "/nonexistent"]
    (mounts if used == "mount" else homes).append(f"{ours}{below}")
    listed = {"--fields=5": mounts, "--fields=6": homes}
    cases = " ".join(f"{field}) printf '%s\\n' {' '.join(lines)} ;;" for field, lines in listed.items())
    files.machine.programs.program("cut", f'case "$2" in {cases} esac')
    resource = files.resource(ours)
    assert files.refused(resource) == "protected"
    assert (ours / "file").exists()


@pytest.mark.parametrize(("path", "why"), [("/proc", "mounted at /proc"), ("/root", "has its home at /root")])
def test_a_machine_says_what_is_mounted_and_whose_homes_there_are(files: Files, path: str, why: str) -> None:
    place = files.resource(files.allowed / "x").place
    with open_machine(place, files.settings) as machine:
        assert why in bare_metal._use_of(machine, path)


def test_without_a_list_of_mounts_nothing_is_removed(files: Files) -> None:
    resource = files.resource(files.folder())
    files.machine.programs.program("cut", ":")
    with pytest.raises(Unreachable, match="mounted"):
        files.delete(resource)
    assert (files.allowed / "bp-1" / "file").exists()


@pytest.mark.parametrize(
    ("program", "said", "expected"),
    [
        ("stat", "stat: cannot statx '{path}': Permission denied", "credentials"),
        ("stat", "stat: cannot statx '{path}': Input/output error", ""),
        ("stat", "stat: cannot statx '{path}': Datei oder Verzeichnis nicht gefunden", ""),
        ("stat", "stat: cannot statx '/elsewhere': No such file or directory", ""),
        ("stat", "sudo: a password is required", "credentials"),
        ("realpath", "realpath: {path}: Too many levels of symbolic links", ""),
        ("rm", "rm: cannot remove '{path}': Operation not permitted", "protected"),
        ("rm", "rm: cannot remove '{path}': Permission denied", "credentials"),
        ("rm", "rm: cannot remove '{path}': Read-only file system", ""),
    ],
)
def test_what_a_program_complains_of_is_not_gone(files: Files, program: str, said: str, expected: str) -> None:
    resource = files.resource(files.folder())
    with files.machine.programs.failing(program, "-*", f'echo "{said.format(path=resource.id)}" >&2; exit 1'):
        with pytest.raises(Refused if expected else Unreachable) as error:
            files.delete(resource)
        if program != "rm":
            with pytest.raises(Refused if expected else Unreachable):
                files.look(resource)
    assert getattr(error.value, "error_class", "") == expected
    assert files.look(resource).state == "present"


def test_errors_are_read_in_the_c_locale(files: Files) -> None:
    resource = files.resource(files.allowed / "never-there")
    files.machine.programs.program("stat", 'test "$LC_ALL" = C && /usr/bin/stat "$@"')
    assert files.look(resource).state == "gone"


def test_a_machine_without_its_programs_is_refused(files: Files) -> None:
    resource = files.resource(files.folder())
    files.machine.server.environ["PATH"] = str(files.machine.programs.folder)
    (files.machine.programs.folder / "env").symlink_to("/usr/bin/env")
    for program in ("stat", "sudo"):
        (files.machine.programs.folder / program).unlink()
        with pytest.raises(Refused, match=f"{program}.*lacks a program") as refusal:
            files.look(resource)
        assert refusal.value.error_class == "bad_id"


def test_a_file_whose_disk_is_not_mounted_now_is_not_gone(files: Files) -> None:
    ours = files.folder()
    resource = files.resource(ours)
    seen = replace(resource, place=resource.place | files.look(resource).place)
    assert files.resource(ours).place["mount"] == ""
    (again,) = bare_metal.discover(deployment([resource.id], files.metadata, [seen]), files.settings)
    mount = again.place["mount"]
    assert Path(mount).is_mount()
    (ours / "file").unlink()
    ours.rmdir()
    assert files.look(again).state == "gone"
    elsewhere = replace(again, place=again.place | {"mount": str(files.allowed)})
    with pytest.raises(Unreachable, match="nothing is now"):
        files.look(elsewhere)


def test_a_file_below_one_that_is_no_folder_is_gone(files: Files) -> None:
    (files.allowed / "file").write_text("x")
    resource = files.resource(files.allowed / "file" / "below")
    assert files.look(resource).state == "gone"


@pytest.mark.parametrize("path", ["/", "/opt", "/opt/bp-1", "opt/a/b/c", "/opt/a/../b", "/opt/a/b/", "/opt/a b/c"])
def test_a_malformed_path_is_refused_before_any_call(files: Files, path: str) -> None:
    with pytest.raises(Refused) as refusal:
        bare_metal.discover(deployment([path], files.metadata), Settings(allowed_files=["/opt/**"]))
    assert refusal.value.error_class == "bad_id"


class FilesToo(SshTarget):
    """A folder besides, which goes last, and one that isn't named."""

    na: ClassVar[dict[str, str]] = {key: reason for key, reason in NA.items() if key != "order"}

    def serve(self) -> None:
        super().serve()
        (self.folder / "files").mkdir()

    def make(self) -> Made:
        made = super().make()
        keys: list[Key] = [("ssh:file", f"{self.folder}/files/{noun}-{self.count}") for noun in ("ours", "theirs")]
        for _, path in keys:
            Path(path).mkdir()
            Path(path, "installed").write_text("x")
        ids = {**made.ids, "file": [keys[0][1]]}
        return Made(made.main, [*made.ours, keys[0]], [*made.kept, keys[1]], ids, made.metadata)

    def left(self) -> set[Key]:
        return super().left() | {("ssh:file", str(path)) for path in (self.folder / "files").iterdir()}

    def key_of(self, call: list[str]) -> Key | None:
        match call:
            case ["rm", "--recursive", *_, path]:
                return ("ssh:file", path)
        return super().key_of(call)

    def vanish(self, made: Made) -> None:
        super().vanish(made)
        for kind, path in made.ours:
            if kind == "ssh:file":
                Path(path, "installed").unlink()
                Path(path).rmdir()

    @contextmanager
    def stuck(self, made: Made, key: Key) -> Iterator[None]:
        if key[0] != "ssh:file":
            with super().stuck(made, key):
                yield
            return
        # Something writes it anew.
        with self.programs.failing("rm", "--recursive", 'work "$@"; for last; do :; done; mkdir "$last"; exit 0'):
            yield


class StandIn(FilesToo):
    deployment_type = "BareMetal"


class Real(FilesToo, RealSshTarget):
    deployment_type = "BareMetal"
    na: ClassVar[dict[str, str]] = {key: reason for key, reason in RealSshTarget.na.items() if key != "order"}


TARGETS = [StandIn, Real]
