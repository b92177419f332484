"""The words in which a deployment type is described: its entry, and the forms of ids and metadata values."""

import re
from collections.abc import Iterator
from typing import Literal

import msgspec

from tracker.model.deployment import Deployment, ids_named

Guard = Literal["secret", "key_file", "endpoint", "host", "role", "file", "tap_device", "webhook_secret"]
MarkedBy = Literal["tag", "label", "name"]
# The key of tags and labels, where the platform allows capital letters.
MARK_KEY = "BlueprintDeployment"


class Form(msgspec.Struct, frozen=True):
    """The form of an id or of a metadata value: `pattern` must match the whole value, `example` is one that it matches.

    `many` allows a list of values. `kind` is the kind of resource that an id names; it is empty for an id that only informs,
    such as a public address. `guard` names the list of allowed patterns in the settings, one of which must match the value as
    well, unless the value is `unguarded`.
    """

    pattern: str
    example: str
    kind: str = ""
    many: bool = False
    guard: Guard | None = None
    unguarded: str = ""

    def matches(self, value: str) -> bool:
        """Return whether the whole value has this form."""
        return re.fullmatch(self.pattern, value, re.ASCII) is not None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment type.

    `platform` is the name for which brakes and accounts are set. `module` is the file that cleans the type up, below
    `tracker.cleanup.providers`; a type without one is refused at registration.

    `ids` are the keys of `resource_ids` that the type knows. `needs_one_of` lists groups of them: a record must have at least
    one id of each group. `metadata` and `needs_metadata` say the same of metadata. `needs_region` demands the record's region,
    which has the form `region`.

    `marked_by` says how the deployment's mark is put on what is made for it, and `mark_key` is the key of the tag or label; it ends with ":"
    where tags have no keys, and begins them. A type without `marked_by` can't be looked for by a mark (`model/marks.py`).

    `place` is "local" for a type that runs on the machine of the stack. If the record has the metadata key `remote_with`, the
    deployment is on another machine, unless the value is the URL of a unix socket.
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
    marked_by: MarkedBy | None = None
    mark_key: str = MARK_KEY

    def named(self, deployment: Deployment) -> Iterator[tuple[str, str, str]]:
        """Yield (key, kind, id) for every id of a resource that the record names, or has ever named."""
        for key, form in self.ids.items():
            if form.kind:
                for id_ in ids_named(deployment, key):
                    yield key, form.kind, id_

    def kind_of(self, key: str) -> str:
        """Return the kind of resource that an id key names; empty if it names none. KeyError if the type has no such key."""
        return self.ids[key].kind

    def form_of(self, kind: str) -> Form:
        """Return the form of the ids of a kind. KeyError if no id key of the type names that kind."""
        for form in self.ids.values():
            if form.kind == kind:
                return form
        raise KeyError(kind)
