"""Organizations, their members and API keys."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Index, String, Text
from sqlmodel import Field

from sendoff.store.engine.table import Table
from sendoff.store.engine.types import Identifier, Json, UtcDateTime


class Organization(Table, table=True):
    """A tenant. `credits` is null without an active subscription."""

    __tablename__ = "organizations"
    __table_args__ = (Index("uq_organizations_external_id", "external_id", unique=True),)

    id: str = Field(sa_type=Identifier, primary_key=True)
    name: str = Field(sa_type=Text)
    credits: int | None = Field(default=None, sa_type=BigInteger)
    suspended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """Set while its keys and tokens are refused; what it was promised to be delivered is delivered all the same."""
    moved_to: str | None = Field(default=None, sa_type=String(31))
    """The cell that it is moving to, or has moved to; its keys and tokens are refused meanwhile, as when suspended."""
    moved_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    """When it was handed over: since then nothing is delivered for it from here."""
    external_id: str | None = Field(default=None, sa_type=String(128))
    """What the product's own backend calls it."""
    created_at: datetime = Field(sa_type=UtcDateTime)


class User(Table, table=True):
    """A person, known by e-mail address."""

    __tablename__ = "users"

    id: str = Field(sa_type=Identifier, primary_key=True)
    email: str = Field(sa_type=Text, unique=True)
    created_at: datetime = Field(sa_type=UtcDateTime)


class Membership(Table, table=True):
    """A user belongs to an organization."""

    __tablename__ = "memberships"

    organization_id: str = Field(sa_type=Identifier, primary_key=True, foreign_key="organizations.id")
    user_id: str = Field(sa_type=Identifier, primary_key=True, foreign_key="users.id")
    created_at: datetime = Field(sa_type=UtcDateTime)


class ApiKey(Table, table=True):
    """An API key: its SHA-256 to find it by, its first twelve characters to show."""

    __tablename__ = "api_keys"

    id: str = Field(sa_type=Identifier, primary_key=True)
    organization_id: str = Field(sa_type=Identifier, foreign_key="organizations.id", index=True)
    user_id: str = Field(sa_type=Identifier, foreign_key="users.id")
    key_hash: str = Field(sa_type=String(64), unique=True)
    prefix: str = Field(sa_type=String(12))
    scopes: list[str] = Field(sa_type=Json)
    created_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
