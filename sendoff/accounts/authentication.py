"""From a bearer token to who sent it."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from sendoff.context import Context
from sendoff.errors import MissingScope, Moved, Suspended, TokenProblem, Unauthenticated, Unavailable
from sendoff.store.engine.database import ANSWER_SECONDS
from sendoff.store.queries.accounts import KnownKey
from sendoff.turns import Grouping

KEY_PREFIX = "od_live_"
_KEY = re.compile(r"od_live_[A-Za-z0-9_-]{32}")

UPLOADS_WRITE = "uploads:write"
UPLOADS_READ = "uploads:read"
WEBHOOKS_MANAGE = "webhooks:manage"
EVENTS_WRITE = "events:write"
OPERATOR = "operator"
OPERATOR_READ = "operator:read"
API_WEBHOOKS = "api:webhooks"
SCOPES = (UPLOADS_WRITE, UPLOADS_READ, WEBHOOKS_MANAGE, EVENTS_WRITE, OPERATOR, OPERATOR_READ, API_WEBHOOKS)
"""Every scope that a key can carry."""

_LOOKED_UP_TOGETHER = 500
"""Keys in one query. More of them take longer, for all who wait; fewer make a flood of unknown keys wait in more
queries."""


@dataclass(frozen=True, slots=True)
class Principal:
    """The organization and scopes that an API key authenticates."""

    key_id: str
    key_prefix: str
    organization_id: str
    user_id: str
    scopes: frozenset[str]
    suspended: bool = False
    """Whether the organization is suspended."""
    moved_to: str | None = None
    """The cell that the organization moves to, or has moved to."""

    def require(self, scope: str) -> None:
        """Raise Moved or Suspended when the organization is, MissingScope unless the key carries `scope`.

        A key with the scope `operator` may read what `operator:read` may.
        """
        check_organization(suspended=self.suspended, moved_to=self.moved_to)
        if scope not in self.scopes and not (scope == OPERATOR_READ and OPERATOR in self.scopes):
            raise MissingScope(f"This API key lacks the scope `{scope}`.")


def check_organization(*, suspended: bool, moved_to: str | None) -> None:
    """Raise Moved or Suspended when the organization is."""
    if moved_to is not None:
        raise Moved(moved_to)
    if suspended:
        raise Suspended


def hash_key(key: str) -> str:
    """The stored form of a key, used to look it up: its SHA-256 in hexadecimal."""
    return hashlib.sha256(key.encode()).hexdigest()


async def authenticate(context: Context, authorization: str | None) -> Principal:
    """The principal of an `Authorization` header's value.

    Raises Unauthenticated when it is missing, malformed, unknown, expired or revoked; its message does not say which.
    Revocation and expiry hold at once in every process, for the key is looked up each time.
    """
    key_hash = hash_bearer_key(authorization)
    async with answered_in_time():
        known = await context.service(key_lookups).ask(key_hash)
    return principal_of(known, now=context.clock.now())


@asynccontextmanager
async def answered_in_time() -> AsyncIterator[None]:
    """Give the block up after ANSWER_SECONDS, and raise Unavailable."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            yield
    except TimeoutError:
        raise Unavailable("The database did not answer in time; try again in a moment.") from None


def key_lookups(context: Context) -> Grouping[str, KnownKey | None]:
    """For `context.service`: of however many requests, one query at a time looks up the keys."""

    async def find(key_hashes: Sequence[str]) -> Sequence[KnownKey | None]:
        known = await context.hot.find_keys(set(key_hashes))
        return [known.get(key_hash) for key_hash in key_hashes]

    return Grouping(find, at_most=_LOOKED_UP_TOGETHER)


def hash_bearer_key(authorization: str | None) -> str:
    """The hash of the API key in an `Authorization` header's value. Raises Unauthenticated if it has none."""
    return hash_key(bearer_key(authorization))


def bearer_key(authorization: str | None) -> str:
    """The API key in an `Authorization` header's value, by its form. Raises Unauthenticated if it has none."""
    key = bearer_token(authorization)
    if not _KEY.fullmatch(key):
        raise Unauthenticated
    return key


def principal_of(known: KnownKey | None, *, now: datetime) -> Principal:
    """The principal that a looked-up key authenticates. Raises Unauthenticated unless the key is valid."""
    if known is None or known.revoked_at is not None:
        raise Unauthenticated
    if known.expires_at is not None and known.expires_at <= now:
        raise Unauthenticated(problem=TokenProblem.EXPIRED)
    return Principal(
        known.id,
        known.prefix,
        known.organization_id,
        known.user_id,
        frozenset(known.scopes),
        suspended=known.is_suspended,
        moved_to=known.moved_to,
    )


def bearer_token(authorization: str | None) -> str:
    """The token of an `Authorization` header's value. Raises Unauthenticated if it has none."""
    if authorization is None or not authorization.strip():
        raise Unauthenticated(problem=TokenProblem.MISSING)
    scheme, _, token = authorization.strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated
    return token.strip()
