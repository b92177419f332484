"""What each deployment type needs: pure data, and all that registering reads of a type.

An entry says which `resource_ids` and `metadata` a type knows, their forms, and the module below
`tracker.cleanup` that cleans it up. A type whose entry names no module is refused at registration.
"""

import re
from collections.abc import Collection, Iterator
from typing import Literal

import msgspec

from tracker.deployment import Deployment
from tracker.errors import Invalid

Guard = Literal["secret", "key_file", "endpoint", "host", "role", "file", "webhook_secret"]


class Form(msgspec.Struct, frozen=True):
    """What an id or a metadata value must look like: `pattern` matches the whole, `example` explains it.

    `many` allows a list of them. `kind` is the kind of resource that an id names, empty for one that only
    informs (a public address, say). `guard` is the list of allowed patterns that a value must match besides,
    unless it is `unguarded`.
    """

    pattern: str
    example: str
    kind: str = ""
    many: bool = False
    guard: Guard | None = None
    unguarded: str = ""

    def matches(self, value: str) -> bool:
        """Whether the whole value has this form."""
        return re.fullmatch(self.pattern, value, re.ASCII) is not None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment type.

    `needs_one_of` lists groups of ids (`resource_ids` keys): of each group one must be there.
    `needs_metadata` likewise for metadata, `needs_region` for the record's region, of form `region`.
    `platform` is what brakes and accounts are set for. `place` is "local" for what is on this machine;
    the metadata key `remote_with` says that it is elsewhere, unless it names a unix socket.
    """

    platform: str
    summary: str
    module: str | None = None
    ids: dict[str, Form]
    needs_one_of: tuple[tuple[str, ...], ...]
    metadata: dict[str, Form]
    needs_metadata: tuple[tuple[str, ...], ...] = ()
    needs_region: bool = False
    region: Form | None = None
    cluster: bool = False
    place: Literal["remote", "local"] = "remote"
    remote_with: str = ""


def entry(deployment_type: str) -> Entry:
    """A type's entry. Invalid if there is no such type."""
    if deployment_type not in CATALOGUE:
        raise Invalid("deployment_type", deployment_type, f"one of {', '.join(CATALOGUE)}")
    return CATALOGUE[deployment_type]


def lacking(deployment: Deployment) -> list[tuple[str, str]]:
    """What its type still needs: each time the field, and what is expected there."""
    type_ = entry(deployment.deployment_type)
    found = [
        *_none_of(type_.needs_one_of, deployment.resource_ids.keys(), type_.ids, "resource_ids"),
        *_none_of(type_.needs_metadata, deployment.metadata.keys(), type_.metadata, "metadata"),
    ]
    if type_.needs_region and not deployment.region:
        found.append(("region", f"a region, such as {type_.region.example}" if type_.region else "a region"))
    return found


def missing(deployment: Deployment) -> list[str]:
    """Sentences that name the ids, metadata and region that its type still needs."""
    return [f"{field} is missing: {expected}" for field, expected in lacking(deployment)]


def place_is_local(deployment: Deployment) -> bool:
    """Whether it is on "this machine", whichever that is."""
    type_ = entry(deployment.deployment_type)
    elsewhere = deployment.metadata.get(type_.remote_with, "")
    return type_.place == "local" and (not elsewhere or elsewhere.startswith("unix://"))


def _none_of(
    groups: tuple[tuple[str, ...], ...], present: Collection[str], forms: dict[str, Form], where: str
) -> Iterator[tuple[str, str]]:
    for group in groups:
        if not any(key in present for key in group):
            wanted = " or ".join(f"{key}, such as {forms[key].example}" for key in group)
            yield f"{where}.{group[0]}", wanted


# Forms. None takes what a shell, a URL or an SDK could misread: a leading "-", "..", blanks, "%", "?", "#";
# and a slash only where the provider's own form has it.

_NO_DOTS = r"(?!.*\.\.)"
_UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_NUMBER = r"[1-9][0-9]{0,18}"
_NAME = _NO_DOTS + r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}"
_IPV4 = r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}"
_IPV6 = r"(?=[0-9A-Fa-f]*:)[0-9A-Fa-f:]{2,39}"
_DNS = r"(?!.{254})[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})(?:\.[A-Za-z0-9][A-Za-z0-9-]{0,62})*"
_HOST = rf"(?:{_DNS}|{_IPV6})"
_PORT = r"[1-9][0-9]{0,4}"
_HOST_IN_URL = rf"(?:{_DNS}|\[{_IPV6}\])"
_USER = r"[A-Za-z_][A-Za-z0-9._-]{0,31}"
_FOLDERS = r"(?:/(?!\.\.?/)[A-Za-z0-9._][A-Za-z0-9._-]{0,254})*"


def _path(ending: str) -> str:
    return rf"(?!.{{1025}}){_NO_DOTS}{_FOLDERS}/[A-Za-z0-9_][A-Za-z0-9._-]{{0,254}}{ending}"


_UUID_EXAMPLE = "0b3e1f5c-8d2a-4c7e-9f60-1a2b3c4d5e6f"

NAME = Form(_NAME, "blueprint-1")
ADDRESS = Form(_HOST, "203.0.113.7")
HOST = Form(_HOST, "host-1.example.org", guard="host")
# Secrets Manager, CreateSecret: letters, digits and /_+=.@- in a name; or the whole ARN.
_SECRET = _NO_DOTS + r"/?[A-Za-z0-9][A-Za-z0-9/_+=.@:-]{0,511}"
SECRET = Form(_SECRET, "tracker/docker-tls", guard="secret")

# What any type's metadata may say.
COMMON = {
    "account": Form(_NO_DOTS + r"[A-Za-z0-9][A-Za-z0-9._@:-]{0,127}", "team-1"),
    "credential": SECRET,
    "delete_dependents": Form("all", "all"),
    # What signs the calls of its webhook, instead of the stack's own.
    "webhook_secret": Form(_SECRET, "tracker/webhooks/team-1", guard="webhook_secret"),
}
# Where "this machine" was, when it was deployed.
MACHINE = {"host": NAME, "boot_id": Form(_UUID, _UUID_EXAMPLE)}


def _machine(form: Form, **more: Form) -> dict[str, Form]:
    """A rented machine's ids: `instance_id`, and what the Rust tracker writes beside it.

    Its `instance_name` is often the id again.
    """
    return {
        "instance_id": form,
        "instance_name": Form(f"(?:{form.pattern})|(?:{_NAME})", form.example),
        "public_ip": ADDRESS,
        **more,
    }


# AWS: EC2's API reference, resource ids of 8 or 17 hexadecimal digits.
_AWS_ID = "[0-9a-f]{8,17}"
_AWS_REGION = Form(r"[a-z]{2,4}(?:-[a-z]{3,12}){1,3}-[0-9]{1,2}", "eu-central-1")
_AWS = {
    **COMMON,
    "account": Form("[0-9]{12}", "123456789012"),
    # IAM: paths and names of roles; STS, AssumeRole: the external id.
    "role": Form(
        _NO_DOTS + r"arn:aws[a-z-]{0,16}:iam::[0-9]{12}:role/(?:[A-Za-z0-9_+=,.@-]+/){0,16}[A-Za-z0-9_+=,.@-]{1,64}",
        "arn:aws:iam::123456789012:role/cleanup",
        guard="role",
    ),
    "external_id": Form(r"[A-Za-z0-9_+=,.@:/-]{2,1224}", "tracker-7f3a"),
}

_EKS_NAME = "[0-9A-Za-z][0-9A-Za-z_-]"


def _aws(prefix: str, kind: str, *, many: bool = False) -> Form:
    return Form(f"{prefix}-{_AWS_ID}", f"{prefix}-0123456789abcdef0", kind=kind, many=many)


# Google: resource names are RFC 1035 labels, project ids have 6 to 30 characters (an old one: with its domain).
_GCP_NAME = "[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"
_GCP_PROJECT = Form(r"(?:[a-z0-9-]+(?:\.[a-z0-9-]+)+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]", "my-project-1")
_GCP = {**COMMON, "account": _GCP_PROJECT, "project_id": _GCP_PROJECT}
# "AI zones" are called such as us-central1-ai1a.
_GCP_ZONE = Form("[a-z]{2,16}-[a-z]{3,16}[0-9]{1,2}-(?:ai[0-9])?[a-z]", "europe-west1-b")
_GCP_LOCATION = Form("[a-z]{2,16}-[a-z]{3,16}[0-9]{1,2}(?:-(?:ai[0-9])?[a-z])?", "europe-west1")

# Azure: the whole resource id. Its case doesn't matter to Azure; these two spellings of the group are in use. "Naming rules and
# restrictions for Azure resources": a group's name may have parentheses, and letters that aren't ASCII, which aren't taken here.
_AZURE_NAME = "[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,88}[A-Za-z0-9_-])?"
_AZURE_GROUP = "[A-Za-z0-9_(](?:[A-Za-z0-9._()-]{0,88}[A-Za-z0-9_()-])?"
_AZURE = {**COMMON, "account": Form(_UUID, _UUID_EXAMPLE), "subscription_id": Form(_UUID, _UUID_EXAMPLE)}


def _azure(type_: str, name: str, kind: str, *, many: bool = False) -> Form:
    group = f"/subscriptions/{_UUID}/resource[Gg]roups/{_AZURE_GROUP}"
    return Form(
        f"{_NO_DOTS}{group}/providers/{re.escape(type_)}/{_AZURE_NAME}",
        f"/subscriptions/{_UUID_EXAMPLE}/resourceGroups/blueprints/providers/{type_}/{name}",
        kind=kind,
        many=many,
    )


def _uuid(kind: str, *, many: bool = False) -> Form:
    return Form(_UUID, _UUID_EXAMPLE, kind=kind, many=many)


def _number(kind: str, *, many: bool = False) -> Form:
    return Form(_NUMBER, "4012345", kind=kind, many=many)


def _ipv4(kind: str) -> Form:
    return Form(_IPV4, "203.0.113.7", kind=kind, many=True)


def _opaque(kind: str, example: str, *, many: bool = False) -> Form:
    """For a provider that doesn't say how its ids look."""
    return Form(r"[A-Za-z0-9][A-Za-z0-9_-]{2,127}", example, kind=kind, many=many)


# Vultr: GET /v2/account tells no other id of an account than its e-mail address.
_VULTR = {
    **COMMON,
    "account": Form(_NO_DOTS + r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}@[A-Za-z0-9][A-Za-z0-9.-]{0,190}", "ops@example.org"),
}

# Kubernetes: names are RFC 1123 subdomains, namespaces labels. Its own namespaces are nobody's deployment.
_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_KUBERNETES_KINDS = (
    "deployment",
    "statefulset",
    "daemonset",
    "job",
    "cronjob",
    "pod",
    "service",
    "ingress",
    "configmap",
    "secret",
    "persistentvolumeclaim",
)
_WORKLOADS = _KUBERNETES_KINDS[:6]
_KUBERNETES_IDS = {
    "namespace": Form(rf"(?!kube-){_LABEL}", "blueprints"),
    # A plain name, or what `aws eks update-kubeconfig` writes.
    "context": Form(
        rf"{_NO_DOTS}[A-Za-z0-9][A-Za-z0-9@:._-]{{0,252}}"
        r"|arn:aws[a-z-]{0,16}:eks:[a-z0-9-]{1,32}:[0-9]{12}:cluster/[A-Za-z0-9][A-Za-z0-9_-]{0,99}",
        "kind-blueprints",
    ),
    **{
        kind: Form(rf"(?!.{{254}}){_LABEL}(?:\.{_LABEL})*", f"blueprint-{kind}", kind=f"kubernetes:{kind}", many=True)
        for kind in _KUBERNETES_KINDS
    },
}
_KUBERNETES = {
    **COMMON,
    "kubeconfig_secret": SECRET,
    # What makes a cluster itself: the uid of its namespace kube-system. With it "not found" proves something at once.
    "cluster_uid": Form(_UUID, _UUID_EXAMPLE),
    # The deployment made its namespace, which goes with it.
    "delete_namespace": Form("true", "true"),
}

# Docker: `[a-zA-Z0-9][a-zA-Z0-9_.-]` for names; ids are hexadecimal. Its own networks are nobody's deployment.
_DOCKER_NAME = _NO_DOTS + "[A-Za-z0-9][A-Za-z0-9_.-]{0,127}"

_CONTAINER = Form(_DOCKER_NAME, "4f1d6a0c2b3e", kind="ssh:container", many=True)
_SSH_IDS = _machine(
    _opaque("", "vm-1"),
    container_id=_CONTAINER,
    # systemd.unit: letters, digits and :_.-; "@" for an instance of a template. Only services are deployed.
    unit=Form(
        _NO_DOTS + r"[A-Za-z0-9_][A-Za-z0-9:_.-]{0,120}(?:@[A-Za-z0-9:_.-]{0,120})?\.service",
        "blueprint-1.service",
        kind="ssh:unit",
        many=True,
    ),
)
# known_hosts: a key's type and its base64.
_PUBLIC_KEY = Form(
    r"(?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)) [A-Za-z0-9+/]{40,2048}={0,2}",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIb9Y0tPZ5m7h0y3m0V3y5zq2xKc1r8vQe4u6s7t8w9x",
)
_SSH = {
    **COMMON,
    "ssh_host": HOST,
    "ssh_user": Form(_USER, "ubuntu"),
    "ssh_port": Form(_PORT, "22"),
    "ssh_key_path": Form(_path(""), "/etc/tracker/keys/id_ed25519", guard="key_file"),
    "ssh_key_secret": SECRET,
    "ssh_host_key": _PUBLIC_KEY,
    "jump_host": HOST,
    "jump_port": Form(_PORT, "22"),
    "jump_user": Form(_USER, "ubuntu"),
    "jump_host_key": _PUBLIC_KEY,
    "runtime": Form("docker|podman|containerd|systemd", "docker"),
    # containerd's own.
    "namespace": NAME,
}

CATALOGUE: dict[str, Entry] = {
    "LocalDocker": Entry(
        platform="local",
        summary="Containers, volumes and networks of a Docker engine, this machine's unless another is named",
        module="local.docker",
        ids={
            "container_id": Form(_DOCKER_NAME, "4f1d6a0c2b3e", kind="docker:container", many=True),
            "volume": Form(_DOCKER_NAME, "blueprint-data", kind="docker:volume", many=True),
            "network": Form(
                rf"(?!(?:bridge|host|none)$){_DOCKER_NAME}", "blueprint-net", kind="docker:network", many=True
            ),
        },
        needs_one_of=(("container_id",),),
        metadata={
            **COMMON,
            **MACHINE,
            "docker_host": Form(
                rf"unix://{_path('')}|tcp://{_HOST_IN_URL}:{_PORT}|ssh://{_USER}@{_HOST_IN_URL}(?::{_PORT})?",
                "tcp://docker-1.example.org:2376",
                guard="endpoint",
                unguarded="unix:///var/run/docker.sock",
            ),
            "docker_tls_secret": SECRET,
            "docker_ssh_secret": SECRET,
            # GET /info: a uuid, or twelve groups of letters and digits on engines installed before 24.
            "docker_engine": Form(r"[A-Za-z0-9][A-Za-z0-9:-]{0,127}", _UUID_EXAMPLE),
        },
        place="local",
        remote_with="docker_host",
    ),
    "LocalKubernetes": Entry(
        platform="local",
        summary="Objects in a namespace of a Kubernetes cluster, reached by this machine's kubeconfig or a secret's",
        module="local.kubernetes",
        ids=_KUBERNETES_IDS,
        needs_one_of=(("namespace",), ("context",), _WORKLOADS),
        metadata={**_KUBERNETES, **MACHINE},
        place="local",
        remote_with="kubeconfig_secret",
    ),
    "LocalHypervisor": Entry(
        platform="local",
        summary="A Cloud Hypervisor machine: its API socket, process, disks and network devices",
        module="local.hypervisor",
        ids={
            "vm_id": NAME,
            # unix(7): 108 bytes with the one that ends it.
            "api_socket": Form(
                r"(?!.{108})" + _path(r"\.sock(?:et)?"), "/run/blueprints/vm-1.sock", kind="hypervisor:vm", guard="file"
            ),
            # Never 0 or 1: the process group, and init.
            "pid": Form("[2-9]|[1-9][0-9]{1,6}", "4242", kind="hypervisor:process"),
            "disk_image": Form(
                _path(r"\.(?:raw|img|qcow2|vhdx?)"),
                "/var/lib/blueprints/vm-1.qcow2",
                kind="hypervisor:disk",
                many=True,
                guard="file",
            ),
            # Linux: IFNAMSIZ, 15 characters.
            "tap_device": Form("[A-Za-z0-9][A-Za-z0-9_-]{0,14}", "tap0", kind="hypervisor:tap", many=True),
        },
        needs_one_of=(("vm_id",), ("api_socket", "pid")),
        metadata={
            **COMMON,
            **MACHINE,
            # proc(5): field 22 of /proc/<pid>/stat, in clock ticks since boot; and what /proc/<pid>/exe leads to.
            "process_start_time": Form(_NUMBER, "123456"),
            "executable": Form(_path(""), "/usr/bin/cloud-hypervisor"),
        },
        place="local",
    ),
    "AwsEc2": Entry(
        platform="aws",
        summary="An EC2 instance, with its addresses, volumes, security groups and key pairs",
        module="aws.ec2",
        ids=_machine(
            _aws("i", "aws:instance"),
            elastic_ip=_aws("eipalloc", "aws:address", many=True),
            ebs_volume=_aws("vol", "aws:volume", many=True),
            security_group=_aws("sg", "aws:security_group", many=True),
            key_pair=_aws("key", "aws:key_pair", many=True),
        ),
        needs_one_of=(("instance_id",),),
        metadata=_AWS,
        needs_region=True,
        region=_AWS_REGION,
    ),
    "GcpGce": Entry(
        platform="gcp",
        summary="A Compute Engine instance in the zone that is the record's region, with its disks and addresses",
        module="gcp.gce",
        ids={
            # Google's discovery document, compute.instances.get: a name, or the number.
            **_machine(Form(f"{_GCP_NAME}|[1-9][0-9]{{0,19}}", "blueprint-1")),
            "instance_name": Form(_GCP_NAME, "blueprint-1", kind="gcp:instance"),
            "disk": Form(_GCP_NAME, "blueprint-1-data", kind="gcp:disk", many=True),
            "address": Form(_GCP_NAME, "blueprint-1-ip", kind="gcp:address", many=True),
            "firewall": Form(_GCP_NAME, "blueprint-1-allow", kind="gcp:firewall", many=True),
        },
        needs_one_of=(("instance_name",),),
        metadata=_GCP,
        needs_metadata=(("project_id", "account"),),
        needs_region=True,
        region=_GCP_ZONE,
    ),
    "AzureVm": Entry(
        platform="azure",
        summary="A virtual machine, with its interfaces, public addresses, disks and security groups",
        module="azure.vm",
        ids=_machine(
            _azure("Microsoft.Compute/virtualMachines", "vm-1", "azure:vm"),
            disk=_azure("Microsoft.Compute/disks", "vm-1-os", "azure:disk", many=True),
            nic=_azure("Microsoft.Network/networkInterfaces", "vm-1-nic", "azure:nic", many=True),
            public_ip_address=_azure("Microsoft.Network/publicIPAddresses", "vm-1-ip", "azure:public_ip", many=True),
            security_group=_azure(
                "Microsoft.Network/networkSecurityGroups", "vm-1-nsg", "azure:security_group", many=True
            ),
        ),
        needs_one_of=(("instance_id",),),
        metadata=_AZURE,
    ),
    "DigitalOceanDroplet": Entry(
        platform="digitalocean",
        summary="A droplet, with its volumes and reserved addresses",
        module="digitalocean.droplet",
        ids=_machine(
            _number("digitalocean:droplet"),
            volume=_uuid("digitalocean:volume", many=True),
            reserved_ip=_ipv4("digitalocean:reserved_ip"),
        ),
        needs_one_of=(("instance_id",),),
        metadata=COMMON,
    ),
    "VultrInstance": Entry(
        platform="vultr",
        summary="An instance, with its block storage and reserved addresses",
        module="vultr.instance",
        ids=_machine(
            _uuid("vultr:instance"),
            block=_uuid("vultr:block", many=True),
            reserved_ip=_uuid("vultr:reserved_ip", many=True),
        ),
        needs_one_of=(("instance_id",),),
        metadata=_VULTR,
    ),
    "AwsEks": Entry(
        platform="aws",
        summary="An EKS cluster, with its node groups and Fargate profiles",
        module="aws.eks",
        # EKS' API reference, CreateCluster and CreateNodegroup.
        ids={
            "cluster_name": Form(f"{_EKS_NAME}{{0,99}}", "blueprints", kind="aws:eks_cluster"),
            "nodegroup": Form(f"{_EKS_NAME}{{0,62}}", "blueprints-1", kind="aws:eks_nodegroup", many=True),
            "fargate_profile": Form(f"{_EKS_NAME}{{0,99}}", "fp-1", kind="aws:eks_fargate_profile", many=True),
        },
        needs_one_of=(("cluster_name",),),
        metadata=_AWS,
        needs_region=True,
        region=_AWS_REGION,
        cluster=True,
    ),
    "GcpGke": Entry(
        platform="gcp",
        summary="A GKE cluster in the region or zone that the record names; its node pools go with it",
        module="gcp.gke",
        ids={"cluster_name": Form("[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?", "blueprints", kind="gcp:cluster")},
        needs_one_of=(("cluster_name",),),
        metadata=_GCP,
        needs_metadata=(("project_id", "account"),),
        needs_region=True,
        region=_GCP_LOCATION,
        cluster=True,
    ),
    "AzureAks": Entry(
        platform="azure",
        summary="An AKS cluster in a resource group; the group of its nodes goes with it",
        module="azure.aks",
        ids={
            "cluster_name": Form("[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?", "blueprints", kind="azure:cluster")
        },
        needs_one_of=(("cluster_name",),),
        metadata={**_AZURE, "resource_group": Form(_NO_DOTS + _AZURE_GROUP, "blueprints")},
        needs_metadata=(("resource_group",), ("subscription_id", "account")),
        cluster=True,
    ),
    "DigitalOceanDoks": Entry(
        platform="digitalocean",
        summary="A DOKS cluster, with its load balancers, volumes and snapshots",
        module="digitalocean.doks",
        ids={
            "cluster_id": _uuid("digitalocean:cluster"),
            "cluster_name": NAME,
            "load_balancer": _uuid("digitalocean:load_balancer", many=True),
            "volume": _uuid("digitalocean:volume", many=True),
            "volume_snapshot": _uuid("digitalocean:volume_snapshot", many=True),
        },
        needs_one_of=(("cluster_id",),),
        metadata=COMMON,
        cluster=True,
    ),
    "VultrVke": Entry(
        platform="vultr",
        summary="A VKE cluster, with its block storage and load balancers",
        module="vultr.vke",
        ids={
            "cluster_id": _uuid("vultr:cluster"),
            "cluster_name": NAME,
            "block": _uuid("vultr:block", many=True),
            "load_balancer": _uuid("vultr:load_balancer", many=True),
        },
        needs_one_of=(("cluster_id",),),
        metadata=_VULTR,
        cluster=True,
    ),
    "LambdaLabsInstance": Entry(
        platform="gpu",
        summary="An instance at Lambda",
        ids=_machine(Form("[0-9a-f]{32}", "0920582c7ff041399e34823a0be62549", kind="lambdalabs:instance")),
        needs_one_of=(("instance_id",),),
        metadata=COMMON,
    ),
    "RunPodInstance": Entry(
        platform="gpu",
        summary="A pod at RunPod, with its network volumes",
        ids=_machine(
            _opaque("runpod:pod", "xedezhzb9la3ye"),
            network_volume=_opaque("runpod:network_volume", "agv6w2qcg7", many=True),
        ),
        needs_one_of=(("instance_id",),),
        metadata=COMMON,
    ),
    "VastAiInstance": Entry(
        platform="gpu",
        summary="An instance at Vast.ai, with its volumes",
        module="gpu.vast_ai",
        ids=_machine(_number("vastai:instance"), volume=_number("vastai:volume", many=True)),
        needs_one_of=(("instance_id",),),
        metadata=COMMON,
    ),
    "CoreWeaveWorkload": Entry(
        platform="gpu",
        summary="Objects in a tenant's namespace of a CoreWeave cluster",
        # `instance_id` is the Rust tracker's own slot, nothing at CoreWeave.
        ids={**_machine(NAME), **_KUBERNETES_IDS},
        needs_one_of=(("namespace",), _WORKLOADS),
        metadata=_KUBERNETES,
        needs_metadata=(("kubeconfig_secret", "credential"),),
    ),
    "PaperspaceMachine": Entry(
        platform="gpu",
        summary="A machine at Paperspace, with its addresses, snapshots and shared drives",
        ids=_machine(
            _opaque("paperspace:machine", "psvrgw1s5yoo"),
            static_ip=_ipv4("paperspace:public_ip"),
            snapshot=_opaque("paperspace:snapshot", "sn4f7a2c", many=True),
            shared_drive=_opaque("paperspace:shared_drive", "sd4f7a2c", many=True),
        ),
        needs_one_of=(("instance_id",),),
        metadata=COMMON,
    ),
    "FluidstackServer": Entry(
        platform="gpu",
        summary="A server at Fluidstack",
        ids=_machine(_opaque("fluidstack:server", _UUID_EXAMPLE)),
        needs_one_of=(("instance_id",),),
        metadata={**COMMON, "project_id": Form(_UUID, _UUID_EXAMPLE)},
    ),
    "TensorDockServer": Entry(
        platform="gpu",
        summary="An instance at TensorDock",
        ids=_machine(_uuid("tensordock:server")),
        needs_one_of=(("instance_id",),),
        metadata=COMMON,
    ),
    "AkashLease": Entry(
        platform="gpu",
        summary="A deployment on Akash, closed by its dseq",
        # dseq, or the Rust tracker's dseq/gseq/oseq.
        ids=_machine(
            Form(rf"{_NUMBER}(?:/[1-9][0-9]{{0,9}}/[1-9][0-9]{{0,9}})?", "18237654/1/1", kind="akash:deployment")
        ),
        needs_one_of=(("instance_id",),),
        metadata={**COMMON, "owner": Form("akash1[0-9a-z]{38}", "akash1" + "q" * 38)},
    ),
    "IoNetCluster": Entry(
        platform="gpu",
        summary="A deployment at io.net",
        ids=_machine(_uuid("ionet:deployment")),
        needs_one_of=(("instance_id",),),
        metadata=COMMON,
    ),
    "PrimeIntellectPod": Entry(
        platform="gpu",
        summary="A pod at Prime Intellect, with its disks",
        ids=_machine(
            _opaque("primeintellect:pod", "cm3k2v9xq0001"),
            disk=_opaque("primeintellect:disk", "cm3k2v9xq0002", many=True),
        ),
        needs_one_of=(("instance_id",),),
        metadata=COMMON,
    ),
    "RenderDispersedNode": Entry(
        platform="gpu",
        summary="A job on Render's dispersed nodes",
        ids=_machine(_uuid("render:job")),
        needs_one_of=(("instance_id",),),
        metadata=COMMON,
    ),
    "BittensorLiumMiner": Entry(
        platform="gpu",
        summary="A pod at Lium, with its volumes",
        ids=_machine(_uuid("lium:pod"), volume=_uuid("lium:volume", many=True)),
        needs_one_of=(("instance_id",),),
        metadata=COMMON,
    ),
    "HetznerServer": Entry(
        platform="hetzner",
        summary="A server at Hetzner, with its volumes and addresses",
        ids=_machine(
            _number("hetzner:server"),
            volume=_number("hetzner:volume", many=True),
            primary_ip=_number("hetzner:primary_ip", many=True),
            floating_ip=_number("hetzner:floating_ip", many=True),
        ),
        needs_one_of=(("instance_id",),),
        metadata=COMMON,
    ),
    "CrusoeVm": Entry(
        platform="crusoe",
        summary="A virtual machine in a project at Crusoe, with its disks",
        ids=_machine(_uuid("crusoe:vm"), disk=_uuid("crusoe:disk", many=True)),
        needs_one_of=(("instance_id",),),
        metadata={**COMMON, "project_id": Form(_UUID, _UUID_EXAMPLE)},
        needs_metadata=(("project_id", "account"),),
    ),
    "SshRemote": Entry(
        platform="ssh",
        summary="Containers or services on a machine reached by SSH; the machine itself stays",
        module="ssh.remote",
        ids=_SSH_IDS,
        needs_one_of=(("container_id", "unit"),),
        metadata=_SSH,
        needs_metadata=(("ssh_host",), ("ssh_user",)),
    ),
    "BareMetal": Entry(
        platform="ssh",
        summary="Containers, services and installed files on a machine of one's own, reached by SSH; the machine itself stays",
        module="ssh.bare_metal",
        # Files and folders that were installed, below folders that the settings allow; never what is at the top of a system.
        ids={
            **_SSH_IDS,
            "file": Form(
                rf"(?=(?:/[^/]+){{3}}){_path('')}", "/opt/blueprints/bp-1", kind="ssh:file", many=True, guard="file"
            ),
        },
        needs_one_of=(("container_id", "unit", "file"),),
        metadata=_SSH,
        needs_metadata=(("ssh_host",), ("ssh_user",)),
    ),
}
