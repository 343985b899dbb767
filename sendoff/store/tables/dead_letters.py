"""The dead-letter store and its replays."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index, String, Text, text
from sqlmodel import Field

from sendoff.policy.states import DeadLetterState, ReplayItemState, ReplayState
from sendoff.store.engine.table import Table
from sendoff.store.engine.types import Identifier, Json, UtcDateTime

_OPEN = text("state = 'open'")


class DeadLetter(Table, table=True):
    """A delivery that was given up, as it stood then. One that dies again after a replay gets another."""

    __tablename__ = "dead_letters"
    __table_args__ = (
        Index("ix_dead_letters_state", "state", "id"),
        Index("ix_dead_letters_endpoint", "endpoint_id", "id"),
        Index("ix_dead_letters_organization", "organization_id", "id"),
        Index("ix_dead_letters_delivery", "delivery_id"),
        Index("ix_dead_letters_died", "died_at"),
        Index("ix_dead_letters_open", "reason", postgresql_where=_OPEN, sqlite_where=_OPEN),
    )

    id: str = Field(sa_type=Identifier, primary_key=True)
    delivery_id: str = Field(sa_type=Identifier)
    event_id: str = Field(sa_type=String(28))
    event_type: str = Field(sa_type=String(128))
    endpoint_id: str = Field(sa_type=Identifier)
    endpoint_url: str = Field(sa_type=Text)
    organization_id: str = Field(sa_type=Identifier)
    reason: str = Field(sa_type=String(32))
    last_response_status: int | None = None
    last_error: str | None = Field(default=None, sa_type=Text)
    attempt_count: int
    died_at: datetime = Field(sa_type=UtcDateTime)
    state: str = Field(default=DeadLetterState.OPEN, sa_type=String(16))
    replayed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Replay(Table, table=True):
    """Deliveries sent again on an operator's word, at most `rate` per second; `ticked_at` is when it last moved."""

    __tablename__ = "replays"
    __table_args__ = (Index("ix_replays_state", "state"),)

    id: str = Field(sa_type=Identifier, primary_key=True)
    state: str = Field(default=ReplayState.RUNNING, sa_type=String(16))
    filter: dict[str, Any] = Field(sa_type=Json)
    rate: int
    total: int
    requested_by: str = Field(sa_type=Text)
    created_at: datetime = Field(sa_type=UtcDateTime)
    ticked_at: datetime = Field(sa_type=UtcDateTime)
    fed: dict[str, int] | None = Field(default=None, sa_type=Json)
    """How many replayed deliveries waited for each endpoint that the last tick served, in that order. The next
    tick goes on after the last key, so the type must keep their order, as `json` does and `jsonb` does not."""
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class ReplayItem(Table, table=True):
    """One delivery of a replay. One with an `event_id` does not exist yet: it is made of that event when it is sent."""

    __tablename__ = "replay_items"
    __table_args__ = (Index("ix_replay_items_next", "replay_id", "state", "endpoint_id", "delivery_id"),)

    replay_id: str = Field(sa_type=Identifier, primary_key=True)
    delivery_id: str = Field(sa_type=Identifier, primary_key=True)
    state: str = Field(default=ReplayItemState.WAITING, sa_type=String(16))
    event_id: str | None = Field(default=None, sa_type=String(28))
    endpoint_id: str | None = Field(default=None, sa_type=Identifier)
