"""The mark of a deployment: by it, what was made for the deployment is found, though no record names it.

Where a platform has tags or labels, the mark is one of them, with the generation as its value; elsewhere it is the beginning of a name.
"""

import re
from collections.abc import Iterable

import msgspec

from tracker.model.catalogue import Entry, entry, missing
from tracker.model.catalogue.vocabulary import MarkedBy
from tracker.model.deployment import Deployment, Resource

NAME_PREFIX = "bp-"
NAME_DIGITS = 12
# The kind of a receipt's line about the mark itself: it is no thing, and says what a look for the mark showed.
MARK_KIND = "mark"
_GENERATION = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


class Mark(msgspec.Struct, frozen=True):
    """The mark that callers put on the things that they make: a tag or a label `key` with `value`, or a name that begins with `value`.

    `key` is empty for a name, and for a tag of a platform whose tags have no keys: there the whole tag is `value`.
    """

    by: MarkedBy
    key: str
    value: str

    @property
    def text(self) -> str:
        """The mark in one word, as a receipt names it."""
        return f"{self.key}={self.value}" if self.key else self.value


def mark_of(type_: Entry, generation: str) -> Mark | None:
    """Return the mark of a generation on things of a type, None if the type's things can't be marked."""
    match type_.marked_by:
        case None:
            return None
        case "name":
            return Mark("name", "", name_prefix(generation))
        case by if type_.mark_key.endswith(":"):
            return Mark(by, "", type_.mark_key + generation)
        case by:
            return Mark(by, type_.mark_key, generation)


def name_prefix(generation: str) -> str:
    """Return the beginning of a name that marks a thing: `bp-` and the generation's first 12 hex digits."""
    return NAME_PREFIX + first_digits(generation)


def mark_in_tags(type_: Entry, tags: dict[str, str]) -> str | None:
    """Return the generation that tags or labels with keys name, None if they name none."""
    return _generation(tags.get(type_.mark_key))


def mark_in_words(type_: Entry, tags: list[str]) -> str | None:
    """Return the generation that a list of tags without keys names, None if it names none."""
    found = (_generation(tag.removeprefix(type_.mark_key)) for tag in tags if tag.startswith(type_.mark_key))
    return next(filter(None, found), None)


def mark_in_name(name: str | None) -> str | None:
    """Return the first 12 hex digits of the generation that a name begins with, None if it begins with none."""
    found = re.match(rf"{NAME_PREFIX}([0-9a-f]{{{NAME_DIGITS}}})(?![0-9a-f])", name or "", re.ASCII)
    return found[1] if found else None


def first_digits(mark: str) -> str:
    """Return the first 12 hex digits of a generation, or of a mark that may have no more."""
    return mark.replace("-", "")[:NAME_DIGITS]


def is_mark_of(mark: str, generation: str) -> bool:
    """Return whether a mark's value, whole or the first digits, is that of a generation."""
    return mark in (generation, first_digits(generation))


def without_mark_line(deployment: Deployment) -> Deployment:
    """Return a deployment with the things alone among its resources."""
    things = [resource for resource in deployment.resources if resource.kind != MARK_KIND]
    return msgspec.structs.replace(deployment, resources=things)


def with_marked(deployment: Deployment, found: Iterable[Resource]) -> Deployment:
    """Return a deployment with the resources that were found by its mark; `named_by` is the key of `resource_ids` that would name one.

    All of them are on its list, and count as named. Only ids that its type needs and the record lacks go into `resource_ids`, so that
    whoever made the things can still hand in all their ids.
    """
    by_key = {resource.key: resource for resource in found}
    known = [by_key.pop(resource.key, resource) for resource in deployment.resources]
    ids = dict(deployment.resource_ids)
    resources = [*known, *by_key.values()]
    type_ = entry(deployment.deployment_type)
    for group in type_.needs_one_of:
        for resource in resources:
            key = resource.named_by
            if key in group and not any(each in ids for each in group):
                ids[key] = [resource.id] if type_.ids[key].many else resource.id
    new = msgspec.structs.replace(deployment, resource_ids=ids, resources=resources)
    return msgspec.structs.replace(new, incomplete=bool(missing(new)))


def _generation(text: str | None) -> str | None:
    return text if text is not None and re.fullmatch(_GENERATION, text, re.ASCII) else None
