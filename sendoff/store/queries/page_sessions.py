"""Sessions of the pages, and the links that open them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, or_, update
from sqlmodel import col, select

from sendoff.store.engine.batch import execute
from sendoff.store.engine.database import Transaction
from sendoff.store.tables import ApiKey, Organization, PageLink, PageSession


@dataclass(slots=True)
class KnownSession:
    """A session with the state of what it depends on."""

    session: PageSession
    key: ApiKey | None
    is_suspended: bool = False
    """Whether the organization of the session, or of its key, is suspended."""


async def find_sessions(tx: Transaction, token_hashes: Collection[str]) -> dict[str, KnownSession]:
    """The sessions that exist, by their hashes."""
    query = (
        select(PageSession, ApiKey, Organization)
        .outerjoin(ApiKey, col(ApiKey.id) == col(PageSession.key_id))
        .outerjoin(
            Organization,
            or_(
                col(Organization.id) == col(PageSession.organization_id),
                col(Organization.id) == col(ApiKey.organization_id),
            ),
        )
        .where(col(PageSession.token_hash).in_(token_hashes))
    )
    found: dict[str, KnownSession] = {}
    for session, key, organization in (await tx.execute(query)).all():
        known = found.setdefault(session.token_hash, KnownSession(session, key))
        known.is_suspended |= organization is not None and organization.suspended_at is not None
    return found


async def touch_session(tx: Transaction, token_hash: str, *, now: datetime) -> None:
    """Note that the session was used."""
    await tx.execute(update(PageSession).where(col(PageSession.token_hash) == token_hash).values(last_seen_at=now))


async def remove_session(tx: Transaction, token_hash: str) -> None:
    await tx.execute(delete(PageSession).where(col(PageSession.token_hash) == token_hash))


async def remove_of_organization(tx: Transaction, organization_id: str) -> int:
    """End the sessions that are bound to the organization and take back its unused links; the number of sessions."""
    ended = await tx.execute(
        delete(PageSession)
        .where(col(PageSession.organization_id) == organization_id)
        .returning(col(PageSession.token_hash))
    )
    await tx.execute(
        delete(PageLink).where(col(PageLink.organization_id) == organization_id, col(PageLink.used_at).is_(None))
    )
    return len(ended.all())


async def find_link(tx: Transaction, token_hash: str) -> PageLink | None:
    """The link, locked until the transaction ends."""
    return await tx.get(PageLink, token_hash, with_for_update=True)


async def remove_expired(tx: Transaction, *, until: datetime, limit: int) -> int:
    """Remove sessions and links that expired before `until`, at most `limit` of each, and return their number."""
    removed = 0
    for table in ("page_sessions", "page_links"):
        result = await execute(
            tx,
            f"""
            DELETE FROM {table} WHERE token_hash IN (
                SELECT o.token_hash FROM {table} o WHERE o.expires_at < :until ORDER BY o.expires_at LIMIT :limit
            )
            """,
            until=until,
            limit=limit,
        )
        removed += result.rowcount
    return removed
