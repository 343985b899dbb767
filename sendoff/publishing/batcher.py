"""Accept together: what is published while a transaction is under way shares the next one.

Alone, a publish commits at once; under load dozens share a commit, and with it the look at their API keys and
subscriptions. Nothing is cached, so that a revoked key or a new endpoint counts from the next transaction on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sendoff.accounts.authentication import EVENTS_WRITE, Principal, principal_of, read_idempotency_key
from sendoff.context import Context
from sendoff.errors import SendoffError, Unavailable
from sendoff.publishing.event_types import STEPS_AT_ONCE, check_data, check_types, look_up_publishable, schema_steps
from sendoff.publishing.publish import (
    AcceptedEvent,
    NewEvent,
    Publication,
    plan_publications,
    ring_for,
)
from sendoff.store.hot import acceptance
from sendoff.store.hot.acceptance import Sender
from sendoff.store.queries.accounts import KnownKey
from sendoff.store.tables import EventType

GATHER_SECONDS = 0.003
"""The pause after a group of several requests: under load, what comes meanwhile shares the next one."""

EVENTS_AT_MOST = 1_000
"""Events in one transaction, beyond the first request of it: more would only make everybody wait longer."""


@dataclass(slots=True, eq=False)
class _Waiting:
    key_hash: str
    events: Sequence[NewEvent]
    request_id: str | None
    in_batch: bool
    outcome: asyncio.Future[list[AcceptedEvent]]
    data_checked: bool = False

    def refuse(self, error: Exception) -> None:
        if not self.outcome.done():
            self.outcome.set_exception(error)


class PublishBatcher:
    """One per process. Requests stand in line; a task takes as many of them as are there."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._line: deque[_Waiting] = deque()
        self._at_work: asyncio.Task[None] | None = None
        self._checks: set[asyncio.Task[None]] = set()

    async def publish(
        self,
        authorization: str | None,
        events: Sequence[NewEvent],
        *,
        request_id: str | None = None,
        in_batch: bool = False,
    ) -> list[AcceptedEvent]:
        """Commit the events of one request with their deliveries, all or none, for the organization of its key.

        Raises Unauthenticated, MissingScope, UnknownEventType, Invalid or Unavailable, each for this request alone.
        """
        outcome: asyncio.Future[list[AcceptedEvent]] = asyncio.get_running_loop().create_future()
        self._add(_Waiting(read_idempotency_key(authorization), events, request_id, in_batch, outcome))
        return await outcome

    def _add(self, waiting: _Waiting) -> None:
        self._line.append(waiting)
        if self._at_work is None or self._at_work.done():
            self._at_work = asyncio.create_task(self._work())

    async def _work(self) -> None:
        while self._line:
            group = self._next_group()
            try:
                await self._commit(group)
            except Unavailable as error:
                for waiting in group:
                    waiting.refuse(error)
            except Exception as error:
                await self._commit_one_by_one(group, error)
            if len(group) > 1:
                await asyncio.sleep(GATHER_SECONDS)

    def _next_group(self) -> list[_Waiting]:
        group = [self._line.popleft()]
        size = len(group[0].events)
        while self._line and size + len(self._line[0].events) <= EVENTS_AT_MOST:
            group.append(self._line.popleft())
            size += len(group[-1].events)
        return group

    async def _commit_one_by_one(self, group: Sequence[_Waiting], error: Exception) -> None:
        """What spoiled the common transaction is one request's affair, not that of its neighbours."""
        if len(group) == 1:
            group[0].refuse(error)
            return
        for waiting in group:
            try:
                await self._commit([waiting])
            except Exception as its_own:
                waiting.refuse(its_own)

    async def _commit(self, group: Sequence[_Waiting]) -> None:
        names = {event.type for waiting in group for event in waiting.events}
        senders = await acceptance.find_senders(self.context.database, {waiting.key_hash for waiting in group}, names)
        types = await look_up_publishable(self.context, names)
        admitted = await self._check(self._admit(group, senders, types), types)
        now = self.context.clock.now()
        subscribers = {sender.key.organization_id: sender.subscribers for sender in senders.values()}
        publications = [publication for _, publication in admitted]
        cap = self.context.settings.endpoint_max_in_flight
        plan = plan_publications(publications, subscribers, endpoint_cap=cap, now=now)
        if plan.events:
            await acceptance.add(self.context.database, plan.events, plan.deliveries, now=now)
        for (waiting, _), accepted in zip(admitted, plan.accepted, strict=True):
            ring_for(self.context, accepted)
            if not waiting.outcome.done():
                waiting.outcome.set_result(accepted)

    def _admit(
        self, group: Sequence[_Waiting], senders: Mapping[str, Sender], types: Mapping[str, EventType]
    ) -> list[tuple[_Waiting, Publication]]:
        """Those of the group that may publish what they hand in; the others are told why not."""
        admitted: list[tuple[_Waiting, Publication]] = []
        for waiting in group:
            try:
                sender = senders.get(waiting.key_hash)
                principal = self._principal(sender.key if sender else None)
                check_types(types, waiting.events, in_batch=waiting.in_batch)
            except SendoffError as error:
                waiting.refuse(error)
            else:
                publication = Publication(principal.organization_id, waiting.events, waiting.request_id)
                admitted.append((waiting, publication))
        return admitted

    async def _check(
        self, admitted: Sequence[tuple[_Waiting, Publication]], types: Mapping[str, EventType]
    ) -> list[tuple[_Waiting, Publication]]:
        """Those whose data satisfies the schemas. Costly checks are made apart: the group does not wait for them."""
        passed: list[tuple[_Waiting, Publication]] = []
        for waiting, publication in admitted:
            if not waiting.data_checked:
                if schema_steps(types, waiting.events) > STEPS_AT_ONCE:
                    task = asyncio.create_task(self._check_apart(waiting, types))
                    self._checks.add(task)
                    task.add_done_callback(self._checks.discard)
                    continue
                try:
                    await check_data(types, waiting.events, in_batch=waiting.in_batch)
                except SendoffError as error:
                    waiting.refuse(error)
                    continue
            passed.append((waiting, publication))
        return passed

    async def _check_apart(self, waiting: _Waiting, types: Mapping[str, EventType]) -> None:
        try:
            await check_data(types, waiting.events, in_batch=waiting.in_batch)
        except Exception as error:
            waiting.refuse(error)
        else:
            waiting.data_checked = True
            self._add(waiting)

    def _principal(self, known: KnownKey | None) -> Principal:
        principal = principal_of(known, now=self.context.clock.now())
        principal.require(EVENTS_WRITE)
        return principal
