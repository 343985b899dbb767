"""Event types and accepted events."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index, String, Text, text
from sqlmodel import Field

from sendoff.store.engine.table import Table
from sendoff.store.engine.types import Identifier, Json, UtcDateTime


class EventType(Table, table=True):
    """An event type beyond the built-in ones, with the JSON Schema its `data` must satisfy, if any."""

    __tablename__ = "event_types"

    name: str = Field(sa_type=String(128), primary_key=True)
    data_schema: dict[str, Any] | None = Field(default=None, sa_type=Json)
    created_at: datetime = Field(sa_type=UtcDateTime)


_TRACE_CONTEXT = String(55).with_variant(String(568), "postgresql")
"""On SQLite it keeps the length that it was made with, which SQLite does not enforce."""


class Event(Table, table=True):
    """Something that happened once. `data` is the JSON text as it was handed in, byte for byte."""

    __tablename__ = "events"
    __table_args__ = (
        Index(
            "ix_events_without_deliveries",
            "created_at",
            postgresql_where=text("delivery_count = 0"),
            sqlite_where=text("delivery_count = 0"),
        ),
    )

    id: str = Field(sa_type=String(28), primary_key=True)
    organization_id: str = Field(sa_type=Identifier)
    type: str = Field(sa_type=String(128))
    data: str = Field(sa_type=Text)
    occurred_at: datetime = Field(sa_type=UtcDateTime)
    created_at: datetime = Field(sa_type=UtcDateTime)
    request_id: str | None = Field(default=None, sa_type=String(64))
    traceparent: str | None = Field(default=None, sa_type=_TRACE_CONTEXT)
    """The trace context of the span that published it: its `traceparent` and, after a space, the `tracestate` if there
    is one (W3C Trace Context); null if none is known."""
    delivery_count: int
    """How many deliveries were made of it, less those that are past their retention."""


class EventTag(Table, table=True):
    """A tag that an event was published with, by which it is found exactly."""

    __tablename__ = "event_tags"
    __table_args__ = (
        Index("ix_event_tags_tag", "tag", "event_id"),
        Index("ix_event_tags_organization", "organization_id", "tag", "event_id"),
    )

    event_id: str = Field(sa_type=String(28), primary_key=True)
    tag: str = Field(sa_type=String(64), primary_key=True)
    organization_id: str = Field(sa_type=Identifier)
