"""Keys as segments of a path: as they are, or as `~` and base64url if a gateway would misroute them (docs/api.md)."""

import base64
import re
from urllib.parse import quote

_PLAIN = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)


def encode_key(key: str) -> str:
    """Return a key as one segment of a path."""
    # "." and ".." are segments of their own, which clients and gateways resolve.
    if _PLAIN.fullmatch(key) and key.strip("."):
        return key
    return "~" + base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def path_of(key: str, *more: str, collection: str = "deployments") -> str:
    """Return the path of a deployment, or of what is below it: `path_of("a/b", "plan")`."""
    return "/".join(["", collection, encode_key(key), *(quote(part, safe="") for part in more)])
