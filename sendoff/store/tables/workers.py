"""Worker processes that say that they work."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Text
from sqlmodel import Field

from sendoff.store.engine.table import Table
from sendoff.store.engine.types import Identifier, UtcDateTime


class Worker(Table, table=True):
    """A worker process as its last heartbeat described it. Removed when the process stops, or has been silent."""

    __tablename__ = "workers"

    id: str = Field(sa_type=Identifier, primary_key=True)
    host: str = Field(sa_type=Text)
    pid: int
    version: str = Field(sa_type=Text)
    started_at: datetime = Field(sa_type=UtcDateTime)
    last_seen_at: datetime = Field(sa_type=UtcDateTime)
    in_flight: int
    """Requests under way from this worker."""
    slots: int
    """How many requests it makes at a time, besides those to receivers that are slow to answer."""
    drain_requested_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When an operator asked it to finish what it has and to stop; it sees that with its next heartbeat."""
