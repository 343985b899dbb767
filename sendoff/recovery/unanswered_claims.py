"""Claims of which the database went away: whether they were committed is not known."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sendoff.errors import Unavailable
from sendoff.settings import LONGEST_ENDPOINT_TIMEOUT_SECONDS
from sendoff.store.queries.traffic import deliveries

if TYPE_CHECKING:
    from sendoff.context import Context


class UnansweredClaims:
    """Those of this process, until it has released them: nothing was sent under their leases.

    Otherwise what was claimed in the moment of a failover would wait for its lease to end, which takes far longer than
    the failover.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._leases: dict[str, datetime] = {}

    @classmethod
    def of(cls, context: Context) -> UnansweredClaims:
        """The process's own."""
        return context.service(cls)

    @contextmanager
    def watched(self, lease_token: str, leased_until: datetime) -> Iterator[None]:
        """Note the lease if the database goes away in this block, unless it was not even asked."""
        try:
            yield
        except Unavailable as error:
            if error.was_asked:
                self._leases[lease_token] = leased_until
            raise

    async def release(self) -> None:
        """Make due again what was claimed under them. Raises errors.Unavailable while the database is away."""
        now = self._context.clock.now()
        ended = now - timedelta(seconds=LONGEST_ENDPOINT_TIMEOUT_SECONDS)  # by which leases may have been extended
        self._leases = {token: until for token, until in self._leases.items() if until > ended}
        if not self._leases:
            return
        tokens = list(self._leases)
        async with self._context.database.write() as tx:
            await deliveries.release_leases(tx, tokens, until=min(self._leases.values()), now=now)
        for token in tokens:
            del self._leases[token]
