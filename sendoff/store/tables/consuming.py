"""What `sendoff consume` keeps."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, LargeBinary, String, Text
from sqlmodel import Field

from sendoff.store.engine.table import Table
from sendoff.store.engine.types import Identifier, Json, UtcDateTime


class RejectedMessage(Table, table=True):
    """A message of a broker that can never be accepted, and why. `identity` is the same however often it comes."""

    __tablename__ = "rejected_messages"
    __table_args__ = (
        Index("uq_rejected_messages_identity", "source", "identity", unique=True),
        Index("ix_rejected_messages_rejected", "rejected_at"),
    )

    id: str = Field(sa_type=Identifier, primary_key=True)
    source: str = Field(sa_type=Text)
    """Such as `rabbitmq:orders`."""
    identity: str = Field(sa_type=String(64))
    message_id: str | None = Field(default=None, sa_type=String(255))
    """What the sender or the broker calls it."""
    reason: str = Field(sa_type=Text)
    headers: dict[str, str] = Field(sa_type=Json)
    body: bytes = Field(sa_type=LargeBinary)
    """The first 256 KiB."""
    size: int
    """Bytes of the whole body."""
    rejected_at: datetime = Field(sa_type=UtcDateTime)
