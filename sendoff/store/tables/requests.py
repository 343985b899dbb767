"""Answers kept for idempotency keys, and the audit log."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index, LargeBinary, String, Text
from sqlmodel import Field

from sendoff.store.engine.table import Table
from sendoff.store.engine.types import Identifier, Json, UtcDateTime


class IdempotencyRecord(Table, table=True):
    """The first answer to a write with an Idempotency-Key; `response_status` is null while that write runs.

    `response_body` is encrypted by the vault, bound to organization and key.
    """

    __tablename__ = "idempotency_records"
    __table_args__ = (Index("ix_idempotency_records_created", "created_at"),)

    organization_id: str = Field(sa_type=Identifier, primary_key=True)
    key: str = Field(sa_type=String(255), primary_key=True)
    request_hash: str = Field(sa_type=String(64))
    response_status: int | None = None
    response_body: bytes | None = Field(default=None, sa_type=LargeBinary)
    created_at: datetime = Field(sa_type=UtcDateTime)


class AuditEntry(Table, table=True):
    """Who changed or sent what, when. Never updated, and removed only before the AuditHorizon; without secrets."""

    __tablename__ = "audit_entries"
    __table_args__ = (Index("ix_audit_entries_organization", "organization_id", "id"),)

    id: str = Field(sa_type=Identifier, primary_key=True)
    at: datetime = Field(sa_type=UtcDateTime)
    actor: str = Field(sa_type=Text)
    organization_id: str | None = Field(default=None, sa_type=Identifier)
    action: str = Field(sa_type=String(64))
    target_type: str = Field(sa_type=String(32))
    target_id: str = Field(sa_type=Text)
    before: dict[str, Any] | None = Field(default=None, sa_type=Json)
    after: dict[str, Any] | None = Field(default=None, sa_type=Json)
    request_id: str | None = Field(default=None, sa_type=String(64))


class AuditHorizon(Table, table=True):
    """The end of the audit log's retention: the database refuses to remove entries from `until` on. One row."""

    __tablename__ = "audit_horizon"

    id: int = Field(default=1, primary_key=True)
    until: datetime = Field(sa_type=UtcDateTime)
