"""The dispatcher: one per worker process; claims due deliveries by their ids, makes the attempts, has them recorded.

`submit` waits only for a slot, never for a receiver. Every delivery in flight is under a lease in SQL, so that the
process may die at any moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, TypeVar

import structlog

from sendoff.context import Context
from sendoff.delivery.admission import PREFETCH_MAX_SECONDS, AdmissionControl, Responsiveness
from sendoff.delivery.backlog import BacklogClaimer
from sendoff.delivery.capacity import PrefetchBuffer, Slots, at_most
from sendoff.delivery.pipeline import Claim, Claims, FinishedAttempt, claim, deliver, release
from sendoff.delivery.recorder import Recorder
from sendoff.delivery.start_rate import FEW_MORE, MANY_MORE, StartRateLimiter
from sendoff.errors import Unavailable
from sendoff.store.hot.rows import UNLIMITED, Quotas

Result = TypeVar("Result")

_log = structlog.get_logger(__name__)

FEW = 50
"""Claims of up to this many ids skip the quota check; deliveries without capacity are requeued afterwards. Larger
claims enforce per-endpoint quotas in SQL."""

SECONDS_PER_UNSENT = 0.0005
"""Seconds that the next claim waits for each delivery of a claim that became held, if they are more than FEW. Shorter,
and thousands in a row keep the database from recording."""

_LAST_RECORDS_SECONDS = 5.0
"""Seconds to record the last attempts when stopping; attempts that are not recorded by then are made again."""


class Dispatcher:
    """Makes attempts concurrently, as many as admission allows, and claims held deliveries in turn."""

    def __init__(self, context: Context) -> None:
        settings = context.settings
        self._context = context
        self.admission = AdmissionControl(
            slots=settings.worker_max_in_flight, endpoint_cap=settings.endpoint_max_in_flight
        )
        # A claim that takes longer leaves too little of its lease: the attempt could outlive it.
        self._claim_seconds = settings.lease_seconds - settings.attempt_timeout_seconds
        self._claiming: set[asyncio.Task[Any]] = set()
        self._under_way: dict[asyncio.Task[None], Claim] = {}
        self._unrecorded: set[str] = set()
        self._prefetched = PrefetchBuffer()
        self._slots = Slots(self.admission, self._prefetched, self._now)
        time = asyncio.get_running_loop().time
        self._start_rates = {
            Responsiveness.UNRESPONSIVE: StartRateLimiter(time, more=FEW_MORE),
            Responsiveness.UNTRIED: StartRateLimiter(time, more=FEW_MORE),
            Responsiveness.UNKNOWN: StartRateLimiter(time, more=MANY_MORE),
        }
        self._stopping = False
        self._recorder = Recorder(context, self._note_recorded)
        self._backlog = BacklogClaimer(context, self.admission, self._prefetched, self._slots, self._schedule)
        self._eviction = asyncio.create_task(self._evict_prefetched())

    async def submit(self, delivery_ids: Sequence[str]) -> None:
        """Start those of the deliveries that are due; returns when all are started, held or claimed by other workers.

        Raises errors.Unavailable when the database cannot be reached; nothing is lost by it.
        """
        waiting = list(delivery_ids)
        while waiting and not self._stopping:
            free = min(len(waiting), await self._slots.acquire())
            self._slots.reserve(free)
            batch, waiting = waiting[:free], waiting[free:]
            unsent = len(batch) - await self._shielded(self._claim_and_schedule(batch, free))
            if unsent > FEW:
                await asyncio.sleep(unsent * SECONDS_PER_UNSENT)

    def backlog_available(self, endpoint_ids: Iterable[str]) -> None:
        """Claim deliveries that are held for these endpoints as soon as those have capacity."""
        self._backlog.add_endpoints(endpoint_ids)

    async def wait_for_capacity(self) -> int:
        """Wait until an attempt can start; return how many can, 0 only after `drain`."""
        return await self._slots.acquire()

    @property
    def is_idle(self) -> bool:
        """Whether no attempt is under way or unrecorded, and no delivery is known to be held."""
        busy = self._under_way or self._unrecorded or self._prefetched or self._slots.is_reserved
        return not busy and self._backlog.is_idle

    async def drain(self, grace_seconds: float) -> None:
        """Claim nothing more, release what is not sent yet, wait `grace_seconds` at most, release the rest."""
        self._stopping = True
        self._slots.close()
        self._backlog.stop()
        self._eviction.cancel()
        unsent = {task: claimed for task, claimed in self._under_way.items() if self.admission.is_waiting(claimed.key)}
        await self._cancel(unsent, self._prefetched.evict(pushed_before=float("inf")))
        async with at_most(grace_seconds):
            await asyncio.wait([self._backlog.task, *self._claiming])
            if self._under_way:
                await asyncio.wait(list(self._under_way))
        self._backlog.task.cancel()
        await asyncio.gather(self._backlog.task, self._eviction, return_exceptions=True)
        await self._cancel(dict(self._under_way))
        await self._recorder.close(within=_LAST_RECORDS_SECONDS)

    async def _cancel(self, unfinished: dict[asyncio.Task[None], Claim], prefetched: Sequence[Claim] = ()) -> None:
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        # Attempts that finished before they could be cancelled are with the recorder.
        unanswered = [*prefetched, *(claimed for task, claimed in unfinished.items() if task.cancelled())]
        if not unanswered:
            return
        _log.info("released_at_shutdown", deliveries=len(unanswered))
        try:
            await release(self._context, unanswered)
        except Unavailable as error:
            _log.warning("release_failed", deliveries=len(unanswered), error=str(error))

    def _now(self) -> float:
        return self._context.clock.monotonic()

    async def _shielded(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Finish the work even if the caller is cancelled: an unstarted claim would wait for its lease to end."""
        task = asyncio.create_task(work)
        self._claiming.add(task)
        task.add_done_callback(self._claiming.discard)
        return await asyncio.shield(task)

    async def _claim_and_schedule(self, delivery_ids: Sequence[str], reserved: int) -> int:
        started = self._now()
        try:
            # A delivery that this process has sent but not recorded must not be sent again, even if its lease ended.
            others = [delivery_id for delivery_id in delivery_ids if delivery_id not in self._unrecorded]
            quotas = UNLIMITED if len(others) <= FEW else self._quotas(started)
            claims = await claim(self._context, others, quotas=quotas)
            await self._schedule(claims, started)
            return len(claims.to_send)
        finally:
            self._slots.release(reserved)

    async def _schedule(self, claims: Claims, claimed_since: float) -> None:
        if claims.held_endpoint_ids:
            self._backlog.add_endpoints(claims.held_endpoint_ids)
        too_late: list[Claim] = []
        too_many: list[Claim] = []
        for claimed in claims.to_send:
            endpoint, now = claimed.endpoint, self._now()
            self.admission.set_rate_limit(endpoint.id, endpoint.rate_limit, now)
            if endpoint.consecutive_failures:
                self.admission.seed(endpoint.id, Responsiveness.UNRESPONSIVE)
            elif endpoint.last_success_at is None:
                self.admission.seed(endpoint.id, Responsiveness.UNTRIED)
            if self._stopping or now - claimed_since > self._claim_seconds:
                too_late.append(claimed)
            elif self._claimable(endpoint.id, now) == 0:
                too_many.append(claimed)
            elif self.admission.available(endpoint.id, now) == 0:
                self._prefetched.push(claimed, now)
            else:
                self._spawn(claimed, now)
        await self._requeue(too_late, held=False)
        await self._requeue(too_many, held=True)

    def _spawn(self, claimed: Claim, now: float) -> None:
        start_rate = self._start_rates.get(self.admission.responsiveness(claimed.endpoint.id))
        if start_rate is None:
            self.admission.start(claimed.key, claimed.endpoint.id, now)
        else:
            self.admission.wait(claimed.key, claimed.endpoint.id)
        task = asyncio.create_task(self._run(claimed, start_rate))
        self._unrecorded.add(claimed.delivery.id)
        self._under_way[task] = claimed
        task.add_done_callback(self._under_way.pop)

    async def _requeue(self, claims: Sequence[Claim], *, held: bool) -> None:
        if not claims:
            return
        await release(self._context, claims, held=held)
        if held:
            self._backlog.add_endpoints(claimed.endpoint.id for claimed in claims)

    async def _requeue_if_possible(self, claims: Sequence[Claim]) -> None:
        try:
            await self._requeue(claims, held=True)
        except Unavailable as error:  # due again when their leases end
            _log.warning("requeue_failed", deliveries=len(claims), error=str(error))

    async def _run(self, claimed: Claim, start_rate: StartRateLimiter | None) -> None:
        try:
            attempt = await self._make(claimed, start_rate)
        except BaseException as error:
            self._on_finished(claimed, answered=None)
            self._forget(claimed)
            if not isinstance(error, Exception):
                raise
            # A defect of ours: the delivery is attempted again when its lease has ended.
            _log.exception("attempt_crashed", delivery=claimed.delivery.id)
        else:
            if attempt is None:
                self._on_finished(claimed, answered=None)
                self._forget(claimed)
                await self._requeue_if_possible([claimed])
                return
            self._recorder.add(attempt)
            if attempt.is_plain_success:
                self._on_finished(claimed, answered=True)
                self._slots.awaiting_record += 1

    async def _make(self, claimed: Claim, start_rate: StartRateLimiter | None) -> FinishedAttempt | None:
        """None when it could not start early enough in its lease."""
        if start_rate is None:
            return await self._deliver_within_lease(claimed)
        await start_rate.wait(claimed.endpoint.id)
        if self.admission.begin(claimed.key, self._now()):
            self._backlog.wake()
        attempt: FinishedAttempt | None = None
        try:
            attempt = await self._deliver_within_lease(claimed)
        finally:
            start_rate.release(claimed.endpoint.id, answered=attempt is None or attempt.status is not None)
        return attempt

    async def _deliver_within_lease(self, claimed: Claim) -> FinishedAttempt | None:
        return await deliver(self._context, claimed) if self._has_time(claimed) else None

    def _has_time(self, claimed: Claim) -> bool:
        """Whether an attempt that begins now would end before the lease does."""
        left = claimed.leased_until - self._context.clock.now()
        return left.total_seconds() > self._context.settings.attempt_timeout_seconds

    def _on_finished(self, claimed: Claim, *, answered: bool | None) -> None:
        """The exchange is over: its endpoint may start another."""
        endpoint_id, now = claimed.endpoint.id, self._now()
        self.admission.finish(claimed.key, answered=answered)
        if self.admission.is_known_to_answer(endpoint_id):
            for start_rate in self._start_rates.values():
                start_rate.admit_all(endpoint_id)
        if self._stopping:
            return
        while self.admission.available(endpoint_id, now) and (first := self._prefetched.pop(endpoint_id)):
            self._spawn(first, now)
        self._backlog.capacity_freed(endpoint_id)

    def _note_recorded(self, attempts: Sequence[FinishedAttempt]) -> None:
        for attempt in attempts:
            # A failed attempt keeps its capacity until it is recorded: else hundreds that time out at once would be
            # followed by hundreds more, and endpoints that answer would wait for both.
            if attempt.is_plain_success:
                self._slots.awaiting_record -= 1
            else:
                self._on_finished(attempt.claim, answered=attempt.status is not None)
            self._forget(attempt.claim)

    def _forget(self, claimed: Claim) -> None:
        self._unrecorded.discard(claimed.delivery.id)
        self._slots.notify()

    async def _evict_prefetched(self) -> None:
        """Requeue deliveries that were prefetched for too long: their endpoint is slower than it seemed."""
        while True:
            await asyncio.sleep(PREFETCH_MAX_SECONDS / 4)
            late = self._prefetched.evict(pushed_before=self._now() - PREFETCH_MAX_SECONDS)
            await self._requeue_if_possible(late)

    def _claimable(self, endpoint_id: str, now: float) -> int:
        return self.admission.claimable(endpoint_id, now, prefetched=self._prefetched.length(endpoint_id))

    def _quotas(self, now: float) -> Quotas:
        known = {endpoint_id: self._claimable(endpoint_id, now) for endpoint_id in self.admission.busy_endpoints(now)}
        return Quotas(known, default=self.admission.default_quota())
