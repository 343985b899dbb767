"""Who is logged in to the pages, and the links that log people in. Tokens are kept as hashes alone."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, String, Text
from sqlmodel import Field

from sendoff.store.engine.table import Table
from sendoff.store.engine.types import Identifier, Json, UtcDateTime


class PageSession(Table, table=True):
    """A browser that is logged in; `token_hash` is the SHA-256 of its cookie's value."""

    __tablename__ = "page_sessions"
    __table_args__ = (
        Index("ix_page_sessions_expires", "expires_at"),
        Index("ix_page_sessions_organization", "organization_id"),
    )

    token_hash: str = Field(sa_type=String(64), primary_key=True)
    kind: str = Field(sa_type=String(16))
    """`operator` or `portal`: a session of one kind opens no page of the other."""
    key_id: str | None = Field(default=None, sa_type=Identifier, foreign_key="api_keys.id")
    """The API key that it ends with; null when it was opened from the command line."""
    organization_id: str | None = Field(default=None, sa_type=Identifier, foreign_key="organizations.id")
    """The organization that a portal session is bound to; null for operators."""
    actor: str = Field(sa_type=Text)
    """Who acts in it, as the audit log names it."""
    capabilities: list[str] = Field(sa_type=Json)
    options: dict[str, str] = Field(sa_type=Json)
    """What its link asked for, such as a colour scheme or the address to return to."""
    created_at: datetime = Field(sa_type=UtcDateTime)
    last_seen_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)


class PageLink(Table, table=True):
    """A link that opens a session, once; `token_hash` is the SHA-256 of the token in it."""

    __tablename__ = "page_links"
    __table_args__ = (Index("ix_page_links_expires", "expires_at"),)

    token_hash: str = Field(sa_type=String(64), primary_key=True)
    kind: str = Field(sa_type=String(16))
    key_id: str | None = Field(default=None, sa_type=Identifier, foreign_key="api_keys.id")
    organization_id: str | None = Field(default=None, sa_type=Identifier, foreign_key="organizations.id")
    actor: str = Field(sa_type=Text)
    capabilities: list[str] = Field(sa_type=Json)
    options: dict[str, str] = Field(sa_type=Json)
    session_seconds: int
    """How long the session lasts that it opens."""
    created_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    used_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
