"""The catalogue: whole, consistent with the files there are, and strict about ids."""

from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import msgspec
import pytest

import tracker
from tracker.model import catalogue
from tracker.model.catalogue import (
    CATALOGUE,
    COMMON,
    Entry,
    Form,
    entry,
    form_of,
    missing,
    missing_fields,
    place_is_local,
)
from tracker.model.deployment import DEPLOYMENT_TYPES, Deployment
from tracker.model.errors import Invalid

CLEANUP = Path(str(tracker.__file__)).parent / "cleanup" / "providers"

# What a shell, a URL, a file system or an SDK would take for something else than one name.
NASTY = [
    "",
    " ",
    ".",
    "..",
    "...",
    "/",
    "//",
    "~",
    "*",
    "-",
    "--",
    "-rf",
    "--all",
    "--force=true",
    "; rm -rf /",
    "$(x)",
    "${HOME}",
    "`x`",
    "x;y",
    "x|y",
    "x&y",
    "x>y",
    "x y",
    " x",
    "x ",
    "'x'",
    '"x"',
    "x\\y",
    "x\n",
    "\nx",
    "x\r\ny",
    "x\ty",
    "x\0",
    "x\x7f",
    "x\u2028y",
    "x\u202ey",
    "../x",
    "x/..",
    "a/../b",
    "/a/../b.img",
    "a/b",
    "/etc/passwd",
    "x%2fy",
    "%00",
    "x?y=z",
    "x#y",
    "x@y/z",
    "x,y",
    "x=y",
    "[x]",
    "{x}",
    "<x>",
    "(x)",
    "x!",
    "i-123 ",
    "і-0123456789abcdef0",  # noqa: RUF001
    "１２３",  # noqa: RUF001
    "٣",
    "http://169.254.169.254/",
    "kube-system\n",
]
ID_FORMS = [
    pytest.param(form, id=f"{name}.{key}") for name, type_ in CATALOGUE.items() for key, form in type_.ids.items()
]
FORMS = ID_FORMS + [
    pytest.param(form, id=f"{name}.metadata.{key}")
    for name, type_ in CATALOGUE.items()
    for key, form in type_.metadata.items()
]
ENTRIES = [pytest.param(type_, id=name) for name, type_ in CATALOGUE.items()]
UUID = "0b3e1f5c-8d2a-4c7e-9f60-1a2b3c4d5e6f"
ARM = f"/subscriptions/{UUID}/resourceGroups/rg-1/providers"


def deployment(deployment_type: str, **changes: object) -> Deployment:
    plain = Deployment(
        id="dep-1",
        blueprint_id="service-7",
        deployment_type="AwsEc2",
        deployed_at="2026-01-01T00:00:00Z",
        generation="g",
        registered_at="2026-01-01T00:00:00Z",
    )
    return msgspec.structs.replace(plain, deployment_type=deployment_type, **changes)


def test_every_type_has_its_entry_in_the_same_order() -> None:
    assert list(CATALOGUE) == list(DEPLOYMENT_TYPES)


def test_every_entry_is_in_the_file_of_its_platform() -> None:
    files = [found for found in walk_packages(catalogue.__path__, f"{catalogue.__name__}.") if not found.ispkg]
    listed = []
    for file in files:
        for name, type_ in getattr(import_module(file.name), "ENTRIES", {}).items():
            listed.append(name)
            assert CATALOGUE[name] is type_
            assert type_.platform in file.name.split("."), name
    assert sorted(listed) == sorted(CATALOGUE)


def test_the_ids_of_a_kind_have_one_form_in_all_types() -> None:
    forms: dict[str, set[tuple[str, str | None]]] = {}
    for type_ in CATALOGUE.values():
        for form in type_.ids.values():
            forms.setdefault(form.kind, set()).add((form.pattern, form.guard))
    del forms[""]
    assert [kind for kind, found in forms.items() if len(found) > 1] == []


@pytest.mark.parametrize("type_", ENTRIES)
def test_a_type_tells_the_kind_of_a_key_and_the_form_of_a_kind(type_: Entry) -> None:
    for key, form in type_.ids.items():
        assert type_.kind_of(key) == form.kind
        if form.kind:
            assert type_.form_of(form.kind).pattern == form_of(form.kind).pattern == form.pattern


def test_a_kind_or_a_key_that_there_is_not_is_a_programming_error() -> None:
    with pytest.raises(KeyError, match="aws:bucket"):
        form_of("aws:bucket")
    with pytest.raises(KeyError, match="gcp:disk"):
        entry("AwsEc2").form_of("gcp:disk")
    with pytest.raises(KeyError, match="bucket"):
        entry("AwsEc2").kind_of("bucket")


def test_a_record_s_ids_are_named_with_their_key_and_kind_in_the_entry_s_order() -> None:
    ids: dict[str, object] = {"ebs_volume": ["vol-1", "vol-2"], "public_ip": "3.4.5.6", "instance_id": "i-1"}
    assert list(entry("AwsEc2").named(deployment("AwsEc2", resource_ids=ids))) == [
        ("instance_id", "aws:instance", "i-1"),
        ("ebs_volume", "aws:volume", "vol-1"),
        ("ebs_volume", "aws:volume", "vol-2"),
    ]


def test_exactly_the_types_with_a_file_name_their_module() -> None:
    named = {type_.module for type_ in CATALOGUE.values() if type_.module}
    files = {
        f"{path.parent.name}.{path.stem}" for path in CLEANUP.glob("*/*.py") if "\ndef discover(" in path.read_text()
    }
    assert named == files


@pytest.mark.parametrize("form", FORMS)
def test_an_example_has_the_form_that_it_explains(form: Form) -> None:
    assert form.matches(form.example)


@pytest.mark.parametrize("form", FORMS)
def test_what_is_unguarded_has_the_form_too(form: Form) -> None:
    assert not form.unguarded or (form.guard and form.matches(form.unguarded))


@pytest.mark.parametrize("form", ID_FORMS)
def test_no_id_can_be_read_as_anything_else(form: Form) -> None:
    assert [text for text in NASTY if form.matches(text)] == []


@pytest.mark.parametrize("form", ID_FORMS)
def test_an_example_with_anything_around_it_is_no_id(form: Form) -> None:
    ways = [
        "-{}",
        "{}\n",
        "\n{}",
        " {}",
        "{} ",
        "{}\0",
        "{};",
        "{}/..",
        "../{}",
        "{}?x",
        "{}#x",
        "{}%20",
        "$({})",
        "{},{}",
    ]
    assert [way for way in ways if form.matches(way.format(form.example, form.example))] == []


@pytest.mark.parametrize("form", FORMS)
def test_no_form_takes_endless_text(form: Form) -> None:
    assert not form.matches("a" * 100_000)
    assert not form.matches("1" * 100_000)
    assert not form.matches("/a" * 50_000)


@pytest.mark.parametrize("type_", ENTRIES)
def test_what_a_type_needs_is_known_to_it(type_: Entry) -> None:
    assert {key for group in type_.needs_one_of for key in group} <= type_.ids.keys()
    assert {key for group in type_.needs_metadata for key in group} <= type_.metadata.keys()
    assert type_.needs_one_of
    assert any(type_.ids[key].kind for group in type_.needs_one_of for key in group)
    assert type_.region is not None or not type_.needs_region
    assert not type_.remote_with or (type_.place == "local" and type_.remote_with in type_.metadata)


@pytest.mark.parametrize("type_", ENTRIES)
def test_every_type_takes_an_account_a_credential_and_all_dependents(type_: Entry) -> None:
    assert type_.metadata.keys() >= COMMON.keys()
    assert type_.metadata["credential"].guard == "secret"
    assert not type_.metadata["delete_dependents"].matches("some")


@pytest.mark.parametrize("type_", ENTRIES)
def test_what_names_a_secret_a_file_a_host_an_endpoint_or_a_role_is_guarded(type_: Entry) -> None:
    for key, form in type_.metadata.items():
        guards = {
            "webhook_secret": key == "webhook_secret",
            "secret": key == "credential" or key.endswith("_secret"),
            "key_file": key.endswith("_path"),
            "host": key in ("ssh_host", "jump_host"),
            "endpoint": key == "docker_host",
            "role": key == "role",
        }
        assert form.guard == next((guard for guard, is_it in guards.items() if is_it), None), key


# What the Rust tracker's two producers write, beside AWS's and Docker's own forms.
@pytest.mark.parametrize(
    ("deployment_type", "ids"),
    [
        (
            "AwsEc2",
            {"instance_id": "i-0123456789abcdef0", "instance_name": "i-0123456789abcdef0", "public_ip": "3.4.5.6"},
        ),
        (
            "AwsEc2",
            {"instance_id": "i-01234567", "elastic_ip": "eipalloc-0123456789abcdef0", "key_pair": "key-01234567"},
        ),
        ("GcpGce", {"instance_id": "bp-1", "instance_name": "bp-1", "public_ip": "2600:1900::1"}),
        ("AzureVm", dict.fromkeys(("instance_id", "instance_name"), f"{ARM}/Microsoft.Compute/virtualMachines/vm_1")),
        ("AzureVm", {"disk": f"{ARM}/Microsoft.Compute/disks/os".replace("/providers", "_(test)/providers")}),
        ("DigitalOceanDroplet", {"instance_id": "412345678", "instance_name": "412345678"}),
        ("VultrInstance", {"instance_id": UUID, "instance_name": UUID}),
        ("LambdaLabsInstance", {"instance_id": "a" * 32, "instance_name": "a" * 32}),
        ("VastAiInstance", {"instance_id": "9223372036854775807", "public_ip": "ssh4.vast.ai"}),
        ("AkashLease", {"instance_id": "18237654/1/1", "instance_name": "18237654/1/1"}),
        ("AkashLease", {"instance_id": "18237654"}),
        ("CoreWeaveWorkload", {"instance_id": "slot-1", "instance_name": "slot-1"}),
        ("SshRemote", {"instance_id": "linode-7", "instance_name": "linode-7", "public_ip": "3.4.5.6"}),
        (
            "LocalKubernetes",
            {"namespace": "default", "deployment": "blueprint", "service": "blueprint-service", "context": "kind-x"},
        ),
        ("LocalKubernetes", {"context": "arn:aws:eks:eu-west-1:123456789012:cluster/prod"}),
        ("LocalKubernetes", {"context": "gke_my-project_europe-west1_prod", "pod": "blueprint-7d4b9c.web"}),
        ("LocalDocker", {"container_id": "4f1d6a0c2b3e" + "0" * 52, "volume": "data_1", "network": "net.1"}),
        ("LocalHypervisor", {"vm_id": "vm-1", "pid": "4242", "disk_image": "/var/lib/x/.hidden/vm-1.qcow2"}),
    ],
)
def test_ids_as_producers_write_them_have_their_forms(deployment_type: str, ids: dict[str, str]) -> None:
    forms = entry(deployment_type).ids
    assert [key for key, value in ids.items() if not forms[key].matches(value)] == []


@pytest.mark.parametrize(
    ("deployment_type", "key", "value"),
    [
        ("AwsEc2", "instance_id", "i-0123456"),
        ("AwsEc2", "instance_id", "i-0123456789abcdef01"),
        ("AwsEc2", "instance_id", "I-0123456789abcdef0"),
        ("AwsEc2", "elastic_ip", "203.0.113.7"),
        ("AwsEc2", "security_group", "default"),
        ("AwsEc2", "key_pair", "my-key"),
        ("GcpGce", "instance_name", "Bp-1"),
        ("GcpGce", "instance_name", "a" * 64),
        ("AzureVm", "instance_id", "vm-1"),
        ("AzureVm", "instance_id", f"{ARM}/Microsoft.Compute/disks/vm-1"),
        ("AzureVm", "instance_id", f"{ARM}/Microsoft.Compute/virtualMachines/vm-1/extensions/x"),
        ("AzureVm", "instance_id", f"{ARM}/MicrosoftxCompute/virtualMachines/vm-1"),
        ("AzureVm", "instance_id", f"{ARM}/Microsoft.Compute/virtualMachines/a..b"),
        ("DigitalOceanDroplet", "instance_id", "0"),
        ("DigitalOceanDroplet", "instance_id", "-1"),
        ("DigitalOceanDroplet", "instance_id", "1e5"),
        ("VultrInstance", "instance_id", UUID.replace("-", "")),
        ("AkashLease", "instance_id", "1/2"),
        ("AkashLease", "instance_id", "1/2/3/4"),
        ("AkashLease", "instance_id", "1//3"),
        ("LocalDocker", "network", "bridge"),
        ("LocalDocker", "network", "host"),
        ("LocalDocker", "network", "Host"),
        ("LocalDocker", "network", "NONE"),
        ("LocalDocker", "network", "default"),
        ("LocalDocker", "volume", "/"),
        ("LocalDocker", "container_id", "_x"),
        ("LocalKubernetes", "namespace", "kube-system"),
        ("LocalKubernetes", "namespace", "kube-public"),
        ("LocalKubernetes", "namespace", "gatekeeper-system"),
        ("LocalKubernetes", "namespace", "flux-system"),
        ("LocalKubernetes", "namespace", "openshift"),
        ("LocalKubernetes", "namespace", "openshift-monitoring"),
        ("LocalKubernetes", "deployment", "Blueprint"),
        ("LocalKubernetes", "deployment", "a" * 254),
        ("LocalHypervisor", "pid", "0"),
        ("LocalHypervisor", "pid", "1"),
        ("LocalHypervisor", "pid", "-1"),
        ("LocalHypervisor", "disk_image", "vm-1.qcow2"),
        ("LocalHypervisor", "disk_image", "/etc/shadow"),
        ("LocalHypervisor", "disk_image", "/var//x.img"),
        ("LocalHypervisor", "disk_image", "/var/./x.img"),
        ("LocalHypervisor", "api_socket", "/var/run/docker.sock/../x"),
        ("SshRemote", "unit", "sshd"),
        ("SshRemote", "unit", "reboot.target"),
    ],
)
def test_ids_of_another_kind_are_refused(deployment_type: str, key: str, value: str) -> None:
    assert not entry(deployment_type).ids[key].matches(value)


@pytest.mark.parametrize(
    ("host", "is_one"),
    [
        ("unix:///var/run/docker.sock", True),
        ("unix:///run/user/1000/docker.sock", True),
        ("tcp://docker-1.example.org:2376", True),
        ("tcp://10.0.0.7:2376", True),
        ("tcp://[fd00::7]:2376", True),
        ("ssh://deploy@docker-1.example.org", True),
        ("ssh://deploy@docker-1.example.org:2222", True),
        ("tcp://docker-1.example.org", False),
        ("tcp://user:word@docker-1.example.org:2376", False),
        ("tcp://docker-1.example.org:2376/x", False),
        ("tcp://docker-1.example.org:0", False),
        ("ssh://docker-1.example.org", False),
        ("ssh://-oProxyCommand=x@docker-1", False),
        ("ssh://deploy@-oProxyCommand=x", False),
        ("http://docker-1.example.org:2376", False),
        ("unix://relative.sock", False),
        ("unix:///var/run/../x.sock", False),
        ("npipe:////./pipe/docker_engine", False),
    ],
)
def test_a_docker_host_is_a_socket_tcp_or_ssh(host: str, is_one: bool) -> None:
    assert entry("LocalDocker").metadata["docker_host"].matches(host) is is_one


@pytest.mark.parametrize("key", ["..", "/k/../../etc/shadow", "k/id", "/k/", "/k/-x", "~/.ssh/id", "/k/a b"])
def test_a_key_file_is_a_plain_absolute_path(key: str) -> None:
    form = entry("SshRemote").metadata["ssh_key_path"]
    assert form.matches("/home/deploy/.ssh/id_ed25519")
    assert not form.matches(key)


@pytest.mark.parametrize(
    ("deployment_type", "metadata", "is_local"),
    [
        ("LocalDocker", {}, True),
        ("LocalDocker", {"docker_host": "unix:///var/run/docker.sock"}, True),
        ("LocalDocker", {"docker_host": "tcp://docker-1:2376"}, False),
        ("LocalDocker", {"docker_host": "ssh://a@docker-1"}, False),
        ("LocalKubernetes", {}, True),
        ("LocalKubernetes", {"kubeconfig_secret": "tracker/kubernetes/kubeconfig"}, False),
        ("LocalHypervisor", {"docker_host": "tcp://docker-1:2376"}, True),
        ("AwsEc2", {}, False),
        ("SshRemote", {}, False),
    ],
)
def test_only_what_is_on_this_machine_is_local(deployment_type: str, metadata: dict[str, str], is_local: bool) -> None:
    assert place_is_local(deployment(deployment_type, metadata=metadata)) is is_local


@pytest.mark.parametrize("name", DEPLOYMENT_TYPES)
def test_a_record_with_nothing_lacks_each_thing_that_its_type_needs(name: str) -> None:
    type_ = entry(name)
    expected = len(type_.needs_one_of) + len(type_.needs_metadata) + type_.needs_region
    assert len(missing(deployment(name))) == expected


@pytest.mark.parametrize("name", DEPLOYMENT_TYPES)
def test_a_record_with_the_last_of_each_group_lacks_nothing(name: str) -> None:
    type_ = entry(name)
    whole = deployment(
        name,
        resource_ids={group[-1]: type_.ids[group[-1]].example for group in type_.needs_one_of},
        metadata={group[-1]: type_.metadata[group[-1]].example for group in type_.needs_metadata},
        region=type_.region.example if type_.region else None,
    )
    assert missing(whole) == []


def test_what_is_missing_is_said_in_sentences_that_name_it() -> None:
    assert missing(deployment("AwsEc2")) == [
        "resource_ids.instance_id is missing: instance_id, such as i-0123456789abcdef0",
        "region is missing: a region, such as eu-central-1",
    ]
    assert missing_fields(deployment("GcpGce", resource_ids={"instance_name": "bp-1"}, region="europe-west1-b")) == [
        ("metadata.project_id", "project_id, such as my-project-1 or account, such as my-project-1")
    ]


def test_a_type_that_there_is_not_is_invalid() -> None:
    with pytest.raises(Invalid) as error:
        entry("AwsLightsail")
    assert error.value.field == "deployment_type"
