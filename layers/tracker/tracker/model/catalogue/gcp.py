"""The deployment types on Google Cloud.

Resource names are RFC 1035 labels. A project id has 6 to 30 characters; an old one begins with its domain.
"""

from tracker.model.catalogue.forms import COMMON, machine
from tracker.model.catalogue.vocabulary import Entry, Form

_NAME = "[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"
_PROJECT = Form(r"(?:[a-z0-9-]+(?:\.[a-z0-9-]+)+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]", "my-project-1")
_METADATA = {**COMMON, "account": _PROJECT, "project_id": _PROJECT}
# A key begins with a lower case letter, and has no capitals.
_MARK_KEY = "blueprint-deployment"
# "AI zones" have names such as us-central1-ai1a.
_ZONE = Form("[a-z]{2,16}-[a-z]{3,16}[0-9]{1,2}-(?:ai[0-9])?[a-z]", "europe-west1-b")
_LOCATION = Form("[a-z]{2,16}-[a-z]{3,16}[0-9]{1,2}(?:-(?:ai[0-9])?[a-z])?", "europe-west1")

ENTRIES = {
    "GcpGce": Entry(
        platform="gcp",
        summary="A Compute Engine instance in the zone that is the record's region, with its disks and addresses",
        module="gcp.gce",
        ids={
            # Google's discovery document, compute.instances.get: a name, or the number.
            **machine(Form(f"{_NAME}|[1-9][0-9]{{0,19}}", "blueprint-1")),
            "instance_name": Form(_NAME, "blueprint-1", kind="gcp:instance"),
            "disk": Form(_NAME, "blueprint-1-data", kind="gcp:disk", many=True),
            "address": Form(_NAME, "blueprint-1-ip", kind="gcp:address", many=True),
            "firewall": Form(_NAME, "blueprint-1-allow", kind="gcp:firewall", many=True),
        },
        needs_one_of=(("instance_name",),),
        metadata=_METADATA,
        marked_by="label",
        mark_key=_MARK_KEY,
        needs_metadata=(("project_id", "account"),),
        needs_region=True,
        region=_ZONE,
    ),
    "GcpGke": Entry(
        platform="gcp",
        summary="A GKE cluster in the region or zone that the record names; its node pools go with it",
        module="gcp.gke",
        ids={"cluster_name": Form("[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?", "blueprints", kind="gcp:cluster")},
        needs_one_of=(("cluster_name",),),
        metadata=_METADATA,
        marked_by="label",
        mark_key=_MARK_KEY,
        needs_metadata=(("project_id", "account"),),
        needs_region=True,
        region=_LOCATION,
        cluster=True,
    ),
}
