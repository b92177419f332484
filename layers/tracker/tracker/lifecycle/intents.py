"""The transitions of a round of a deployment that is looked for by its mark, since ids are missing. Called by `release`."""

from collections.abc import Sequence

import msgspec

from tracker.lifecycle.base import Fact
from tracker.lifecycle.rounds import RoundTransitions
from tracker.model.deployment import Deployment, Resource, clipped, format_time
from tracker.model.marks import with_marked, without_mark_line

# So many are named in the fact.
NAMED_MAX = 5


class IntentTransitions(RoundTransitions):
    """The transitions of a round that looks for a deployment by its mark."""

    def found(self, old: Deployment, resources: Sequence[Resource]) -> Deployment:
        """Put what carries the mark on the record, before any of it is deleted. The next step discovers again."""
        names = [clipped(f"{each.kind} {each.id}", 150) for each in resources[:NAMED_MAX]]

        def put(current: Deployment) -> Deployment:
            new = with_marked(without_mark_line(current), resources)
            cleanup = msgspec.structs.replace(current.cleanup, by_mark=True, nothing_found_at=None, discovered_in=0)
            fields = ["resource_ids", "resources"] if new.resource_ids != current.resource_ids else ["resources"]
            detail = {"fields": fields, "by": "tracker", "found": names, "count": len(resources)}
            facts: list[Fact] = [("amended", detail)]
            return self._with_facts(new, facts, cleanup=cleanup, due_at=self._watchdog(current, 0))

        return self._update_round(old, put)

    def nothing_found(self, old: Deployment, resources: list[Resource], *, retry_after: int) -> Deployment:
        """Record that a look found nothing (more) that carries the mark. The time of the first such look in a round stays.

        `resources` are all that the record has, with the line about the mark.
        """

        def noted(current: Deployment) -> Deployment:
            first = current.cleanup.nothing_found_at or format_time(self._clock())
            cleanup = msgspec.structs.replace(current.cleanup, by_mark=True, nothing_found_at=first)
            seen = self._progressed(current, old, resources, retry_after=retry_after)
            return msgspec.structs.replace(seen, cleanup=cleanup)

        return self._update_round(old, noted)
