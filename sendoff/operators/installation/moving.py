"""Move an organization to another installation (cell): fence, copy, hand over, arrive, and then its history.

Each step can be repeated: a move that was interrupted goes on when it is started again. At no time do both cells send:

1. The fence: the old cell refuses the organization's keys with 503. What it accepted, it delivers on.
2. Keys, endpoints and settings are copied. Open deliveries are taken from the old cell's workers and copied; those
   under way are waited for.
3. The handover, one transaction in the old cell: what was taken is removed there, and its endpoints are deleted.
4. The arrival, one transaction in the new cell: keys are valid and deliveries due there.
5. Finished deliveries follow with their attempts, while the new cell works.

Until step 3 the move can be given up, and the old cell goes on as if nothing had been.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from sendoff.audit import Actor, write_audit
from sendoff.errors import Conflict, NotFound
from sendoff.idempotency import answer_binding
from sendoff.policy.states import DELETE, EndpointState
from sendoff.store.queries import accounts
from sendoff.store.queries.installation import moving, transfers
from sendoff.store.tables import Delivery, Endpoint, Event, EventType, IdempotencyRecord, Organization, User

if TYPE_CHECKING:
    from sendoff.context import Context
    from sendoff.store.engine.database import Transaction

SETTLE_SECONDS = 6.0
"""Requests that were let in before the fence are answered or given up within 5 s."""

KEPT_TAKEN = timedelta(days=1)
"""How long the old cell leaves alone what was taken, if the move is neither finished nor given up."""

_POLL_SECONDS = 0.5
_FAR = timedelta(days=36_500)


@dataclass(frozen=True, slots=True)
class MoveResult:
    """What a move brought to the new cell."""

    endpoints: int
    open_deliveries: int
    events: int
    """Of these the history was copied."""


@dataclass(frozen=True, slots=True)
class Move:
    """An organization and the two cells; `cell` is the new one's name in the routers."""

    source: Context
    target: Context
    organization_id: str
    cell: str
    actor: Actor
    report: Callable[[str], None] = lambda _: None
    """Hears what is done, in words."""

    async def run(self, *, settle_seconds: float = SETTLE_SECONDS) -> MoveResult:
        """Move it, or go on with a move that was interrupted. Raises NotFound; Conflict where it cannot be moved."""
        if not await self._is_handed_over():
            await self._fence()
            self.report("fenced: its requests are answered 503")
            await asyncio.sleep(settle_seconds)
            count = await self._copy_settings()
            self.report(f"{count} endpoints copied")
            await self._take_open()
            await self._hand_over()
            self.report("handed over")
        opened, endpoints = await self._arrive()
        self.report(f"arrived, with {opened} open deliveries")
        return MoveResult(endpoints, opened, await self._copy_history())

    async def give_up(self) -> None:
        """Let the old cell go on. Raises Conflict once it has handed over."""
        if await self._is_handed_over():
            raise Conflict("The old cell has handed over already; start the move again to finish it.")
        async with self.target.database.write() as tx:
            copies = await moving.handed_over(tx, self.organization_id, lease_token=self.organization_id)
            await moving.drop_deliveries(tx, copies)
            copy = await tx.get(Organization, self.organization_id)
            if copy is not None:
                copy.suspended_at = copy.suspended_at or self.target.clock.now()
        async with self.source.database.write() as tx:
            organization = await self._organization(tx)
            organization.moved_to = organization.suspended_at = None
            now = self.source.clock.now()
            await moving.arrive(tx, self.organization_id, lease_token=self.organization_id, now=now)
            self._audit(tx, self.source, "organization.stay")

    async def _is_handed_over(self) -> bool:
        async with self.source.database.read() as tx:
            return (await self._organization(tx)).moved_at is not None

    async def _fence(self) -> None:
        async with self.source.database.write() as tx:
            organization = await self._organization(tx)
            if organization.moved_to is None and organization.suspended_at is not None:
                raise Conflict("The organization is suspended; resume it before it moves.")
            if await moving.is_replaying(tx):
                raise Conflict("A replay runs, which may send to it; wait until it has ended, or cancel it.")
            if await moving.has_unfinished_uploads(tx, self.organization_id):
                raise Conflict("An upload of the organization is not finished; wait until it is, or cancel it.")
            if organization.moved_to is None:
                self._audit(tx, self.source, "organization.move")
            organization.moved_to = self.cell
            organization.suspended_at = organization.suspended_at or self.source.clock.now()

    async def _copy_settings(self) -> int:
        async with self.source.database.read() as tx:
            organization = await self._organization(tx)
            users = await moving.users_of(tx, self.organization_id)
            endpoints = await moving.endpoints_of(tx, self.organization_id)
            types = await moving.every(tx, EventType)
            small = [
                row for model in moving.SMALL_TABLES for row in await moving.all_of(tx, model, self.organization_id)
            ]
            subjects = [self.organization_id, *(endpoint.id for endpoint in endpoints)]
            sums = await moving.statistics_of(tx, subjects)
        async with self.target.database.write() as tx:
            await self._check_arrival(tx)
            await tx.merge(Organization(**organization.model_dump()))
            ids = await self._merge_users(tx, users)
            await moving.insert_missing(tx, types)
            await tx.flush()
            for endpoint in endpoints:
                fields = endpoint.model_dump() | {"user_id": ids.get(endpoint.user_id or "", endpoint.user_id)}
                await tx.merge(Endpoint(**fields | self._sealed_again(endpoint)))
            await tx.flush()
            await moving.insert_missing(tx, [self._for_target(row, ids) for row in small])
            await moving.replace_statistics(tx, subjects, sums)
        return len(endpoints)

    async def _check_arrival(self, tx: Transaction) -> None:
        there = await tx.get(Organization, self.organization_id)
        if there is not None and there.moved_to is None and there.suspended_at is None:
            raise Conflict("The organization is active in the new cell already; look at both before anything else.")

    async def _merge_users(self, tx: Transaction, users: Sequence[User]) -> dict[str, str]:
        """Users are known by their addresses, and may have another id in the new cell: the new ids by the old ones."""
        ids = {}
        for user in users:
            there = await accounts.find_user(tx, user.email)
            ids[user.id] = user.id if there is None else there.id
            if there is None:
                tx.add(User(**user.model_dump()))
        await tx.flush()
        return ids

    def _sealed_again(self, endpoint: Endpoint) -> dict[str, bytes]:
        return {
            name: self._seal(getattr(endpoint, name), endpoint.id)
            for name in transfers.SEALED
            if getattr(endpoint, name) is not None
        }

    def _for_target(self, row: moving.SmallRow, user_ids: dict[str, str]) -> moving.SmallRow:
        fields = row.model_dump()
        if fields.get("user_id"):
            fields["user_id"] = user_ids.get(fields["user_id"], fields["user_id"])
        if isinstance(row, IdempotencyRecord) and row.response_body is not None:
            fields["response_body"] = self._seal(row.response_body, answer_binding(row.organization_id, row.key))
        return type(row)(**fields)

    def _seal(self, sealed: bytes, bound_to: str) -> bytes:
        return self.target.vault.seal(self.source.vault.open(sealed, bound_to=bound_to, keep=False), bound_to=bound_to)

    async def _take_open(self) -> None:
        token = self.organization_id
        async with self.source.database.read() as tx:
            endpoints = [endpoint.id for endpoint in await moving.endpoints_of(tx, self.organization_id)]
        waited = 0
        while True:
            while await self._take_some(endpoints):
                pass
            async with self.source.database.read() as tx:
                left = await moving.count_under_way(tx, endpoints, besides=token)
            if not left:
                break
            if left != waited:
                self.report(f"{left} deliveries are under way")
            waited = left
            await asyncio.sleep(_POLL_SECONDS)
        await self._drop_old_copies()

    async def _drop_old_copies(self) -> None:
        """Drop copies of what the old cell delivered after all, because an earlier try took too long."""
        token = self.organization_id
        async with self.source.database.read() as tx:
            taken = await moving.handed_over(tx, self.organization_id, lease_token=token)
        async with self.target.database.write() as tx:
            copies = await moving.handed_over(tx, self.organization_id, lease_token=token)
            await moving.drop_deliveries(tx, {id_: event for id_, event in copies.items() if id_ not in taken})

    async def _take_some(self, endpoints: Sequence[str]) -> bool:
        """Copy some deliveries, then take them, while the old cell's rows are locked."""
        token = self.organization_id
        async with self.source.database.write() as tx:
            taken = await moving.waiting_deliveries(tx, endpoints, limit=moving.ROWS_AT_ONCE)
            if not taken:
                return False
            events = await moving.events_by_id(tx, (one.event_id for one in taken))
            await self._copy(tx, events, taken, is_open=True)
            until = self.source.clock.now() + KEPT_TAKEN
            await moving.hand_over(tx, [one.id for one in taken], lease_token=token, until=until)
        return True

    async def _copy(
        self, reading: Transaction, events: Sequence[Event], deliveries: Sequence[Delivery], *, is_open: bool
    ) -> None:
        """Copy the events, these deliveries of them and what belongs to them; open ones as handed over."""
        ids = [event.id for event in events]
        rest = [*await moving.tags_of(reading, ids), *await moving.belongings(reading, deliveries)]
        async with self.target.database.write() as tx:
            await moving.insert_missing(tx, events)
            if is_open:
                until = self.target.clock.now() + _FAR
                await moving.replace_deliveries(tx, deliveries, lease_token=self.organization_id, until=until)
            else:
                await moving.insert_missing(tx, deliveries)
            await moving.insert_missing(tx, rest)
            await moving.count_deliveries_again(tx, ids)

    async def _hand_over(self) -> None:
        async with self.source.database.write() as tx:
            organization = await self._organization(tx)
            endpoints = await moving.endpoints_of(tx, self.organization_id)
            ids = [endpoint.id for endpoint in endpoints]
            if await moving.count_under_way(tx, ids, besides=self.organization_id):
                raise Conflict(
                    "A delivery came back in the last moment, such as by a retry by hand; start the move again."
                )
            taken = await moving.handed_over(tx, self.organization_id, lease_token=self.organization_id)
            await moving.drop_deliveries(tx, taken)
            for endpoint in endpoints:
                if endpoint.state != EndpointState.DELETED:
                    endpoint.state = DELETE.target(endpoint.state)
            organization.moved_at = self.source.clock.now()
            self._audit(tx, self.source, "organization.hand_over")

    async def _arrive(self) -> tuple[int, int]:
        """The open deliveries and the endpoints in the new cell. Once it has arrived, nothing changes."""
        async with self.target.database.write() as tx:
            organization = await tx.get(Organization, self.organization_id)
            if organization is None:
                raise NotFound("The organization is not in the new cell; is it the one that it was handed over to?")
            if organization.moved_to == self.cell:
                organization.moved_to = organization.moved_at = organization.suspended_at = None
                self._audit(tx, self.target, "organization.arrive")
            now = self.target.clock.now()
            opened = await moving.arrive(tx, self.organization_id, lease_token=self.organization_id, now=now)
            return opened, len(await moving.endpoints_of(tx, self.organization_id))

    async def _copy_history(self) -> int:
        after, count = "", 0
        while True:
            async with self.source.database.read() as tx:
                events = await moving.events_after(tx, self.organization_id, after, limit=moving.ROWS_AT_ONCE)
                if not events:
                    return count
                finished = await moving.finished_deliveries_of(tx, [event.id for event in events])
                await self._copy(tx, events, finished, is_open=False)
            after, count = events[-1].id, count + len(events)
            self.report(f"{count} events of its history copied")

    async def _organization(self, tx: Transaction) -> Organization:
        found = await tx.get(Organization, self.organization_id)
        if found is None:
            raise NotFound(f"There is no organization {self.organization_id} in the old cell.")
        return found

    def _audit(self, tx: Transaction, context: Context, action: str) -> None:
        write_audit(
            tx,
            self.actor,
            action,
            target=("organization", self.organization_id),
            now=context.clock.now(),
            organization_id=self.organization_id,
            after={"cell": self.cell},
        )
