"""Sessions of the pages: log-in with an operator's key or a link that works once, until the key or the time ends.

A session is a random token in a cookie; the database keeps its hash. It names its key, so that revoking the key ends
it at once.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

import structlog
from redis.exceptions import RedisError

from sendoff.accounts.authentication import OPERATOR, OPERATOR_READ, Principal, authenticate
from sendoff.audit import Actor, write_audit
from sendoff.context import Context
from sendoff.errors import Gone, MissingScope, NotFound, Suspended, Unauthenticated
from sendoff.store.engine.database import Transaction
from sendoff.store.queries import accounts, page_sessions
from sendoff.store.queries.page_sessions import KnownSession
from sendoff.store.tables import PageLink, PageSession
from sendoff.turns import Grouping

OPERATOR_SECONDS = 12 * 3600
"""How long an operator's session lasts. A longer one leaves a forgotten browser open for longer."""

OPERATOR_IDLE_SECONDS = 3600
"""How long an operator's session lasts without a request."""

DASHBOARD_LINK_SECONDS = 600
"""How long a link to the dashboard works. It gives an operator's power to the first person who follows it."""

VIEW = "view"
ACT = "act"
"""The capabilities of operators' sessions; those of the portal are in the links that open it."""

_TOUCH_EVERY_SECONDS = 60
"""How exactly `last_seen_at` is kept: a write for every request would cost more than the request."""

_FORM_SECONDS = 12 * 3600

_LOOKED_UP_TOGETHER = 500
"""Sessions in one query. More of them take longer, for all who wait; fewer make junk wait in more queries."""

_TOKEN_BYTES = 32
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")

_log = structlog.get_logger(__name__)


class SessionKind(StrEnum):
    """Which pages a session opens."""

    OPERATOR = "operator"
    PORTAL = "portal"


@dataclass(frozen=True, slots=True)
class Session:
    """A valid session. `token` is the cookie's value."""

    token: str = field(repr=False)
    kind: SessionKind
    key_id: str | None
    organization_id: str | None
    actor: str
    capabilities: frozenset[str]
    options: Mapping[str, str]
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class NewLink:
    """What a link is to open. `key_id` is the key that it, and its session, end with."""

    kind: SessionKind
    capabilities: Collection[str]
    expires_seconds: int
    session_seconds: int
    key_id: str | None = None
    organization_id: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DashboardLink:
    """An address that logs in the first person who opens it, until it expires."""

    url: str = field(repr=False)
    expires_at: datetime


async def log_in(context: Context, key: str, *, request_id: str | None) -> Session:
    """A session for an operator's API key.

    Raises Unauthenticated for a key that is not valid, Suspended, and MissingScope for a key of a customer.
    """
    principal = await authenticate(context, f"Bearer {key.strip()}")
    actor = Actor(f"key:{principal.key_prefix}", request_id)
    capabilities = _capabilities_of(principal)
    async with context.database.write() as tx:
        return _open(
            tx,
            context,
            actor,
            NewLink(
                SessionKind.OPERATOR,
                capabilities,
                expires_seconds=0,
                session_seconds=OPERATOR_SECONDS,
                key_id=principal.key_id,
            ),
        )


async def create_link(context: Context, actor: Actor, link: NewLink) -> tuple[str, datetime]:
    """The token of a link that opens a session once, and when it expires. Anyone who has the token may open it."""
    now = context.clock.now()
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    expires_at = now + timedelta(seconds=link.expires_seconds)
    async with context.database.write() as tx:
        tx.add(
            PageLink(
                token_hash=_hash(token),
                kind=link.kind,
                key_id=link.key_id,
                organization_id=link.organization_id,
                actor=actor.name,
                capabilities=sorted(link.capabilities),
                options=dict(link.options),
                session_seconds=link.session_seconds,
                created_at=now,
                expires_at=expires_at,
            )
        )
        write_audit(
            tx,
            actor,
            "page_link.create",
            target=("page_link", _hash(token)[:12]),
            now=now,
            organization_id=link.organization_id,
            after={"kind": str(link.kind), "capabilities": sorted(link.capabilities)},
        )
    return token, expires_at


async def create_dashboard_link(context: Context, actor: Actor, *, base_url: str) -> DashboardLink:
    """A link to the dashboard for anyone who has the database, such as the command line on the server."""
    new = NewLink(
        SessionKind.OPERATOR,
        {VIEW, ACT},
        expires_seconds=DASHBOARD_LINK_SECONDS,
        session_seconds=OPERATOR_SECONDS,
    )
    token, expires_at = await create_link(context, actor, new)
    return DashboardLink(f"{base_url.rstrip('/')}/dashboard/enter?token={token}", expires_at)


async def open_link(context: Context, token: str, kind: SessionKind, *, request_id: str | None) -> Session:
    """The session that a link opens, once. Raises NotFound for an unknown link, Gone for one that is used or expired.

    Unauthenticated when the key that made it is not valid any more, Suspended when its organization is suspended.
    """
    now = context.clock.now()
    async with context.database.write() as tx:
        link = await page_sessions.find_link(tx, _hash(token))
        if link is None or link.kind != kind:
            raise NotFound("This link is not known; ask for a new one.")
        if link.used_at is not None:
            raise Gone("This link was used already, and it works only once; ask for a new one.")
        if link.expires_at <= now:
            raise Gone("This link has expired; ask for a new one.")
        await _check_owner(tx, link, now)
        link.used_at = now
        new = NewLink(
            kind,
            link.capabilities,
            expires_seconds=0,
            session_seconds=link.session_seconds,
            key_id=link.key_id,
            organization_id=link.organization_id,
            options=link.options,
        )
        return _open(tx, context, Actor(link.actor, request_id), new)


async def find_session(context: Context, token: str, kind: SessionKind) -> Session | None:
    """The valid session of a cookie's value, and None for any other value."""
    if not _TOKEN.fullmatch(token):
        return None
    now = context.clock.now()
    known = await context.service(_session_lookups).ask(_hash(token))
    if known is None or known.session.kind != kind or not _is_valid(known, now):
        return None
    session = known.session
    if (now - session.last_seen_at).total_seconds() >= _TOUCH_EVERY_SECONDS:
        async with context.database.write() as tx:
            await page_sessions.touch_session(tx, session.token_hash, now=now)
    return _session(token, session)


def _session_lookups(context: Context) -> Grouping[str, KnownSession | None]:
    """For `context.service`: of however many requests, one query at a time looks up the sessions."""

    async def find(token_hashes: Sequence[str]) -> Sequence[KnownSession | None]:
        async with context.database.read() as tx:
            known = await page_sessions.find_sessions(tx, set(token_hashes))
        return [known.get(token_hash) for token_hash in token_hashes]

    return Grouping(find, at_most=_LOOKED_UP_TOGETHER)


async def log_out(context: Context, session: Session) -> None:
    """End a session."""
    async with context.database.write() as tx:
        await page_sessions.remove_session(tx, _hash(session.token))


async def end_sessions_of(context: Context, actor: Actor, organization_id: str) -> int:
    """End every portal session of an organization, and take back its unused links; the number of sessions."""
    async with context.database.write() as tx:
        ended = await page_sessions.remove_of_organization(tx, organization_id)
        write_audit(
            tx,
            actor,
            "page_sessions.end",
            target=("organization", organization_id),
            now=context.clock.now(),
            organization_id=organization_id,
            after={"ended": ended},
        )
    return ended


async def claim_form(context: Context, nonce: str) -> bool:
    """Whether a form is sent for the first time. A double click sends it twice. Without Redis it counts as the first.

    Two sends of a form are harmful where each starts something, such as a replay.
    """
    key = context.settings.redis_key(f"sendoff:form:{nonce}")
    try:
        return bool(await context.redis.set(key, 1, nx=True, ex=_FORM_SECONDS))
    except (RedisError, OSError) as error:
        _log.warning("form_not_claimed", error=type(error).__name__)
        return True


def _capabilities_of(principal: Principal) -> frozenset[str]:
    if principal.suspended:
        raise Suspended
    if OPERATOR in principal.scopes:
        return frozenset({VIEW, ACT})
    if OPERATOR_READ in principal.scopes:
        return frozenset({VIEW})
    raise MissingScope(f"This API key lacks the scope `{OPERATOR}` (or `{OPERATOR_READ}` to look alone).")


def _open(tx: Transaction, context: Context, actor: Actor, new: NewLink) -> Session:
    now = context.clock.now()
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    session = PageSession(
        token_hash=_hash(token),
        kind=new.kind,
        key_id=new.key_id,
        organization_id=new.organization_id,
        actor=actor.name,
        capabilities=sorted(new.capabilities),
        options=dict(new.options),
        created_at=now,
        last_seen_at=now,
        expires_at=now + timedelta(seconds=new.session_seconds),
    )
    tx.add(session)
    write_audit(
        tx,
        actor,
        "page_session.open",
        target=("page_session", session.token_hash[:12]),
        now=now,
        organization_id=new.organization_id,
        after={"kind": str(new.kind), "capabilities": session.capabilities},
    )
    return _session(token, session)


async def _check_owner(tx: Transaction, link: PageLink, now: datetime) -> None:
    """Raise unless the link's key is valid and its organization is not suspended."""
    key = await accounts.find_key(tx, link.key_id) if link.key_id else None
    if key is not None and (key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now)):
        raise Unauthenticated("The API key that made this link is not valid any more; ask for a new one.")
    for organization_id in {link.organization_id, key.organization_id if key else None} - {None}:
        organization = await accounts.find_organization(tx, str(organization_id))
        if organization is None or organization.suspended_at is not None:
            raise Suspended


def _is_valid(known: KnownSession, now: datetime) -> bool:
    session, key = known.session, known.key
    if known.is_suspended or session.expires_at <= now:
        return False
    idle = (now - session.last_seen_at).total_seconds()
    if session.kind == SessionKind.OPERATOR and idle > OPERATOR_IDLE_SECONDS:
        return False
    if session.key_id is None:
        return True
    return key is not None and key.revoked_at is None and (key.expires_at is None or key.expires_at > now)


def _session(token: str, row: PageSession) -> Session:
    return Session(
        token=token,
        kind=SessionKind(row.kind),
        key_id=row.key_id,
        organization_id=row.organization_id,
        actor=row.actor,
        capabilities=frozenset(row.capabilities),
        options=row.options,
        expires_at=row.expires_at,
    )


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
