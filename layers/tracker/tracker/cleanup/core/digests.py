"""The digest of a plan: what goes and what is kept, as a text that a caller hands back to say which plan was approved.

Pure. It holds a hash for each resource, so that what changed since can be named without keeping the plan. It says nothing of states and
times, so that it is the same at each look. Used by plans (to show it) and rounds (to keep to it).
"""

import base64
import hashlib

import msgspec

from tracker.model.deployment import Resource

# Characters of a resource's hash: 60 bits.
LENGTH = 10
GOES = "delete"
STAYS = "keep"
# The digest of a plan by which nothing goes or is kept: an empty one would read like no plan at all, by which anything may go.
NOTHING = "-" * LENGTH

# Where each discovered resource is, by its key.
type Places = dict[tuple[str, str], dict[str, str]]


def digest_of(resources: list[Resource], places: Places) -> str:
    """Return the digest of a plan."""
    return "".join(sorted(_lines(resources, places))) or NOTHING


def changed_since(digest: str, resources: list[Resource], places: Places) -> list[str]:
    """Return what is different from the plan of a digest, a sentence each; empty if nothing is."""
    approved = _hashes(digest)
    lines = _lines(resources, places)
    changes = [f"now it would {text}" for hash_, text in lines.items() if hash_ not in approved]
    lost = approved - lines.keys()
    known = {
        _hash(r, places.get(r.key, {}), what): f"{what} {r.kind} {r.id}" for r in resources for what in (GOES, STAYS)
    }
    changes += [f"it wouldn't {known[hash_]} any more" for hash_ in sorted(lost & known.keys())]
    if others := len(lost - known.keys()):
        changes.append(f"{others} of the plan's resources aren't found any more, or are elsewhere")
    return changes


def not_approved(digest: str, resources: list[Resource], places: Places) -> list[str]:
    """Return what would be deleted now and wasn't in the plan of a digest. What is only still to be seen gone was in it."""
    approved = _hashes(digest)
    return [
        f"{each.kind} {each.id}"
        for each in resources
        if not each.is_done and each.key in places and _hash(each, places[each.key], GOES) not in approved
    ]


def _lines(resources: list[Resource], places: Places) -> dict[str, str]:
    """Return a sentence for the hash of each resource that isn't gone."""
    found = {}
    for each in resources:
        if each.state != "gone":
            what = STAYS if each.state == "kept" else GOES
            found[_hash(each, places.get(each.key, {}), what)] = f"{what} {each.kind} {each.id}"
    return found


def _hash(resource: Resource, place: dict[str, str], what: str) -> str:
    text = msgspec.json.encode([resource.kind, resource.id, sorted(place.items()), what])
    return base64.urlsafe_b64encode(hashlib.sha256(text).digest()).decode()[:LENGTH]


def _hashes(digest: str) -> set[str]:
    return {digest[n : n + LENGTH] for n in range(0, len(digest), LENGTH)} - {NOTHING}
