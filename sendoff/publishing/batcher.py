"""Group commit for publishing: requests that arrive while a transaction is under way share the next one.

An event that comes alone is committed at once, in one statement; under load dozens share a commit, and with it the
query for their API keys and subscribers. Nothing is cached, so that a revoked key or a new endpoint counts from the
next transaction on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass

from sendoff.accounts.authentication import EVENTS_WRITE, Principal, hash_bearer_key, principal_of
from sendoff.context import Context
from sendoff.errors import SendoffError, Unavailable
from sendoff.policy.matching import patterns_of_all
from sendoff.publishing.evaluation import evaluate_at_once
from sendoff.publishing.event_types import STEPS_AT_ONCE, check_data, check_types, look_up_publishable, schema_steps
from sendoff.publishing.publish import (
    AcceptedEvent,
    NewEvent,
    Publication,
    accept_one,
    enqueue_accepted,
    evaluate_publication,
    insert_publications,
)
from sendoff.store.hot.rows import Sender
from sendoff.store.queries.accounts import KnownKey
from sendoff.store.queries.endpoints import Subscriber
from sendoff.store.tables import EventType

GATHER_SECONDS = 0.003
"""Seconds of pause after a group of several requests. Longer makes larger groups, and each request waits longer."""

EVENTS_AT_MOST = 1_000
"""Events in one transaction, unless its first request alone has more. Larger groups make each request wait longer."""


@dataclass(slots=True, eq=False)
class _PendingPublish:
    key_hash: str
    events: Sequence[NewEvent]
    request_id: str | None
    in_batch: bool
    outcome: asyncio.Future[list[AcceptedEvent]]
    data_checked: bool = False
    publication: Publication | None = None
    """Set when its key has been found valid; keeps what has been evaluated for it."""

    def refuse(self, error: Exception) -> None:
        if not self.outcome.done():
            self.outcome.set_exception(error)


class PublishBatcher:
    """One per process. Requests are queued; a task commits as many together as are waiting."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._queue: deque[_PendingPublish] = deque()
        self._at_work: asyncio.Task[None] | None = None
        self._has_one_under_way = False
        self._apart: set[asyncio.Task[None]] = set()

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
        key_hash = hash_bearer_key(authorization)
        if len(events) == 1 and self._is_quiet and (alone := await self._accept_one(key_hash, events[0], request_id)):
            return [alone]
        outcome: asyncio.Future[list[AcceptedEvent]] = asyncio.get_running_loop().create_future()
        self._add(_PendingPublish(key_hash, events, request_id, in_batch, outcome))
        return await outcome

    @property
    def _is_quiet(self) -> bool:
        """Whether no other request is under way that could share a transaction."""
        return not self._has_one_under_way and (self._at_work is None or self._at_work.done())

    async def _accept_one(self, key_hash: str, event: NewEvent, request_id: str | None) -> AcceptedEvent | None:
        """Commit an event that comes alone; None for one that may not be accepted, or only after a check."""
        self._has_one_under_way = True
        try:
            accepted = await accept_one(self.context, key_hash, event, scope=EVENTS_WRITE, request_id=request_id)
        finally:
            self._has_one_under_way = False
        if accepted is not None:
            enqueue_accepted(self.context, [accepted])
        return accepted

    def _add(self, waiting: _PendingPublish) -> None:
        self._queue.append(waiting)
        if self._at_work is None or self._at_work.done():
            self._at_work = asyncio.create_task(self._work())

    async def _work(self) -> None:
        while self._queue:
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

    def _next_group(self) -> list[_PendingPublish]:
        group = [self._queue.popleft()]
        size = len(group[0].events)
        while self._queue and size + len(self._queue[0].events) <= EVENTS_AT_MOST:
            group.append(self._queue.popleft())
            size += len(group[-1].events)
        return group

    async def _commit_one_by_one(self, group: Sequence[_PendingPublish], error: Exception) -> None:
        """Only the request that made the shared transaction fail may fail by it."""
        if len(group) == 1:
            group[0].refuse(error)
            return
        for waiting in group:
            try:
                await self._commit([waiting])
            except Exception as own_error:
                waiting.refuse(own_error)

    async def _commit(self, group: Sequence[_PendingPublish]) -> None:
        names = {event.type for waiting in group for event in waiting.events}
        senders = await self.context.hot.find_senders({waiting.key_hash for waiting in group}, patterns_of_all(names))
        types = await look_up_publishable(self.context, names)
        admitted = await self._check(self._admit(group, senders, types), types)
        subscribers = {sender.key.organization_id: sender.subscribers for sender in senders.values()}
        admitted = self._evaluate(admitted, subscribers)
        publications = [publication for _, publication in admitted]
        answers = await insert_publications(self.context, publications, subscribers)
        for (waiting, _), accepted in zip(admitted, answers, strict=True):
            enqueue_accepted(self.context, accepted)
            if not waiting.outcome.done():
                waiting.outcome.set_result(accepted)

    def _admit(
        self, group: Sequence[_PendingPublish], senders: Mapping[str, Sender], types: Mapping[str, EventType]
    ) -> list[tuple[_PendingPublish, Publication]]:
        """The requests whose keys and event types are valid; the others are answered with their error."""
        admitted: list[tuple[_PendingPublish, Publication]] = []
        for waiting in group:
            try:
                sender = senders.get(waiting.key_hash)
                principal = self._principal(sender.key if sender else None)
                check_types(types, waiting.events, in_batch=waiting.in_batch)
            except SendoffError as error:
                waiting.refuse(error)
            else:
                if waiting.publication is None:
                    waiting.publication = Publication.of(principal.organization_id, waiting.events, waiting.request_id)
                admitted.append((waiting, waiting.publication))
        return admitted

    async def _check(
        self, admitted: Sequence[tuple[_PendingPublish, Publication]], types: Mapping[str, EventType]
    ) -> list[tuple[_PendingPublish, Publication]]:
        """The requests whose data satisfies the schemas. Costly checks run in separate tasks, without delaying it."""
        passed: list[tuple[_PendingPublish, Publication]] = []
        for waiting, publication in admitted:
            if not waiting.data_checked:
                if schema_steps(types, waiting.events) > STEPS_AT_ONCE:
                    self._start(self._check_apart(waiting, publication.organization_id, types))
                    continue
                try:
                    await check_data(
                        self.context, publication.organization_id, types, waiting.events, in_batch=waiting.in_batch
                    )
                except SendoffError as error:
                    waiting.refuse(error)
                    continue
            passed.append((waiting, publication))
        return passed

    async def _check_apart(
        self, waiting: _PendingPublish, organization_id: str, types: Mapping[str, EventType]
    ) -> None:
        try:
            await check_data(self.context, organization_id, types, waiting.events, in_batch=waiting.in_batch)
        except Exception as error:
            waiting.refuse(error)
        else:
            waiting.data_checked = True
            self._add(waiting)

    def _evaluate(
        self,
        admitted: Sequence[tuple[_PendingPublish, Publication]],
        subscribers: Mapping[str, Sequence[Subscriber]],
    ) -> list[tuple[_PendingPublish, Publication]]:
        """The requests whose subscribers' expressions are evaluated. What takes longer is done in separate tasks."""
        evaluated: list[tuple[_PendingPublish, Publication]] = []
        for waiting, publication in admitted:
            found = subscribers[publication.organization_id]
            jobs = publication.missing_evaluations(found, now=self.context.clock.now())
            results, left = evaluate_at_once(jobs)
            publication.evaluations.update(results)
            if left:
                self._start(self._evaluate_apart(waiting, publication, found))
            else:
                evaluated.append((waiting, publication))
        return evaluated

    async def _evaluate_apart(
        self, waiting: _PendingPublish, publication: Publication, subscribers: Sequence[Subscriber]
    ) -> None:
        try:
            await evaluate_publication(self.context, publication, subscribers)
        except Exception as error:
            waiting.refuse(error)
        else:
            self._add(waiting)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._apart.add(task)
        task.add_done_callback(self._apart.discard)

    def _principal(self, known: KnownKey | None) -> Principal:
        principal = principal_of(known, now=self.context.clock.now())
        principal.require(EVENTS_WRITE)
        return principal
