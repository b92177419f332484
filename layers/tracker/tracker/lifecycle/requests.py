"""The transitions that callers request: register, amend, terminate, forget. Called by the functions behind the API and the events."""

from collections.abc import Callable
from datetime import datetime
from typing import Literal

import msgspec

from tracker.lifecycle.base import TRIES, Fact, Transitions, check_live, contended
from tracker.model import moments
from tracker.model.catalogue import entry
from tracker.model.deployment import (
    Deployment,
    Resource,
    adds_ids_only,
    cleanup_failed,
    clipped,
    expiry,
    format_time,
    only_adding,
    parse_time,
)
from tracker.model.errors import Conflict, Invalid, PlanChanged, Problem
from tracker.model.places import place_of
from tracker.store.table import VersionConflict

# The reason of a round that begins after the end, for ids that were handed in then.
LATE_ID = "late_id"


class Stale(Problem):
    """The event says that it is older than the registration that it finds, which was taken at `taken_at` by our own clock.

    `taken_at` is None if nothing depends on it, since what it finds doesn't live any more.
    """

    status = 409
    code = "stale"
    taken_at: datetime | None = None


class TooEarly(Problem):
    """The event may be for a registration that is still to come."""

    status = 404
    code = "too_early"


class RequestTransitions(Transitions):
    """The transitions that callers request."""

    def register(self, wanted: Deployment) -> tuple[Deployment, bool]:
        """Register a deployment. Return its record, and True if it is new or False if the same request came before.

        Conflict, with the record that is there, if the key is taken.
        """
        new = self._with_facts(self._timed(wanted), [("registered", {"by": clipped(wanted.registered_by, 256)})])
        over: Deployment | None = None
        has_moved = False
        for _ in range(TRIES):
            try:
                self._records.create(new, over=over, over_marker=has_moved)
            except VersionConflict as conflict:
                there = conflict.current or self._records.find(wanted.blueprint_id)
                if there is not None and there.generation == new.generation:
                    # The write was applied and its answer lost: nobody else has this generation.
                    return there, True
                if there is not None and _is_same_request(there, wanted):
                    return there, False
                has_moved = there is None or there.blueprint_id != wanted.blueprint_id
                over = None if has_moved else there
                if over is not None and over.status != "Terminated":
                    message = f"a deployment is registered under {wanted.blueprint_id!r} and is {over.status}"
                    raise Conflict(message, deployment=over) from None
            else:
                return new, True
        raise contended(wanted.blueprint_id)

    def amend(
        self, key: str, patch: Callable[[Deployment], tuple[Deployment, str | None]], *, requested_by: str = ""
    ) -> Deployment:
        """Amend a deployment. `patch` returns it amended, and the key to move it to (None: it stays).

        To one that isn't live, ids may still be added, and nothing else: while it is Terminating they join its round, and once
        it is Terminated they begin another.

        Conflict if the deployment isn't live and more than that is asked for, if the other key is taken, or if the patch
        changes the expiry or the key while a cleanup has failed.
        """
        for _ in range(TRIES):
            old = self._records.require(key)
            self._check_right(old, requested_by)
            amended, to = patch(old)
            if old.cleanup.is_failing and (to or expiry(amended) != expiry(old)):
                field = "blueprint_id" if to else "ttl_seconds"
                raise cleanup_failed(old, field)
            if amended == old and to is None:
                return self._started(old)
            change = self._amended if old.is_live else self._with_late_ids
            new = change(old, amended, to, requested_by)
            try:
                if to:
                    self._records.move(old, new, over=self._replaceable(to))
                else:
                    self._records.replace(old, new)
            except VersionConflict:
                continue
            return self._started(new)
        raise contended(key)

    def terminate(
        self,
        key: str,
        *,
        reason: str,
        requested_by: str,
        asked_at: datetime | None = None,
        over_hold: str = "",
        plan: str = "",
    ) -> Deployment:
        """Begin the cleanup of a live deployment. One that is Terminating or Terminated is returned as it is.

        `asked_at` is the time of the event that asks for it, in whole seconds: Stale if it is before the registration, TooEarly
        if it is after the end of a Terminated deployment. `over_hold` says why it goes though it is held: Held without. With a
        `plan`, nothing may go that isn't in it.
        """

        def terminating(old: Deployment) -> Deployment | None:
            self._check_right(old, requested_by)
            if not _may_begin(old, asked_at):
                return None
            free, facts, detail = self._unheld(old, requested_by, over_hold)
            if plan:
                cleanup = msgspec.structs.replace(old.cleanup, without_plan=_without_plan(old))
            else:
                cleanup = msgspec.structs.replace(old.cleanup, failures=0, first_failed_at=None)
            free = msgspec.structs.replace(free, cleanup=cleanup)
            return self._with_round(
                free, reason=reason, requested_by=requested_by, plan=plan, facts=facts, detail=detail
            )

        return self._started(self._change(key, terminating))

    def check_plan(self, key: str, digest: str, requested_by: str) -> None:
        """Raise PlanChanged, with what changed, if a cleanup of a live deployment would do anything else than the plan of a digest says.

        PlanUnseen if that can't be seen now. The round itself keeps to the plan: this tells the caller at once.
        """
        deployment = self._records.require(key)
        self._check_right(deployment, requested_by)
        if not deployment.is_live:
            return
        if changes := self._workflow.changes_of_plan(deployment, digest):
            text = (
                f"what the cleanup of {deployment.blueprint_id!r} would delete isn't what the plan says: {changes[0]}"
            )
            raise PlanChanged(text, changed=changes)

    def forget(self, key: str, *, reason: str, requested_by: str, over_hold: str = "") -> Deployment:
        """End a live record without a cleanup, because someone removed its resources by hand.

        Invalid without a reason, Conflict if the deployment is Terminating, Held if it is held and `over_hold` says nothing.
        """
        if not reason.strip():
            raise Invalid("reason", reason, "why it is forgotten, in words")

        def forgotten(old: Deployment) -> Deployment | None:
            self._check_right(old, requested_by)
            if old.status == "Terminated":
                return None
            check_live(old, "forgotten")
            free, facts, why = self._unheld(old, requested_by, over_hold)
            cleanup = msgspec.structs.replace(
                old.cleanup,
                reason="forgotten",
                requested_by=requested_by,
                ended_at=format_time(self._clock()),
                next_attempt_at=None,
                quarantined=False,
            )
            facts.append(("forgotten", {"reason": clipped(reason, 512), "by": clipped(requested_by, 256)} | why))
            return self._with_facts(free, facts, status="Terminated", cleanup=cleanup, due_at=None)

        return self._change(key, forgotten)

    def _amended(self, old: Deployment, amended: Deployment, to: str | None, requested_by: str) -> Deployment:
        """Return the next version of an amended record. After a failed cleanup it is no longer quarantined, and due now or after its hold."""
        by = clipped(requested_by, 256)
        changed = [name for name in amended.__struct_fields__ if getattr(amended, name) != getattr(old, name)]
        if place_of(amended) != place_of(old):
            amended = msgspec.structs.replace(amended, resources=[_elsewhere(each) for each in amended.resources])
        cleanup = old.cleanup
        if (expiry(amended), amended.warn_before) != (expiry(old), old.warn_before):
            amended = self._timed(amended)
        if cleanup.is_failing:
            now = self._clock()
            cleanup = msgspec.structs.replace(moments.with_wait(old, now), next_attempt_at=format_time(now))
            if cleanup.quarantined:
                cleanup = msgspec.structs.replace(cleanup, quarantined=False, failures=0, first_failed_at=None)
            amended = msgspec.structs.replace(amended, cleanup=cleanup)
            amended = msgspec.structs.replace(amended, due_at=moments.due_at(amended, now))
        facts: list[Fact] = []
        if changed:
            facts.append(("amended", {"fields": changed, "by": by}))
        if to:
            facts.append(("moved", {"from": old.blueprint_id, "to": to, "by": by}))
        return self._with_facts(amended, facts, blueprint_id=to or old.blueprint_id)

    def _with_late_ids(self, old: Deployment, amended: Deployment, to: str | None, requested_by: str) -> Deployment:
        """Return the next version of a record that isn't live, to which ids were added. Conflict if anything else changes.

        Its end isn't reached without them: a round must discover again, and there is another one if the last is over.
        """
        rest = msgspec.structs.replace(amended, resource_ids=old.resource_ids, incomplete=old.incomplete)
        if to or rest != old or not adds_ids_only(old.resource_ids, amended.resource_ids):
            raise only_adding(old)
        type_ = entry(old.deployment_type)
        known = {resource.key for resource in old.resources} | {(kind, id_) for _, kind, id_ in type_.named(old)}
        late = [
            Resource(kind, id_, named_by=key) for key, kind, id_ in type_.named(amended) if (kind, id_) not in known
        ]
        new = msgspec.structs.replace(amended, resources=[*old.resources, *late])
        facts: list[Fact] = [("amended", {"fields": ["resource_ids"], "by": clipped(requested_by, 256)})]
        if old.status == "Terminating":
            return self._with_facts(new, facts, cleanup=msgspec.structs.replace(old.cleanup, discovered_in=0))
        return self._with_round(new, reason=LATE_ID, requested_by=requested_by, facts=facts)

    def _started(self, deployment: Deployment) -> Deployment:
        """Return the deployment. If it is Terminating, its workflow is started, which has no effect a second time."""
        if deployment.status == "Terminating":
            self._start(deployment)
        return deployment

    def _replaceable(self, key: str) -> Deployment | None:
        """Return the Terminated record that a move to a key replaces, None if there is none. Conflict if it isn't Terminated."""
        there = self._records.get(key)
        if there is not None and there.status != "Terminated":
            message = f"a deployment is registered under {key!r} and is {there.status}"
            raise Conflict(message, field="blueprint_id", deployment=there)
        return there


def _may_begin(old: Deployment, asked_at: datetime | None) -> bool:
    """Return whether a round of it may begin: not if it isn't live. Stale, TooEarly."""
    if asked_at is not None and asked_at < parse_time(old.registered_at).replace(microsecond=0):
        stale = Stale(f"{old.blueprint_id!r} was registered after that")
        stale.taken_at = _taken_at(old) if old.is_live else None
        raise stale
    if old.status == "Terminated":
        ended_at = old.cleanup.ended_at
        if asked_at is not None and ended_at and asked_at >= parse_time(ended_at).replace(microsecond=0):
            raise TooEarly(f"{old.blueprint_id!r} was Terminated before that")
    return old.is_live


def _taken_at(deployment: Deployment) -> datetime:
    """Return when a registration was taken, by our own clock as long as the record keeps that: that of an event has the event's time."""
    first = deployment.events[0] if deployment.events else None
    return parse_time(first.at if first and first.type == "registered" else deployment.registered_at)


def _elsewhere(resource: Resource) -> Resource:
    """Return a resource of a deployment whose place has changed: that it isn't in another place proves nothing."""
    if resource.state != "gone":
        return resource
    return msgspec.structs.replace(
        resource, state="unseen", absent=0, asked_in=0, never_seen=False, detail="", proof="", gone_at=None
    )


def _without_plan(old: Deployment) -> Literal["", "retry", "quarantine"]:
    """Return what is to become of a live deployment that isn't cleaned up by a plan: what was due before anyone approved one."""
    cleanup = old.cleanup
    if cleanup.quarantined:
        return "quarantine"
    if cleanup.plan and (cleanup.is_failing or moments.is_pending(old)):
        return cleanup.without_plan
    return "retry" if cleanup.is_failing or moments.is_pending(old) else ""


def _is_same_request(current: Deployment, wanted: Deployment) -> bool:
    if current.fingerprint != wanted.fingerprint:
        return False
    # Over a Terminated one, only the time of the request tells a repeated request from a new one for the same content.
    return current.is_live or (wanted.made_at != "" and current.made_at == wanted.made_at)
