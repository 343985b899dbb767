"""The dispatcher: one per worker process; takes ids of due deliveries, makes the attempts, hands them to the recorder.

Who brings ids waits here only for a slot, never for a receiver. What makes all of it safe is not in this file: every
delivery in flight is under a lease in SQL, so that a process may die at any moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, TypeVar

import structlog

from sendoff.context import Context
from sendoff.delivery.admission import LONGEST_IN_LINE_SECONDS, AdmissionControl, Standing
from sendoff.delivery.backlog import BacklogClaimer
from sendoff.delivery.pipeline import Claim, Claims, FinishedAttempt, claim, deliver, release
from sendoff.delivery.prefetch import PrefetchBuffer
from sendoff.delivery.recorder import Recorder
from sendoff.delivery.slots import Slots
from sendoff.delivery.start_rate import FEW_MORE, MANY_MORE, StartRateLimiter
from sendoff.delivery.waiting import at_most
from sendoff.errors import Unavailable
from sendoff.store.hot.claims import ANY_ROOM, Quotas

Result = TypeVar("Result")

_log = structlog.get_logger(__name__)

FEW = 50
"""So many ids are claimed in the hope that there is room for them, and put off if there is none. Of more, the claim
itself decides by what is known of busy endpoints: a prompt one that has nothing under way may have to wait a turn."""

SECONDS_PER_HELD = 0.0005
"""When more than a few of a claim are not sent, most of them held, the next claim waits, so long for each: nobody waits
for those, and thousands in a row would leave the database no time for others."""

_LAST_RECORDS_SECONDS = 5.0  # what a process that was told to stop may take to record what it has sent


class Dispatcher:
    """Makes attempts side by side, as many as admission allows, and takes up held deliveries in turn."""

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
        self._lines = PrefetchBuffer()
        self._slots = Slots(self.admission, self._lines, self._now)
        time = asyncio.get_running_loop().time
        self._ramps = {
            Standing.SILENT: StartRateLimiter(time, more=FEW_MORE),
            Standing.UNTRIED: StartRateLimiter(time, more=FEW_MORE),
            None: StartRateLimiter(
                time, more=MANY_MORE
            ),  # does well, by the database, and is not known to this process yet
        }
        self._stopping = False
        self._recorder = Recorder(context, self._note_recorded)
        self._backlog = BacklogClaimer(context, self.admission, self._lines, self._slots, self._start)
        self._line_watch = asyncio.create_task(self._clear_lines())

    async def submit(self, delivery_ids: Sequence[str]) -> None:
        """Start those of the deliveries that are due; returns when all are started, held or somebody else's.

        Raises errors.Unavailable when the database cannot be reached; nothing is lost by it.
        """
        waiting = list(delivery_ids)
        while waiting and not self._stopping:
            room = min(len(waiting), await self._slots.acquire())
            self._slots.reserve(room)
            batch, waiting = waiting[:room], waiting[room:]
            unsent = len(batch) - await self._to_the_end(self._take(batch, room))
            if unsent > FEW:
                await asyncio.sleep(unsent * SECONDS_PER_HELD)

    def backlog_available(self, endpoint_ids: Iterable[str]) -> None:
        """Take up deliveries that are held for these endpoints as soon as those have room."""
        self._backlog.look_for(endpoint_ids)

    async def wait_for_capacity(self) -> int:
        """Wait until an attempt can start; how many can at this moment, 0 only for who is told to stop."""
        return await self._slots.acquire()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way, unrecorded or known to be held."""
        busy = self._under_way or self._unrecorded or self._lines or self._slots.is_reserved
        return not busy and self._backlog.is_idle

    async def drain(self, grace_seconds: float) -> None:
        """Take nothing new, release what is not sent yet for others, wait `grace_seconds` at most, release the rest."""
        self._stopping = True
        self._slots.close()
        self._backlog.stop()
        self._line_watch.cancel()
        unsent = {task: claimed for task, claimed in self._under_way.items() if self.admission.is_waiting(claimed.key)}
        await self._abandon(unsent, self._lines.evict(joined_before=float("inf")))
        async with at_most(grace_seconds):
            await asyncio.wait([self._backlog.task, *self._claiming])
            if self._under_way:
                await asyncio.wait(list(self._under_way))
        self._backlog.task.cancel()
        await asyncio.gather(self._backlog.task, self._line_watch, return_exceptions=True)
        await self._abandon(dict(self._under_way))
        await self._recorder.close(within=_LAST_RECORDS_SECONDS)

    async def _abandon(self, unfinished: dict[asyncio.Task[None], Claim], in_line: Sequence[Claim] = ()) -> None:
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        # Those that were answered at the last moment are the recorder's.
        unanswered = [*in_line, *(claimed for task, claimed in unfinished.items() if task.cancelled())]
        if not unanswered:
            return
        _log.info("released_at_shutdown", deliveries=len(unanswered))
        try:
            await release(self._context, unanswered)
        except Unavailable as error:
            _log.warning("not_released", deliveries=len(unanswered), error=str(error))

    def _now(self) -> float:
        return self._context.clock.monotonic()

    async def _to_the_end(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Do it even if the caller is cancelled: what is claimed and not started would wait for its lease to end."""
        task = asyncio.create_task(work)
        self._claiming.add(task)
        task.add_done_callback(self._claiming.discard)
        return await asyncio.shield(task)

    async def _take(self, delivery_ids: Sequence[str], room: int) -> int:
        started = self._now()
        try:
            # What this process has sent and could not record yet must not be sent again, whatever its lease says.
            others = [delivery_id for delivery_id in delivery_ids if delivery_id not in self._unrecorded]
            rooms = ANY_ROOM if len(others) <= FEW else self._quotas_to_claim(started)
            claims = await claim(self._context, others, rooms=rooms)
            await self._start(claims, started)
            return len(claims.to_send)
        finally:
            self._slots.release(room)

    async def _start(self, claims: Claims, claimed_since: float) -> None:
        if claims.held_endpoint_ids:
            self._backlog.look_for(claims.held_endpoint_ids)
        too_late: list[Claim] = []
        too_many: list[Claim] = []
        for claimed in claims.to_send:
            endpoint, now = claimed.endpoint, self._now()
            self.admission.set_rate_limit(endpoint.id, endpoint.rate_limit, now)
            if endpoint.consecutive_failures:
                self.admission.expect(endpoint.id, Standing.SILENT)
            elif endpoint.last_success_at is None:
                self.admission.expect(endpoint.id, Standing.UNTRIED)
            if self._stopping or now - claimed_since > self._claim_seconds:
                too_late.append(claimed)
            elif self._claimable(endpoint.id, now) == 0:
                too_many.append(claimed)
            elif self.admission.room_for(endpoint.id, now) == 0:
                self._lines.join(claimed, now)
            else:
                self._launch(claimed, now)
        await self._requeue(too_late, held=False)
        await self._requeue(too_many, held=True)

    def _launch(self, claimed: Claim, now: float) -> None:
        ramp = self._ramps.get(self.admission.standing(claimed.endpoint.id))
        if ramp is None:
            self.admission.start(claimed.key, claimed.endpoint.id, now)
        else:
            self.admission.wait(claimed.key, claimed.endpoint.id)
        task = asyncio.create_task(self._attempt(claimed, ramp))
        self._unrecorded.add(claimed.delivery.id)
        self._under_way[task] = claimed
        task.add_done_callback(self._under_way.pop)

    async def _requeue(self, claims: Sequence[Claim], *, held: bool) -> None:
        if not claims:
            return
        await release(self._context, claims, held=held)
        if held:
            self._backlog.look_for(claimed.endpoint.id for claimed in claims)

    async def _requeue_if_possible(self, claims: Sequence[Claim]) -> None:
        try:
            await self._requeue(claims, held=True)
        except Unavailable as error:  # their leases end by themselves
            _log.warning("not_put_off", deliveries=len(claims), error=str(error))

    async def _attempt(self, claimed: Claim, ramp: StartRateLimiter | None) -> None:
        try:
            attempt = await self._make(claimed, ramp)
        except BaseException as error:
            self._let_next(claimed, answered=None)
            self._forget(claimed)
            if not isinstance(error, Exception):
                raise
            # A defect of ours: the lease ends by itself, and until then nobody runs into it again.
            _log.exception("attempt_crashed", delivery=claimed.delivery.id)
        else:
            if attempt is None:
                self._let_next(claimed, answered=None)
                self._forget(claimed)
                await self._requeue_if_possible([claimed])
                return
            self._recorder.add(attempt)
            if attempt.is_plain_success:
                self._let_next(claimed, answered=True)
                self._slots.awaiting_record += 1

    async def _make(self, claimed: Claim, ramp: StartRateLimiter | None) -> FinishedAttempt | None:
        """None when its turn came too late."""
        if ramp is None:
            return await self._deliver_in_time(claimed)
        await ramp.wait(claimed.endpoint.id)
        if self.admission.begin(claimed.key, self._now()):
            self._backlog.wake()
        attempt: FinishedAttempt | None = None
        try:
            attempt = await self._deliver_in_time(claimed)
        finally:
            ramp.leave(claimed.endpoint.id, answered=attempt is None or attempt.status is not None)
        return attempt

    async def _deliver_in_time(self, claimed: Claim) -> FinishedAttempt | None:
        return await deliver(self._context, claimed) if self._has_time(claimed) else None

    def _has_time(self, claimed: Claim) -> bool:
        """Whether an attempt that begins now would end before the lease does."""
        left = claimed.leased_until - self._context.clock.now()
        return left.total_seconds() > self._context.settings.attempt_timeout_seconds

    def _let_next(self, claimed: Claim, *, answered: bool | None) -> None:
        """The receiver is done with this one: its endpoint may get another."""
        endpoint_id, now = claimed.endpoint.id, self._now()
        self.admission.finish(claimed.key, answered=answered)
        if self.admission.is_known_to_answer(endpoint_id):
            for ramp in self._ramps.values():
                ramp.admit_all(endpoint_id)
        if self._stopping:
            return
        while self.admission.room_for(endpoint_id, now) and (first := self._lines.call(endpoint_id)):
            self._launch(first, now)
        self._backlog.capacity_freed(endpoint_id)

    def _note_recorded(self, attempts: Sequence[FinishedAttempt]) -> None:
        for attempt in attempts:
            # What failed keeps its room until it is recorded: else hundreds that time out at once would be followed by
            # hundreds more, all of them in the way of those that do well.
            if attempt.is_plain_success:
                self._slots.awaiting_record -= 1
            else:
                self._let_next(attempt.claim, answered=attempt.status is not None)
            self._forget(attempt.claim)

    def _forget(self, claimed: Claim) -> None:
        self._unrecorded.discard(claimed.delivery.id)
        self._slots.notify()

    async def _clear_lines(self) -> None:
        """Put off who has waited in line for too long: the endpoint is not as prompt as it seemed."""
        while True:
            await asyncio.sleep(LONGEST_IN_LINE_SECONDS / 4)
            late = self._lines.evict(joined_before=self._now() - LONGEST_IN_LINE_SECONDS)
            await self._requeue_if_possible(late)

    def _claimable(self, endpoint_id: str, now: float) -> int:
        return self.admission.claimable(endpoint_id, now, in_line=self._lines.length(endpoint_id))

    def _quotas_to_claim(self, now: float) -> Quotas:
        known = {endpoint_id: self._claimable(endpoint_id, now) for endpoint_id in self.admission.busy_endpoints(now)}
        return Quotas(known, otherwise=self.admission.default_quota())
