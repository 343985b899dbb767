"""What a process has claimed: deliveries that it owns until their leases end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sendoff.store.hot.rows import ClaimedDelivery
from sendoff.store.queries.endpoints import Destination
from sendoff.store.queries.traffic.events import EventContent


@dataclass(slots=True)
class Claim:
    """A delivery that this process owns until its lease ends, with everything needed to send it."""

    delivery: ClaimedDelivery
    lease_token: str
    leased_until: datetime
    event: EventContent
    endpoint: Destination
    trace_context: str | None = None
    """Of the span that the attempt belongs under (`observability/tracing.py`); None if none is known."""

    @property
    def attempt_number(self) -> int:
        """The number of the attempt that this claim is for."""
        return self.delivery.attempt_count + 1


@dataclass(slots=True)
class Claims:
    """What a claim brought: deliveries to send, and the endpoints of those that are held."""

    to_send: list[Claim]
    held_endpoint_ids: set[str]
