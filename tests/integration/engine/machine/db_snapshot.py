"""A snapshot of the database: all that there is of deliveries at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from sendoff.policy.states import OPEN_DELIVERY_STATES, EndpointState, ReplayState
from sendoff.store.tables import Attempt, DeadLetter, Delivery, Endpoint, Event, Replay, ReplayItem

OPEN = frozenset(OPEN_DELIVERY_STATES)

Row = Any


class ItemKey(NamedTuple):
    """One delivery of one replay."""

    replay_id: str
    delivery_id: str


@dataclass(frozen=True)
class DbSnapshot:
    """The rows by their ids; attempts, letters and items in lists, first to last."""

    events: dict[str, Row]
    endpoints: dict[str, Row]
    deliveries: dict[str, Row]
    attempts: dict[str, list[Row]]
    letters: dict[str, list[Row]]
    replays: dict[str, Row]
    items: dict[ItemKey, str]

    def letters_of_all(self) -> list[Row]:
        return [letter for letters in self.letters.values() for letter in letters]

    def active_endpoints(self) -> list[Row]:
        return [endpoint for endpoint in self.endpoints.values() if endpoint.state == EndpointState.ACTIVE]

    def has_ended(self) -> bool:
        """Nothing is left to do for anybody."""
        running = any(replay.state == ReplayState.RUNNING for replay in self.replays.values())
        drain_due = any(endpoint.drain_due for endpoint in self.endpoints.values())
        return not (running or drain_due or self.open_deliveries())

    def open_deliveries(self) -> list[Row]:
        return [delivery for delivery in self.deliveries.values() if delivery.state in OPEN]


def take_snapshot(connection: Connection) -> DbSnapshot:
    """Everything at this moment."""
    attempts = _rows(connection, Attempt, "delivery_id", "number")
    letters = _rows(connection, DeadLetter, "id")
    items = _rows(connection, ReplayItem, "replay_id", "delivery_id")
    return DbSnapshot(
        events={row.id: row for row in _rows(connection, Event, "id")},
        endpoints={row.id: row for row in _rows(connection, Endpoint, "id")},
        deliveries={row.id: row for row in _rows(connection, Delivery, "id")},
        attempts=_by_delivery(attempts),
        letters=_by_delivery(letters),
        replays={row.id: row for row in _rows(connection, Replay, "id")},
        items={ItemKey(row.replay_id, row.delivery_id): row.state for row in items},
    )


def _rows(connection: Connection, model: Any, *order: str) -> list[Row]:
    table = model.__table__
    return list(connection.execute(select(table).order_by(*(table.c[name] for name in order))).all())


def _by_delivery(rows: list[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.delivery_id, []).append(row)
    return found
