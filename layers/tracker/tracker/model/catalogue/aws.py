"""The deployment types on AWS.

Source: EC2's API reference, whose resource ids have 8 or 17 hexadecimal digits.
"""

from tracker.model.catalogue.forms import COMMON, NO_DOTS, machine
from tracker.model.catalogue.vocabulary import Entry, Form

_REGION = Form(r"[a-z]{2,4}(?:-[a-z]{3,12}){1,3}-[0-9]{1,2}", "eu-central-1")
_METADATA = {
    **COMMON,
    "account": Form("[0-9]{12}", "123456789012"),
    # IAM: paths and names of roles; STS, AssumeRole: the external id.
    "role": Form(
        NO_DOTS + r"arn:aws[a-z-]{0,16}:iam::[0-9]{12}:role/(?:[A-Za-z0-9_+=,.@-]+/){0,16}[A-Za-z0-9_+=,.@-]{1,64}",
        "arn:aws:iam::123456789012:role/cleanup",
        guard="role",
    ),
    "external_id": Form(r"[A-Za-z0-9_+=,.@:/-]{2,1224}", "tracker-7f3a"),
}
_EKS_NAME = "[0-9A-Za-z][0-9A-Za-z_-]"


def _id(prefix: str, kind: str, *, many: bool = False) -> Form:
    return Form(f"{prefix}-[0-9a-f]{{8,17}}", f"{prefix}-0123456789abcdef0", kind=kind, many=many)


ENTRIES = {
    "AwsEc2": Entry(
        platform="aws",
        marked_by="tag",
        summary="An EC2 instance, with its addresses, volumes, security groups and key pairs",
        module="aws.ec2",
        ids=machine(
            _id("i", "aws:instance"),
            elastic_ip=_id("eipalloc", "aws:address", many=True),
            ebs_volume=_id("vol", "aws:volume", many=True),
            security_group=_id("sg", "aws:security_group", many=True),
            key_pair=_id("key", "aws:key_pair", many=True),
        ),
        needs_one_of=(("instance_id",),),
        metadata=_METADATA,
        needs_region=True,
        region=_REGION,
    ),
    "AwsEks": Entry(
        platform="aws",
        marked_by="tag",
        summary="An EKS cluster, with its node groups and Fargate profiles",
        module="aws.eks",
        # EKS' API reference, CreateCluster and CreateNodegroup.
        ids={
            "cluster_name": Form(f"{_EKS_NAME}{{0,99}}", "blueprints", kind="aws:eks_cluster"),
            "nodegroup": Form(f"{_EKS_NAME}{{0,62}}", "blueprints-1", kind="aws:eks_nodegroup", many=True),
            "fargate_profile": Form(f"{_EKS_NAME}{{0,99}}", "fp-1", kind="aws:eks_fargate_profile", many=True),
        },
        needs_one_of=(("cluster_name",),),
        metadata=_METADATA,
        needs_region=True,
        region=_REGION,
        cluster=True,
    ),
}
