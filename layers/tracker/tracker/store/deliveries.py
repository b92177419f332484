"""Deliveries to webhooks, stored as items of the table.

Called by `notify`, which schedules the attempts, and by `intake`, which lists them.
"""

from contextlib import suppress

import msgspec

from tracker.model.delivery import KEPT, Delivery
from tracker.model.deployment import epoch, parse_time
from tracker.store.table import DeliveryItem, Table, VersionConflict

DELIVERY = "delivery#"
# The bytes that DynamoDB allows a sort key; to a longer one it answers with an error.
SORT_KEY_MAX = 1024
ID_MAX = SORT_KEY_MAX - len(DELIVERY)
FIELDS = tuple(field.name for field in msgspec.structs.fields(Delivery) if field.name not in ("blueprint_id", "id"))


class DeliveryPage(msgspec.Struct, frozen=True):
    """Deliveries without their bodies, and the id after which the next page begins (None on the last page)."""

    items: list[Delivery]
    last: str | None


class Deliveries:
    """The deliveries in the table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def get(self, key: str, id_: str) -> Delivery | None:
        """Return one delivery, by a consistent read. None if there is no such delivery."""
        if len(id_.encode()) > ID_MAX:
            return None
        model = self._table.delivery
        try:
            found = model.get(key, DELIVERY + id_, consistent_read=True)
        except model.DoesNotExist:
            return None
        return None if self._table.is_over(found.ttl) else _read(found)

    def page(self, key: str, *, limit: int, after: str | None = None) -> DeliveryPage:
        """Return the deliveries of the deployments that are or were under a key, in the order of their ids."""
        model = self._table.delivery
        start = None if after is None else {"blueprint_id": {"S": key}, "item": {"S": DELIVERY + after}}
        found = model.query(
            key,
            model.item.startswith(DELIVERY),
            limit=limit,
            page_size=limit,
            last_evaluated_key=start,
            attributes_to_get=[name for name in model.get_attributes() if name != "body"],
        )
        items = [_read(item) for item in found if not self._table.is_over(item.ttl)]
        following = found.last_evaluated_key
        return DeliveryPage(items, following["item"]["S"].removeprefix(DELIVERY) if following else None)

    def keep(self, delivery: Delivery) -> None:
        """Store a new delivery. One that is stored already stays as it is."""
        with suppress(VersionConflict):
            self._table.write(lambda: self._item(delivery).save(condition=self._table.is_absent()))

    def replace(self, old: Delivery, new: Delivery) -> None:
        """Store a delivery after an attempt. VersionConflict if it has changed since it was read."""
        self._table.write(lambda: self._item(new).save(condition=DeliveryItem.version == old.version))

    def _item(self, delivery: Delivery) -> DeliveryItem:
        item = self._table.delivery(delivery.blueprint_id, DELIVERY + delivery.id)
        for name in FIELDS:
            setattr(item, name, getattr(delivery, name))
        item.ttl = epoch(parse_time(delivery.created_at) + KEPT)
        return item


def _read(item: DeliveryItem) -> Delivery:
    found = {name: getattr(item, name) for name in FIELDS}
    for name in ("series", "version"):
        found[name] = int(found[name])
    found |= {"blueprint_id": item.blueprint_id, "id": item.item.removeprefix(DELIVERY), "body": item.body or ""}
    return msgspec.convert(found, Delivery, from_attributes=True)
