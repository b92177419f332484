"""Answers of a provider, changed: without a member, with another value, with members that no document has.

Used by the tests of whole cleanups in which the provider answers so.
"""

from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

from tests.cleanup.rest_target import Account
from tests.standin import Reply, Request

# What of an answer is a map with keys of anyone's choice. Without its labels a main resource isn't the deployment's.
MAPS = {"labels", "resourceLabels", "tags"}

type Members = tuple[str, ...]


def members(body: Any, before: Members = ()) -> Iterator[Members]:
    """Yield the way to every member of a JSON text; a star stands for each item of a list."""
    if isinstance(body, dict):
        for name, value in body.items():
            yield (*before, name)
            yield from members(value, (*before, name))
    elif isinstance(body, list):
        yield from {way: None for item in body for way in members(item, (*before, "*"))}


def without(body: Any, way: Members) -> Any:
    """Return a JSON text without a member."""
    name, *rest = way
    if name == "*" and isinstance(body, list):
        return [without(item, tuple(rest)) for item in body]
    if not isinstance(body, dict) or name not in body:
        return body
    if not rest:
        return {key: value for key, value in body.items() if key != name}
    return body | {name: without(body[name], tuple(rest))}


def with_value(body: Any, way: Members, value: Any) -> Any:
    """Return a JSON text in which a member has another value."""
    name, *rest = way
    if name == "*" and isinstance(body, list):
        return [with_value(item, tuple(rest), value) for item in body]
    if not isinstance(body, dict) or name not in body:
        return body
    return body | {name: with_value(body[name], tuple(rest), value) if rest else value}


def with_unknown(body: Any) -> Any:
    """Return a JSON text with members in all of its objects that no document has."""
    if isinstance(body, list):
        return [with_unknown(item) for item in body]
    if not isinstance(body, dict):
        return body
    if all(isinstance(value, dict) for value in body.values()) and any("/" in key for key in body):
        return {key: with_unknown(value) for key, value in body.items()}
    return {"a_new_member": {"of": ["a", "later", "version"]}} | {
        key: value if key in MAPS else with_unknown(value) for key, value in body.items()
    }


def changing(server: Account, change: Callable[[Any], Any]) -> Callable[[Request], Reply]:
    """Return what answers a call as ever, but for that change of the body."""

    def answer(call: Request) -> Reply:
        reply = server.handle(call)
        is_success = reply.status < HTTPStatus.MULTIPLE_CHOICES
        return Reply(reply.status, change(reply.body), reply.headers) if is_success else reply

    return answer


def in_turn(replies: list[Reply]) -> Callable[[Request], Reply]:
    """Return what answers calls with these, one after the other."""
    left = iter(replies)
    return lambda _: next(left)
