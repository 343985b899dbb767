"""The port for the statements of every delivery: accept, claim and record, with an implementation for each database.

They bypass SQLAlchemy (docs/decisions/0011). Everything else that asks the database stands in `store/queries`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from sendoff.policy.delivery.admission import Quotas
from sendoff.store.engine.database import Database, Transaction
from sendoff.store.hot.postgres import PostgresHotStore
from sendoff.store.hot.rows import AttemptRecord, ClaimResult, EventOfKey, Recorded, Sender, WorkAtHand
from sendoff.store.hot.sqlite import SqliteHotStore
from sendoff.store.queries.accounts import KnownKey
from sendoff.store.queries.endpoints import Subscriber
from sendoff.store.queries.traffic.deliveries import NewDelivery
from sendoff.store.queries.traffic.events import NewEventRow


class HotStore(Protocol):
    """What every delivery asks of the database. Each method raises errors.Unavailable when it cannot be reached."""

    async def find_keys(self, key_hashes: Collection[str]) -> dict[str, KnownKey]:
        """Return the API keys with these SHA-256 hashes, by hash; revoked and expired ones as well."""
        ...

    async def find_senders(self, key_hashes: Collection[str], types: Collection[str]) -> dict[str, Sender]:
        """Return the API keys with these SHA-256 hashes, by hash, and who subscribes to any of `types` at their owners.

        Revoked and expired keys are returned as well; unknown ones are missing. The database compares the lists of
        types: what it returns does not grow with the types that an endpoint names.
        """
        ...

    async def find_subscribers(
        self, tx: Transaction, organization_ids: Iterable[str], types: Collection[str]
    ) -> dict[str, list[Subscriber]]:
        """Return the subscribers of each of these organizations to any of `types`, by the organization's id."""
        ...

    async def accept(
        self,
        new_events: Sequence[NewEventRow],
        new_deliveries: Sequence[NewDelivery],
        *,
        now: datetime,
        tx: Transaction | None = None,
    ) -> None:
        """Insert events and their deliveries, all created `now`: within `tx`, or else committed on return."""
        ...

    async def accept_one(
        self, new: EventOfKey, *, scope: str, is_built_in: bool, now: datetime
    ) -> tuple[str, list[NewDelivery]] | None:
        """Commit an event with its deliveries in one statement, if nothing about it is unusual.

        Returns its organization and those deliveries.

        None, with nothing written, unless its key is valid and carries `scope`, its organization is not suspended and
        its type is built in or registered without a schema, and no endpoint that it matches has a filter or a
        transform or is ordered; `find_senders` tells why. None always on SQLite, where a statement costs no round
        trip. The deliveries of an endpoint that has held ones are held.
        """
        ...

    async def claim_due(
        self, ids: Sequence[str], *, quotas: Quotas, lease_token: str, now: datetime, until: datetime
    ) -> ClaimResult:
        """Claim those of `ids` that are due, under `lease_token` until `until`, oldest first.

        A claim survives the death of any process; a crash of the database server may undo those of the last half
        second, whose deliveries are then due again.

        A delivery that was never tried is due whatever its time says: the clock that wrote it may be ahead of this one.
        Deliveries beyond their endpoint's quota become `held`. Live ones are claimed before replayed ones, the oldest
        of each first.
        """
        ...

    async def claim_held(
        self, quotas: Mapping[str, int], *, lease_token: str, now: datetime, until: datetime
    ) -> ClaimResult:
        """Claim the held deliveries of some endpoints whose turn it is, of each at most its quota.

        Of those that a replay feeds, only what has fallen due by `now`.
        """
        ...

    async def record(self, attempts: Sequence[AttemptRecord], *, now: datetime, failing_at: int) -> Recorded:
        """Write what attempts came to, in the order they ended, and commit: successes, failures and dead letters.

        An endpoint with `failing_at` consecutive failures counts as failing. That it began to, or recovered, and each
        dead letter is an operational event if an alert endpoint subscribes to it.
        Attempts whose delivery is not in flight under their lease any more change nothing.
        """
        ...

    async def look_for_work(self, *, now: datetime, enqueued_until: datetime) -> WorkAtHand:
        """Say what may be to do, in one statement: for what is asked every second, even when nothing happens.

        Deliveries that were accepted after `enqueued_until` and were never tried do not count: they are in the queue.
        """
        ...


def open_hot_store(database: Database) -> HotStore:
    """The implementation for this database."""
    direct = database.direct
    return SqliteHotStore(database.embedded) if direct is None else PostgresHotStore(direct)
