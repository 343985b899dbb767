"""Checks that every accepted event was received by every endpoint or is a dead letter, unaltered."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.support.databases import LiveDatabase
from tests.support.receipts import Receipt
from tests.support.tenants import Tenant

_TOLD = 5

ListenAddress = tuple[str, str]
"""An event at an endpoint: the event's id and the receiver's path."""


@dataclass(frozen=True, slots=True)
class ConsistencyReport:
    """What became of the accepted events."""

    received: int
    """Events × endpoints that arrived, however often."""
    dead: int
    """Those that are in the dead-letter store instead."""
    lost: list[ListenAddress]
    """Those that are nowhere."""
    altered: list[ListenAddress]
    """Those that arrived with different bodies or delivery ids, or with another event's content."""
    duplicates: int
    """How many requests repeated one that had succeeded."""
    twice: list[str] = field(repr=False)
    """Of some of them, what the database says of their attempts."""

    def check(self, *, duplicates_at_most: int) -> None:
        """Hold the guarantees."""
        assert not self.lost, f"{len(self.lost)} lost, among them {self.lost[:5]}"
        assert not self.altered, f"{len(self.altered)} altered, among them {self.altered[:5]}"
        assert self.duplicates <= duplicates_at_most, (
            f"{self.duplicates} came twice, {duplicates_at_most} may: {self.twice}"
        )


def check_consistency(
    tenants: Sequence[Tenant], receipts: Sequence[Receipt], database: LiveDatabase
) -> ConsistencyReport:
    """Compare the events that were acknowledged to the tenants with what arrived."""
    numbers = {event_id: number for tenant in tenants for event_id, number in tenant.published.accepted.items()}
    paths = {endpoint_id: path for tenant in tenants for endpoint_id, path in tenant.paths.items()}
    arrived: defaultdict[ListenAddress, list[Receipt]] = defaultdict(list)
    for receipt in receipts:
        arrived[receipt.event_id, receipt.path].append(receipt)
    letters = database.query("SELECT event_id, endpoint_id FROM dead_letters WHERE state = 'open'")
    dead = {(event_id, paths[endpoint_id]) for event_id, endpoint_id in letters}
    expected = {
        (event_id, path)
        for tenant in tenants
        for event_id in tenant.published.accepted
        for path in tenant.paths.values()
    }
    again = {place: _sent(each) - 1 for place, each in arrived.items() if _sent(each) > 1}
    return ConsistencyReport(
        received=len(expected & arrived.keys()),
        dead=len(expected & dead - arrived.keys()),
        lost=sorted(expected - arrived.keys() - dead),
        altered=sorted(place for place in expected & arrived.keys() if _is_altered(arrived[place], numbers[place[0]])),
        duplicates=sum(again.values()),
        twice=[_tell_attempts(database, event_id) for event_id, _ in list(again)[:_TOLD]],
    )


def _tell_attempts(database: LiveDatabase, event_id: str) -> str:
    rows = database.query(
        "SELECT d.event_id, a.number, a.started_at, a.duration_ms, a.outcome, a.response_status "
        "FROM deliveries d JOIN attempts a ON a.delivery_id = d.id ORDER BY a.started_at"
    )
    return f"{event_id}: {[row[1:] for row in rows if row[0] == event_id]}"


def _sent(receipts: Sequence[Receipt]) -> int:
    return sum(receipt.count - receipt.refused for receipt in receipts)


def _is_altered(receipts: Sequence[Receipt], number: int) -> bool:
    content = json.loads(receipts[0].body)
    return len(receipts) > 1 or content["id"] != receipts[0].event_id or content["data"] != {"number": number}
