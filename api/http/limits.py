"""Rate limits (OptimalDial and Dialbird contracts, "Rate limits").

Writes are counted in Redis for all API processes, reads in each process. A window is a minute of the wall clock. Its
counters have the minute in their names, so that nothing is ever reset, and expire by themselves. Counting in Redis is
one round trip of at most a second, after which Redis counts as away and the process counts alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime

from sendoff.accounts.authentication import Principal, hash_bearer_key
from sendoff.context import Context
from sendoff.errors import RateLimited, Unauthenticated
from sendoff.rate_windows import (
    WINDOW_SECONDS,
    LocalCounters,
    count_even_without_redis,
    limited_until_the_minute_ends,
    refuse_above,
    window_of,
)
from sendoff.turns import Turns

WRITES_PER_MINUTE_BY_KEY = 60
"""Writes a minute with one key; the contract names the number. A lower one breaks clients that rely on it."""

WRITES_PER_MINUTE_BY_ORGANIZATION = 600
"""Writes a minute of one organization, over all of its keys."""

_READS = "reads"

AUTHENTICATED_AT_ONCE = 8
"""Requests of one key that are authenticated and counted at once; its others wait. With more, a client that floods this
process makes other clients' requests wait for all of its own."""


async def limit_writes(context: Context, principal: Principal) -> None:
    """Count a write of the key and of its organization. Raises RateLimited."""
    now = context.clock.now()
    names = [f"key:{principal.key_id}", f"organization:{principal.organization_id}"]
    of_key, of_organization = await count_even_without_redis(context, names, now)
    refuse_above(WRITES_PER_MINUTE_BY_KEY, of_key, now)
    refuse_above(WRITES_PER_MINUTE_BY_ORGANIZATION, of_organization, now)


class RefusedKeys:
    """The keys that were refused as too frequent in the current minute: for reads, or for writes to an area of the API.

    Their next requests of that kind are refused as well, which takes a tenth of the time while nothing is looked up.
    """

    def __init__(self) -> None:
        self._window = 0
        self._refusals: dict[tuple[str, str], RateLimited] = {}

    @classmethod
    def of(cls, _context: Context) -> RefusedKeys:
        """For `context.service`: those of this process."""
        return cls()

    @property
    def is_empty(self) -> bool:
        """Whether no request was refused lately."""
        return not self._refusals

    def find(self, authorization: bytes, method: str, path: str, now: datetime) -> RateLimited | None:
        """The refusal of one more request by the sender of this header, if one like it was refused in this minute."""
        if not self._refusals or window_of(now) != self._window:
            return None
        try:
            name = (hash_bearer_key(authorization.decode("latin-1")), _counted_as(method, path))
        except Unauthenticated:
            return None
        if name not in self._refusals:
            return None
        last = self._refusals[name]
        refusal = limited_until_the_minute_ends(last.limit, last.observed + 1, now)
        self._refusals[name] = refusal
        return refusal

    @contextmanager
    def kept(self, key_hash: str, method: str, path: str, now: datetime) -> Iterator[None]:
        """Keep the refusal if the block raises RateLimited."""
        try:
            yield
        except RateLimited as refusal:
            if window_of(now) != self._window:
                self._window, self._refusals = window_of(now), {}
            self._refusals[key_hash, _counted_as(method, path)] = refusal
            raise


def _counted_as(method: str, path: str) -> str:
    """What is counted together: all reads, or the writes to an area such as `/api/v1/uploads`."""
    return _READS if method == "GET" else "/".join(path.split("/", 4)[:4])


@asynccontextmanager
async def key_turn(context: Context, key_hash: str, *, counts_as_write: bool) -> AsyncIterator[None]:
    """The key's turn to have a request authenticated and counted.

    Raises RateLimited for one that `counts_as_write` when as many wait as the key may send in a minute.
    """
    turns, name = context.service(key_turns), (key_hash, counts_as_write)
    waiting = turns.count(name)
    if counts_as_write and waiting >= WRITES_PER_MINUTE_BY_KEY:
        message = f"{waiting} writes with this key wait to be admitted; send fewer at once."
        raise RateLimited(limit=WRITES_PER_MINUTE_BY_KEY, observed=waiting + 1, retry_after_seconds=1, message=message)
    async with turns.taken(name):
        yield


def key_turns(_context: Context) -> Turns:
    """For `context.service`: the turns of keys, by their hashes, and by whether their requests count as writes."""
    return Turns(AUTHENTICATED_AT_ONCE)


def limit_reads(context: Context, organization_id: str) -> None:
    """Count a read of the organization. Raises RateLimited.

    Reads are counted in this process's memory: the limit protects the process, and a shared counter would cost each
    read a round trip.
    """
    now, limit = context.clock.now(), context.settings.read_rate_limit
    refuse_above(limit, context.service(LocalCounters.of).count(organization_id, now), now)


@dataclass(frozen=True, slots=True)
class RateLimitWindow:
    """A counter's current minute; `resets_at` is its end in Unix seconds."""

    limit: int
    observed: int
    resets_at: int

    def headers(self) -> dict[str, str]:
        """The window as every answer of the Dialbird surface carries it (Dialbird contract, "Rate limits")."""
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(max(0, self.limit - self.observed)),
            "X-RateLimit-Reset": str(self.resets_at),
        }

    def check(self, context: Context) -> None:
        """Raise RateLimited when the limit is exceeded."""
        if self.observed > self.limit:
            left = max(1, self.resets_at - int(context.clock.now().timestamp()))
            raise RateLimited(limit=self.limit, observed=self.observed, retry_after_seconds=left)


async def count_request(context: Context, name: str, *, limit: int) -> RateLimitWindow:
    """The window of a counter with this request."""
    now = context.clock.now()
    (observed,) = await count_even_without_redis(context, [name], now)
    return RateLimitWindow(limit, observed, (window_of(now) + 1) * WINDOW_SECONDS)
