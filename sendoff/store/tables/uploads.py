"""Uploads of contact lists, which the uploads product owns."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Index, String, Text, text
from sqlmodel import Field

from sendoff.store.engine.table import Table
from sendoff.store.engine.types import Identifier, UtcDateTime


class Upload(Table, table=True):
    """An upload of phone numbers. What follows `updated_at` serves its processing and is not shown."""

    __tablename__ = "uploads"
    __table_args__ = (
        Index("ix_uploads_organization", "organization_id", "id"),
        Index(
            "ix_uploads_waiting",
            "leased_until",
            postgresql_where=text("status IN ('ready_for_processing', 'processing')"),
            sqlite_where=text("status IN ('ready_for_processing', 'processing')"),
        ),
        Index(
            "ix_uploads_stored",
            "organization_id",
            "stored_bytes",
            postgresql_where=text("stored_bytes > 0"),
            sqlite_where=text("stored_bytes > 0"),
        ),
    )

    id: str = Field(sa_type=Identifier, primary_key=True)
    user_id: str = Field(sa_type=Identifier)
    organization_id: str = Field(sa_type=Identifier, foreign_key="organizations.id")
    original_filename: str = Field(sa_type=Text)
    storage_path: str = Field(sa_type=Text)
    file_size_bytes: int = Field(sa_type=BigInteger)
    status: str = Field(sa_type=String(32))
    valid_row_count: int
    invalid_row_count: int
    credits_required: int
    credits_charged: int
    credits_refunded: int = 0
    source: str = Field(sa_type=String(8))
    api_key_id: str | None = Field(default=None, sa_type=Identifier)
    skip_mobile_lookup: bool = False
    processed_storage_path: str | None = Field(default=None, sa_type=Text)
    processed_filtered_storage_path: str | None = Field(default=None, sa_type=Text)
    error_message: str | None = Field(default=None, sa_type=Text)
    exceeded_daily_limit: bool = False
    created_at: datetime = Field(sa_type=UtcDateTime)
    updated_at: datetime = Field(sa_type=UtcDateTime)
    phone_column: str = Field(sa_type=Text)
    processed_rows: int = 0
    processing_attempts: int = 0
    leased_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    lease_token: str | None = Field(default=None, sa_type=Identifier)
    request_id: str | None = Field(default=None, sa_type=String(64))
    """The request that created it; its later events and log lines carry this id."""
    stored_bytes: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs={"server_default": "1"})
    """What its files take in the storage; until it is processed, with what its results are expected to take. 0 once
    its files are deleted."""
