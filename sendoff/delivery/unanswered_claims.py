"""Claims of which the database went away: whether they were committed is not known."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from sendoff.store.queries.traffic import deliveries

if TYPE_CHECKING:
    from sendoff.context import Context


class UnansweredClaims:
    """Those of this process, until it has given them back: nothing was sent under their leases.

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

    def add(self, lease_token: str, leased_until: datetime) -> None:
        """Give back later whatever was claimed under this lease."""
        self._leases[lease_token] = leased_until

    async def give_back(self) -> None:
        """Make due again what was claimed under them. Raises errors.Unavailable while the database is away."""
        now = self._context.clock.now()
        self._leases = {token: until for token, until in self._leases.items() if until > now}  # what ended is due
        if not self._leases:
            return
        leases = dict(self._leases)
        async with self._context.database.write() as tx:
            for token, until in leases.items():
                await deliveries.release_lease(tx, token, until=until, now=now)
        for token in leases:
            self._leases.pop(token, None)
