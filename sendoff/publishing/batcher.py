"""Group commit for publishing: requests that arrive while a transaction is under way share the next one.

An event that comes alone is committed at once, in one statement; under load dozens share a commit, and with it the
query for their API keys and subscribers. Nothing is cached, so that a revoked key or a new endpoint counts from the
next transaction on.

Keys take turns and small requests go first, so that one customer's large batches do not hold up another's event. What
makes many deliveries is committed in a transaction of its own, in its organization's turn. Organizations with
expressions or ordered endpoints share groups of their own, so that the others do not wait for their evaluation.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import itemgetter
from typing import Any

from sendoff.accounts.authentication import EVENTS_WRITE, Principal, hash_bearer_key, principal_of
from sendoff.context import Context
from sendoff.errors import SendoffError, TooLarge, Unavailable
from sendoff.policy.endpoints.matching import patterns_of_all
from sendoff.publishing.evaluation import Slices, evaluate_cheap, expressions_of
from sendoff.publishing.event_types import (
    SCHEMA_STEPS_AT_ONCE,
    check_data,
    check_types,
    look_up_publishable,
    schema_steps,
)
from sendoff.publishing.publish import (
    NOT_TAKEN,
    AcceptedEvent,
    CommitStatus,
    NewEvent,
    Publication,
    accept_one,
    answered_by,
    check_fan_out,
    check_transformed,
    enqueue_accepted,
    evaluate_publication,
    evaluate_without_transaction,
    insert_publications,
)
from sendoff.publishing.turns import PublishTurns
from sendoff.store.engine.database import ANSWER_SECONDS
from sendoff.store.hot.rows import Sender
from sendoff.store.queries.accounts import KnownKey
from sendoff.store.queries.endpoints import Subscriber
from sendoff.store.tables import EventType
from sendoff.turns import Turns

GATHER_SECONDS = 0.003
"""Seconds of pause after a group of several requests. Longer makes larger groups, and each request waits longer."""

ALONE_AT_MOST = 2
"""Events that are committed at the same time by statements of their own. More take connections that groups need; with
fewer, an event that comes while another one is committed needs two statements."""

EVENTS_AT_MOST = 1_000
"""Events in one transaction; its last request may exceed it. Larger groups make each request wait longer."""

DELIVERIES_AT_MOST = 5_000
"""Deliveries in one transaction of several requests: about 0.1 s on SQLite, for which all other writers wait."""

EVALUATION_SLICES = 5
"""Slices of SECONDS_AT_ONCE that begin in a group for the expressions of one request. The rest is evaluated in a
task of its own, which reads the organization's endpoints once more. With more slices, the other requests of the group
wait longer."""

EVALUATION_SECONDS = 0.1
"""Seconds that a group spends on the expressions of all its requests; the rest gets tasks of its own. All of its
requests wait for that long, and with much more the deadline of the oldest passes, at which all are refused."""

EVALUATION_TASKS_AT_ONCE = 4
"""Requests of one organization that have tasks of their own for it at once: each takes a slice in every round of the
event loop. With more, those of one organization hold up everything else; with fewer, its costly ones hold up its cheap
ones."""

LEAST_SECONDS = 1.0
"""A request that has less than this left for its answer is refused instead of committed, which may take as long. More
refuses events that would have been taken; less ends transactions that would have been committed."""

KEYS_REMEMBERED = 10_000
"""Keys of which a process knows that a statement of its own takes none of their events, at 150 bytes each. With fewer
than publish, some of their events ask the database once more than they need to."""

WAITING_BYTES_AT_MOST = 64 * 1024 * 1024
"""Bytes of events that wait in one process. Beyond this, requests get a 503 at once instead of filling its memory."""


@dataclass(slots=True, eq=False)
class _PendingPublish:
    key_hash: str
    events: Sequence[NewEvent]
    request_id: str | None
    in_batch: bool
    outcome: asyncio.Future[list[AcceptedEvent]]
    deadline: float
    status: CommitStatus
    data_checked: bool = False
    publication: Publication | None = None
    """Set when its key has been found valid; keeps what has been evaluated for it."""
    has_own_task: bool = False
    """A task of its own answers it; what becomes of its group does not concern it any more."""

    @property
    def size(self) -> int:
        """The bytes of its events."""
        return sum(len(event.data) for event in self.events)

    def refuse(self, error: Exception) -> None:
        if not self.outcome.done():
            self.outcome.set_exception(error)


_Authorized = tuple[_PendingPublish, Publication]


class _QueueByKey:
    """Requests that wait, in turns by the key that sent them."""

    def __init__(self) -> None:
        self._by_key: dict[str, deque[_PendingPublish]] = {}

    def __bool__(self) -> bool:
        return bool(self._by_key)

    def add(self, waiting: _PendingPublish) -> None:
        self._by_key.setdefault(waiting.key_hash, deque()).append(waiting)

    def take(self, events: int) -> list[_PendingPublish]:
        """Requests with that many events together, the last one may exceed it: one of each key at a time.

        In each round the smallest goes first, and among equals the key that has waited longest.
        """
        group: list[_PendingPublish] = []
        size = 0
        while self._by_key and size < events:
            for key in sorted(self._by_key, key=self._size_of_first):
                group.append(self._take_first(key))
                size += len(group[-1].events)
                if size >= events:
                    break
        return group

    def _size_of_first(self, key: str) -> int:
        return len(self._by_key[key][0].events)

    def _take_first(self, key: str) -> _PendingPublish:
        queue = self._by_key.pop(key)
        first = queue.popleft()
        if queue:
            self._by_key[key] = queue  # behind the other keys
        return first


class _Groups:
    """Requests that are committed together, one group at a time."""

    def __init__(self) -> None:
        self.waiting = _QueueByKey()
        self.task: asyncio.Task[None] | None = None

    @property
    def is_idle(self) -> bool:
        return self.task is None or self.task.done()


class PublishBatcher:
    """One per process. Requests are queued; a task commits as many together as are waiting."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._usual = _Groups()
        self._unusual = _Groups()
        self._waiting_bytes = 0
        self._alone = 0
        self._never_alone: set[str] = set()
        self._own_tasks: set[asyncio.Task[None]] = set()
        self._evaluating = Turns(EVALUATION_TASKS_AT_ONCE)

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
        loop = asyncio.get_running_loop()
        key_hash, deadline = hash_bearer_key(authorization), loop.time() + ANSWER_SECONDS
        async with answered_by(deadline) as status:
            if len(events) == 1 and self._is_quiet and key_hash not in self._never_alone:
                status.may_be_committed = True
                alone = await self._accept_one(key_hash, events[0], request_id)
                if alone is not None:
                    return [alone]
                status.may_be_committed = False
            waiting = _PendingPublish(key_hash, events, request_id, in_batch, loop.create_future(), deadline, status)
            return await self._wait_for(waiting)

    async def _wait_for(self, waiting: _PendingPublish) -> list[AcceptedEvent]:
        if self._waiting_bytes + waiting.size > WAITING_BYTES_AT_MOST:
            raise Unavailable("More events wait for the database than this process may hold; try again in a moment.")
        self._waiting_bytes += waiting.size
        try:
            self._add(waiting)
            return await waiting.outcome
        finally:
            self._waiting_bytes -= waiting.size

    @property
    def _is_quiet(self) -> bool:
        """Whether too few requests are under way for a shared transaction."""
        return self._alone < ALONE_AT_MOST and self._usual.is_idle

    async def _accept_one(self, key_hash: str, event: NewEvent, request_id: str | None) -> AcceptedEvent | None:
        """Commit an event that comes alone; None for one that may not be accepted, or only after a check."""
        self._alone += 1
        try:
            accepted = await accept_one(self.context, key_hash, event, scope=EVENTS_WRITE, request_id=request_id)
        finally:
            self._alone -= 1
        if accepted is not None:
            enqueue_accepted(self.context, [accepted])
        return accepted

    def _add(self, waiting: _PendingPublish) -> None:
        groups = self._unusual if waiting.key_hash in self._never_alone else self._usual
        groups.waiting.add(waiting)
        if groups.is_idle:
            groups.task = asyncio.create_task(self._work(groups.waiting))

    async def _work(self, queue: _QueueByKey) -> None:
        while queue:
            group = self._in_time(queue.take(EVENTS_AT_MOST))
            if not group:
                continue
            try:
                await self._commit_in_time(group)
            except Unavailable as error:
                for waiting in group:
                    if not waiting.has_own_task:
                        waiting.refuse(error)
            except Exception as error:
                await self._commit_one_by_one([waiting for waiting in group if not waiting.has_own_task], error)
            if len(group) > 1:
                await asyncio.sleep(GATHER_SECONDS)

    def _in_time(self, taken: Sequence[_PendingPublish]) -> list[_PendingPublish]:
        """Those that can still be answered: not the ones that were, whose clients left, or that waited for too long."""
        now = asyncio.get_running_loop().time()
        for waiting in taken:
            if waiting.deadline - now < LEAST_SECONDS:
                waiting.refuse(Unavailable(NOT_TAKEN))
        return [waiting for waiting in taken if not waiting.outcome.done()]

    async def _commit_one_by_one(self, group: Sequence[_PendingPublish], error: Exception) -> None:
        """Only the request that made the shared transaction fail may fail by it."""
        if len(group) == 1:
            group[0].refuse(error)
            return
        for waiting in group:
            try:
                await self._commit_in_time([waiting])
            except Exception as own_error:
                waiting.refuse(own_error)

    async def _commit_in_time(self, group: Sequence[_PendingPublish]) -> None:
        """Commit them by the deadline of the oldest."""
        async with answered_by(min(waiting.deadline for waiting in group)) as status:
            await self._commit(group, status)

    async def _commit(self, group: Sequence[_PendingPublish], status: CommitStatus) -> None:
        names = {event.type for waiting in group for event in waiting.events}
        senders = await self.context.hot.find_senders({waiting.key_hash for waiting in group}, patterns_of_all(names))
        self._remember(senders)
        types = await look_up_publishable(self.context, names)
        authorized = await self._check(self._authorize(group, senders, types), types)
        subscribers = {sender.key.organization_id: sender.subscribers for sender in senders.values()}
        together = self._fitting(await self._evaluate(authorized, subscribers), subscribers)
        for one in (status, *(waiting.status for waiting, _ in together)):
            one.may_be_committed = True
        answers = await insert_publications(self.context, [publication for _, publication in together], subscribers)
        for (waiting, _), accepted in zip(together, answers, strict=True):
            enqueue_accepted(self.context, accepted)
            if not waiting.outcome.done():
                waiting.outcome.set_result(accepted)

    def _remember(self, senders: Mapping[str, Sender]) -> None:
        """Note whose next event need not be tried alone, for endpoints of theirs that `accept_one` does not take."""
        if len(self._never_alone) + len(senders) > KEYS_REMEMBERED:
            self._never_alone.clear()
        for key_hash, sender in senders.items():
            if any(one.ordered or expressions_of(one) is not None for one in sender.subscribers):
                self._never_alone.add(key_hash)
            else:
                self._never_alone.discard(key_hash)

    def _fitting(
        self, authorized: Sequence[_Authorized], subscribers: Mapping[str, Sequence[Subscriber]]
    ) -> Sequence[_Authorized]:
        """The requests to commit together, those with the fewest deliveries first; the others get their own tasks."""
        sizes = [(check_fan_out(one[1], subscribers[one[1].organization_id]), one) for one in authorized]
        if sum(count for count, _ in sizes) <= DELIVERIES_AT_MOST:
            return [each for _, each in sizes]
        sizes.sort(key=itemgetter(0))
        ends = list(accumulate(count for count, _ in sizes))
        fitting = bisect_right(ends, DELIVERIES_AT_MOST)
        for _, (waiting, publication) in sizes[fitting:]:
            self._start_own_task(waiting, self._commit_in_own_task(waiting, publication))
        return [each for _, each in sizes[:fitting]]

    async def _commit_in_own_task(self, waiting: _PendingPublish, publication: Publication) -> None:
        try:
            async with (
                answered_by(waiting.deadline) as status,
                self.context.service(PublishTurns.of).taken(publication.organization_id, None),
            ):
                if waiting.outcome.done():  # its client left while others had their turns
                    return
                subscribers = await evaluate_without_transaction(self.context, publication)
                status.may_be_committed = waiting.status.may_be_committed = True
                [accepted] = await insert_publications(
                    self.context, [publication], {publication.organization_id: subscribers}
                )
        except Exception as error:
            waiting.refuse(error)
            return
        enqueue_accepted(self.context, accepted)
        if not waiting.outcome.done():
            waiting.outcome.set_result(accepted)

    def _start_own_task(self, waiting: _PendingPublish, work: Coroutine[Any, Any, None]) -> None:
        waiting.has_own_task = True
        task = asyncio.create_task(work)
        self._own_tasks.add(task)
        task.add_done_callback(self._own_tasks.discard)

    def _authorize(
        self, group: Sequence[_PendingPublish], senders: Mapping[str, Sender], types: Mapping[str, EventType]
    ) -> list[_Authorized]:
        """The requests whose keys and event types are valid; the others are answered with their error."""
        authorized: list[_Authorized] = []
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
                authorized.append((waiting, waiting.publication))
        return authorized

    async def _check(self, authorized: Sequence[_Authorized], types: Mapping[str, EventType]) -> list[_Authorized]:
        """The requests whose data satisfies the schemas. Costly checks run in separate tasks, without delaying it."""
        passed: list[_Authorized] = []
        for waiting, publication in authorized:
            if not waiting.data_checked:
                if schema_steps(types, waiting.events) > SCHEMA_STEPS_AT_ONCE:
                    self._start_own_task(waiting, self._check_in_own_task(waiting, publication.organization_id, types))
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

    async def _check_in_own_task(
        self, waiting: _PendingPublish, organization_id: str, types: Mapping[str, EventType]
    ) -> None:
        try:
            await check_data(self.context, organization_id, types, waiting.events, in_batch=waiting.in_batch)
        except Exception as error:
            waiting.refuse(error)
        else:
            waiting.data_checked, waiting.has_own_task = True, False
            self._add(waiting)

    async def _evaluate(
        self,
        authorized: Sequence[_Authorized],
        subscribers: Mapping[str, Sequence[Subscriber]],
    ) -> list[_Authorized]:
        """The requests whose subscribers' expressions are evaluated. What takes longer is done in separate tasks.

        A request that makes too many deliveries is refused.
        """
        evaluated: list[_Authorized] = []
        loop = asyncio.get_running_loop()
        slices, until = Slices(), loop.time() + EVALUATION_SECONDS
        for waiting, publication in authorized:
            found = subscribers[publication.organization_id]
            slices.left = EVALUATION_SLICES if loop.time() < until else 0
            try:
                check_fan_out(publication, found)
                jobs = publication.missing_evaluations(found, now=self.context.clock.now())
                results, left = await evaluate_cheap(jobs, slices)
                publication.evaluations.update(results)
                if left:
                    self._start_own_task(waiting, self._evaluate_in_own_task(waiting, publication, found))
                    continue
                check_transformed(publication, found)
            except TooLarge as error:
                waiting.refuse(error)
            else:
                evaluated.append((waiting, publication))
        return evaluated

    async def _evaluate_in_own_task(
        self, waiting: _PendingPublish, publication: Publication, subscribers: Sequence[Subscriber]
    ) -> None:
        try:
            async with answered_by(waiting.deadline), self._evaluating.taken(publication.organization_id):
                if waiting.outcome.done():  # its client left while others had their turns
                    return
                await evaluate_publication(self.context, publication, subscribers)
        except Exception as error:
            waiting.refuse(error)
        else:
            waiting.has_own_task = False
            self._add(waiting)

    def _principal(self, known: KnownKey | None) -> Principal:
        principal = principal_of(known, now=self.context.clock.now())
        principal.require(EVENTS_WRITE)
        return principal
