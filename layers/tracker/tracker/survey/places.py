"""The places that a survey looks at: those of the records that are kept, those of the strays, and those that an operator names.

Called once an hour. Of the records it holds no more than a page and the digest of each place, however many there are.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
from aws_lambda_powertools import Logger

from tracker.intake.shapes import convert, describe
from tracker.model.catalogue import CATALOGUE
from tracker.model.deployment import STATUSES
from tracker.model.errors import Invalid, Problem
from tracker.model.places import Place
from tracker.store.strays import STATUS, Line, Strays
from tracker.store.table import UnreadableError

logger = Logger(child=True)


class NamedPlace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A place as an operator writes it in SurveyPlaces."""

    deployment_type: str
    region: str | None = None
    metadata: dict[str, str] = {}


def recorded(strays: Strays) -> Iterator[Place]:
    """Yield each place of a record or a stray once, by one pass over the index.

    The index tells places apart; what a place is, is read of the first record of each.
    """
    known: set[str] = set()
    yielded: set[str] = set()
    for line in strays.lines(*STATUSES, STATUS):
        # An older record's line has no digest: such records of a type and region count as one place until they are written again.
        place_mark = line.place or f"{line.deployment_type} {line.region}"
        if place_mark in known or not is_surveyed(line.deployment_type):
            continue
        place = _read(strays, line)
        if place is None:
            continue
        known.add(place_mark)
        if place.digest not in yielded:
            yielded.add(place.digest)
            yield place


def named(values: Any) -> tuple[list[Place], list[Problem]]:
    """Return the places that an operator named, and an error for each that can't be one. Each error names the field."""
    if not isinstance(values, list):
        return [], [Invalid("SurveyPlaces", describe(values), "an array of places", malformed=True)]
    found: list[Place] = []
    errors: list[Problem] = []
    for number, value in enumerate(values):
        field = f"SurveyPlaces[{number}]"
        try:
            wanted = convert(value, NamedPlace, whole=field)
            if not is_surveyed(wanted.deployment_type):
                able = ", ".join(name for name in CATALOGUE if is_surveyed(name))
                raise Invalid(
                    "deployment_type", wanted.deployment_type, f"a type that is looked for by its mark: {able}"
                )
        except Invalid as invalid:
            errors.append(_of(field, invalid))
        else:
            place = Place(wanted.deployment_type, wanted.region, wanted.metadata)
            if place not in found:
                found.append(place)
    return found, errors


def is_surveyed(deployment_type: str) -> bool:
    """Return whether what is of a type carries a mark by which it can be found."""
    type_ = CATALOGUE.get(deployment_type)
    return type_ is not None and type_.marked_by is not None and type_.module is not None


def _read(strays: Strays, line: Line) -> Place | None:
    """Return a line's place, None if it has gone since, or its record can't be read."""
    try:
        return strays.place(line)
    except UnreadableError:
        logger.exception("a record's place can't be read", extra={"blueprint_id": line.key})
        return None


def _of(field: str, invalid: Invalid) -> Invalid:
    """Return an error with the whole name of its field."""
    name = field if invalid.field == field else f"{field}.{invalid.field}"
    return Invalid(name, invalid.details["got"], invalid.details["expected"])
