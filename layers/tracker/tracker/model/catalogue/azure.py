"""The deployment types on Azure.

An id is the whole resource id. Azure ignores its case; of "resourceGroups", two spellings are in use. Source: "Naming rules and
restrictions for Azure resources". It allows parentheses in a group's name, and letters beyond ASCII, which aren't taken here.
"""

import re

from tracker.model.catalogue.forms import COMMON, NO_DOTS, UUID, UUID_EXAMPLE, machine
from tracker.model.catalogue.vocabulary import Entry, Form

_NAME = "[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,88}[A-Za-z0-9_-])?"
_GROUP = "[A-Za-z0-9_(](?:[A-Za-z0-9._()-]{0,88}[A-Za-z0-9_()-])?"
_METADATA = {**COMMON, "account": Form(UUID, UUID_EXAMPLE), "subscription_id": Form(UUID, UUID_EXAMPLE)}


def _id(type_: str, name: str, kind: str, *, many: bool = False) -> Form:
    group = f"/subscriptions/{UUID}/resource[Gg]roups/{_GROUP}"
    return Form(
        f"{NO_DOTS}{group}/providers/{re.escape(type_)}/{_NAME}",
        f"/subscriptions/{UUID_EXAMPLE}/resourceGroups/blueprints/providers/{type_}/{name}",
        kind=kind,
        many=many,
    )


ENTRIES = {
    "AzureVm": Entry(
        platform="azure",
        summary="A virtual machine, with its interfaces, public addresses, disks and security groups",
        module="azure.vm",
        ids=machine(
            _id("Microsoft.Compute/virtualMachines", "vm-1", "azure:vm"),
            disk=_id("Microsoft.Compute/disks", "vm-1-os", "azure:disk", many=True),
            nic=_id("Microsoft.Network/networkInterfaces", "vm-1-nic", "azure:nic", many=True),
            public_ip_address=_id("Microsoft.Network/publicIPAddresses", "vm-1-ip", "azure:public_ip", many=True),
            security_group=_id(
                "Microsoft.Network/networkSecurityGroups", "vm-1-nsg", "azure:security_group", many=True
            ),
        ),
        needs_one_of=(("instance_id",),),
        metadata=_METADATA,
        marked_by="tag",
    ),
    "AzureAks": Entry(
        platform="azure",
        summary="An AKS cluster in a resource group; the group of its nodes goes with it",
        module="azure.aks",
        ids={
            "cluster_name": Form("[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?", "blueprints", kind="azure:cluster")
        },
        needs_one_of=(("cluster_name",),),
        metadata={**_METADATA, "resource_group": Form(NO_DOTS + _GROUP, "blueprints")},
        needs_metadata=(("resource_group",), ("subscription_id", "account")),
        cluster=True,
        marked_by="tag",
    ),
}
