"""The dispatcher: one per worker process; claims due deliveries by their ids, makes the attempts, has them recorded.

Admission decides what is claimed and started; the dispatcher carries it out. `submit` waits only for a slot, never for
a receiver. Every delivery in flight is under a lease in SQL, so that the process may die at any time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import structlog

from sendoff.context import Context
from sendoff.delivery.backlog import TICK_SECONDS, BacklogClaimer
from sendoff.delivery.claims import Claim, Claims
from sendoff.delivery.pipeline import FinishedAttempt, claim, deliver, release, timeout_of
from sendoff.delivery.record import Recorder
from sendoff.errors import Unavailable
from sendoff.policy.delivery.admission import Admission, EndpointFacts, Responsiveness, Ticket
from sendoff.policy.delivery.replay_feed import DueTime
from sendoff.policy.endpoints.addresses import find_target
from sendoff.store.queries.endpoints import Destination

_log = structlog.get_logger(__name__)

_LAST_RECORDS_SECONDS = 5.0
"""Seconds to record the last attempts when stopping; attempts that are not recorded by then are made again."""


class Dispatcher:
    """Makes attempts concurrently, as many as admission allows, and claims held deliveries in turn."""

    def __init__(self, context: Context) -> None:
        settings = context.settings
        self._context = context
        self.admission: Admission[Claim] = Admission(
            slots=settings.worker_max_in_flight,
            endpoint_cap=settings.endpoint_max_in_flight,
            target_cap=settings.endpoint_max_in_flight * settings.target_endpoint_shares,
        )
        # An attempt that starts later could outlive its lease.
        self._start_within = settings.lease_seconds - settings.attempt_timeout_seconds
        self._background: set[asyncio.Task[None]] = set()
        self._under_way: dict[asyncio.Task[None], Ticket[Claim]] = {}
        self._unrecorded: dict[str, Ticket[Claim]] = {}
        self._freed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = False
        self._recorder = Recorder(context, self._settle_recorded)
        self._backlog = BacklogClaimer(context, self.admission, self._claim, self.wait_for_slot)

    async def submit(
        self, delivery_ids: Sequence[str], endpoint_ids: Mapping[str, str] | None = None, *, is_bulk: bool = False
    ) -> None:
        """Start those of the deliveries that are due; returns when all are started, held or claimed by other workers.

        `endpoint_ids`: the deliveries' endpoints by the deliveries' ids, as far as known. A bulk takes only a share of
        the free slots at a time, so that single deliveries find some. Raises errors.Unavailable when the database
        cannot be reached; nothing is lost by it.
        """
        waiting = list(dict.fromkeys(delivery_ids))
        while waiting and await self.wait_for_slot():
            limit = self.admission.claim_limit(self._now(), is_bulk=is_bulk)
            batch, waiting = waiting[:limit], waiting[limit:]
            # A delivery that this process has sent but not recorded must not be sent again, even if its lease ended.
            ids = [delivery_id for delivery_id in batch if delivery_id not in self._unrecorded]
            quotas = self.admission.quotas(len(ids), self._now(), endpoint_ids=_endpoints_of(ids, endpoint_ids or {}))
            self.admission.begin_claim(len(ids))  # here already: others that wait for slots must not count on them
            claim_some = partial(claim, self._context, ids, quotas=quotas)
            # In a task of its own: what a cancelled caller had claimed would wait for its lease to end.
            submitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._in_background(self._claim_submitted(claim_some, len(ids), submitted))
            await submitted

    def backlog_available(self, endpoint_ids: Iterable[str]) -> None:
        """Claim deliveries that are held for these endpoints as soon as those have capacity."""
        self._backlog.add_endpoints(endpoint_ids)

    def backlog_falls_due(self, times: Iterable[DueTime]) -> None:
        """Claim what a replay has just fed to endpoints as it falls due."""
        self._backlog.add_due_times(times)

    async def wait_for_slot(self) -> int:
        """Wait until an attempt can start; return how many can, 0 only after `drain`."""
        while not self._stopping:
            if free := self.admission.free(self._now()):
                return free
            self._freed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(20 * TICK_SECONDS):  # attempts that become slow free slots without an event
                    await self._freed.wait()
        return 0

    @property
    def in_flight(self) -> int:
        """The number of attempts under way."""
        return len(self._under_way)

    @property
    def is_idle(self) -> bool:
        """Whether no attempt is under way or unrecorded, and no delivery is known to be held."""
        return self.admission.is_idle and self._backlog.is_idle and not self._background

    async def drain(self, grace_seconds: float) -> None:
        """Claim nothing more, release what is not sent yet, wait `grace_seconds` at most, release the rest."""
        self._stopping = True
        self._freed.set()
        self._backlog.stop()
        await self._release_unsent([ticket.item for ticket in self.admission.evict_all()])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await asyncio.wait([self._backlog.task, *self._background])
                if self._under_way:
                    await asyncio.wait(list(self._under_way))
        self._backlog.task.cancel()
        await asyncio.gather(self._backlog.task, return_exceptions=True)
        unfinished = dict(self._under_way)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        # Attempts that finished before they could be cancelled are with the recorder.
        await self._release_unsent([ticket.item for task, ticket in unfinished.items() if task.cancelled()])
        await self._recorder.close(within=_LAST_RECORDS_SECONDS)

    async def _release_unsent(self, claims: Sequence[Claim]) -> None:
        if claims:
            _log.info("released_at_shutdown", deliveries=len(claims))
            await self._release(claims, held=False)

    def _now(self) -> float:
        return self._context.clock.monotonic()

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _claim_submitted(
        self, claim_some: Callable[[], Awaitable[Claims]], at_most: int, submitted: asyncio.Future[None]
    ) -> None:
        """Claim for a caller that waits for `submitted`; an attempt that starts alone is made by the same task."""
        try:
            _, started = await self._claim_into_slots(claim_some, at_most)
        except Exception as error:
            if not submitted.done():
                submitted.set_exception(error)
            return
        if not submitted.done():
            submitted.set_result(None)
        task = asyncio.current_task()  # a new one would cost 4 µs and a round of the event loop for each delivery
        if len(started) != 1 or task is None:
            self._spawn(started)
        elif not self._release_if_unrecorded(started[0]):
            self._background.discard(task)
            self._note_under_way(task, started[0])
            await self._run(started[0])

    async def _claim(self, claim_some: Callable[[], Awaitable[Claims]], at_most: int) -> Claims:
        """Claim at most `at_most` deliveries, and start or queue them."""
        self.admission.begin_claim(at_most)
        claims, started = await self._claim_into_slots(claim_some, at_most)
        self._spawn(started)
        return claims

    async def _claim_into_slots(
        self, claim_some: Callable[[], Awaitable[Claims]], at_most: int
    ) -> tuple[Claims, list[Ticket[Claim]]]:
        """Claim after `begin_claim`; the caller makes the attempts that start, before it waits for anything."""
        claimed_since = self._now()
        try:
            claims = await claim_some()
            return claims, await self._schedule(claims, start_by=claimed_since + self._start_within)
        finally:
            self.admission.end_claim(at_most)
            self._freed.set()

    async def _schedule(self, claims: Claims, *, start_by: float) -> list[Ticket[Claim]]:
        """Offer the claims to admission; return what starts. If it is too late to start any, release all."""
        self._backlog.add_endpoints(claims.held_endpoint_ids)
        if self._stopping or self._now() > start_by:
            await self._release(claims.to_send, held=False)
            return []
        started: list[Ticket[Claim]] = []
        facts: dict[str, EndpointFacts] = {}
        for claimed in claims.to_send:
            endpoint, ticket = claimed.endpoint, Ticket(claimed, start_by)
            if endpoint.id not in facts:
                facts[endpoint.id] = self._facts(endpoint)
            if self.admission.offer(ticket, facts[endpoint.id], self._now()):
                started.append(ticket)
        self._arm()
        return started

    def _facts(self, endpoint: Destination) -> EndpointFacts:
        has_succeeded = endpoint.last_success_at is not None
        target = find_target(endpoint.url, self._context.addresses_of(endpoint.organization_id))
        return EndpointFacts(
            endpoint.id,
            Responsiveness.by_database(endpoint.consecutive_failures, has_succeeded=has_succeeded),
            targets=() if target is None else ((endpoint.organization_id, target.host, target.port),),
            rate_limit=endpoint.rate_limit,
            max_in_flight=endpoint.max_in_flight,
        )

    def _spawn(self, tickets: Iterable[Ticket[Claim]]) -> None:
        for ticket in tickets:
            if not self._release_if_unrecorded(ticket):
                self._note_under_way(asyncio.create_task(self._run(ticket)), ticket)

    def _release_if_unrecorded(self, ticket: Ticket[Claim]) -> bool:
        """Release the delivery if this process has sent it before and not recorded that yet; return whether so."""
        if ticket.item.delivery.id not in self._unrecorded:
            return False
        # The lease of its attempt under way ended, another worker held it, and it was claimed from the backlog.
        self._finish(ticket, answered=None)
        self.admission.settle()
        self._in_background(self._release([ticket.item], held=False))
        return True

    def _note_under_way(self, task: asyncio.Task[None], ticket: Ticket[Claim]) -> None:
        self._unrecorded[ticket.item.delivery.id] = ticket
        self._under_way[task] = ticket
        task.add_done_callback(self._under_way.pop)

    async def _release(self, claims: Sequence[Claim], *, held: bool) -> None:
        """Release claims unsent. If the database is away, they are due again when their leases end."""
        if not claims:
            return
        try:
            await release(self._context, claims, held=held)
        except Unavailable as error:
            _log.warning("requeue_failed", deliveries=len(claims), error=str(error))
        if held:
            self._backlog.add_endpoints(claimed.endpoint.id for claimed in claims)

    async def _run(self, ticket: Ticket[Claim]) -> None:
        claimed = ticket.item
        try:
            attempt = await deliver(self._context, claimed) if self._has_time(claimed) else None
        except BaseException as error:
            self._abandon(ticket)
            if not isinstance(error, Exception):
                raise
            # A defect of ours: the delivery is attempted again when its lease has ended.
            _log.exception("attempt_crashed", delivery=claimed.delivery.id)
            return
        if attempt is None:
            self._abandon(ticket)
            await self._release([claimed], held=True)
            return
        self._recorder.add(attempt)
        if attempt.frees_at_once:
            self._finish(ticket, answered=True)

    def _has_time(self, claimed: Claim) -> bool:
        """Whether an attempt that begins now would end before the lease does.

        `start_by` bounds what is queued in memory, by the default timeout; this holds for the endpoint's own timeout as
        the task really starts. `deliver` refuses a lease that has ended.
        """
        left = claimed.leased_until - self._context.clock.now()
        return left.total_seconds() > timeout_of(self._context, claimed.endpoint)

    def _finish(self, ticket: Ticket[Claim], *, answered: bool | None) -> None:
        """The exchange is over: its endpoint may start another."""
        self._spawn(self.admission.finish(ticket, answered=answered, now=self._now()))
        self._backlog.capacity_freed(ticket.item.endpoint.id)

    def _abandon(self, ticket: Ticket[Claim]) -> None:
        """The attempt was not made, or nothing is known of it: it is not recorded."""
        self._finish(ticket, answered=None)
        self._settle(ticket)

    def _settle(self, ticket: Ticket[Claim]) -> None:
        self.admission.settle()
        del self._unrecorded[ticket.item.delivery.id]
        self._freed.set()

    def _settle_recorded(self, attempts: Sequence[FinishedAttempt]) -> None:
        for attempt in attempts:
            ticket = self._unrecorded[attempt.claim.delivery.id]
            if not attempt.frees_at_once:
                self._finish(ticket, answered=attempt.status is not None)
            self._settle(ticket)

    def _arm(self) -> None:
        if self._timer is None and self.admission.has_queued:
            self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        self._timer = None
        started, evicted = self.admission.tick(self._now())
        self._spawn(started)
        if started:
            self._backlog.wake()
        if evicted:
            self._in_background(self._release([ticket.item for ticket in evicted], held=True))
        self._arm()


def _endpoints_of(delivery_ids: Sequence[str], endpoint_ids: Mapping[str, str]) -> set[str] | None:
    """The endpoints of these deliveries; None if that of any is not known."""
    if any(delivery_id not in endpoint_ids for delivery_id in delivery_ids):
        return None
    return {endpoint_ids[delivery_id] for delivery_id in delivery_ids}
