"""A model of a delivery's life: whatever happens, in whatever order, to the real operations on a real database.

Setup: one organization, a few endpoints, a clock, dice, bell and wire that the machine owns.
Timeline: accept, ring, claim, exchange, record, crash, hold, sweep, switch off and on, replay, retry, discard, as Hypothesis
likes; at the end every receiver answers, and time passes.
What this proves: nothing accepted is lost or stuck, nothing delivered is sent again unasked, nothing is sent for an
endpoint that is off, attempts are numbered without gaps, and all counters equal what the rows say.

`SENDOFF_TEST_EXAMPLES` sets how many lives are lived on each database.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from sendoff.clock import iso
from sendoff.errors import Conflict, NotFound
from sendoff.operations import operate
from sendoff.operations.bury import bury_closed
from sendoff.operations.deliver import Claim, Claims, FinishedAttempt, claim, claim_held, deliver, release
from sendoff.operations.endpoints import EndpointChange, delete_endpoint, update_endpoint
from sendoff.operations.publish import NewEvent
from sendoff.operations.record import record
from sendoff.operations.replay import Selection, cancel_replay, start_replay, tick_replay
from sendoff.operations.sweep import sweep
from sendoff.policy.states import DeliveryState, EndpointState, ReplayState
from sendoff.store.dead_letters import DeadLetterFilter
from tests.operations.machine.fakes import Answer
from tests.operations.machine.invariants import Ledger, check_end, check_picture, check_step
from tests.operations.machine.picture import ItemKey, Picture, Row
from tests.operations.machine.stage import LEASE_SECONDS, SCHEDULE, Stage, set_stage
from tests.support.house import ACTOR

EXAMPLES = int(os.environ.get("SENDOFF_TEST_EXAMPLES", "25"))
STEPS = 40
TYPES = ("upload.completed", "upload.failed")

picks = st.integers(0, 999)
deaths = st.sampled_from([None, None, None, 0, 1, 2])
"""After how many commits the process dies that does something; mostly it lives."""
answers = st.sampled_from(
    [
        *[Answer(200), Answer(204), Answer(302)] * 2,
        *[Answer(500)] * 4,
        Answer(410),
        Answer(429, retry_after="120"),
        Answer(503, retry_after="Fri, 24 Apr 2026 13:00:00 GMT"),
        Answer(None),
        Answer(None, ours=True),
    ]
)
SWITCHES = ("pause", "resume", "disable", "enable", "pause", "resume", "disable", "enable", "delete")
WAITS = (0.0, 1.0, 10.0, LEASE_SECONDS, SCHEDULE[0] * 1.2, SCHEDULE[1] * 1.2, 3600.0)


class DeliveryMachine(RuleBasedStateMachine):
    """One life. `picture` is the database after the last step; claims and attempts are what processes hold in memory."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        stage.reset()
        self.stage = stage
        self.ledger = Ledger()
        self.claims: list[Claim] = []
        self.finished: list[FinishedAttempt] = []
        self.picture = stage.look()

    # -- accepting ------------------------------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        self.register(list(TYPES))
        self.register(list(TYPES[:1]))
        self.picture = self.stage.look()
        self.publish(list(TYPES))

    @precondition(lambda self: self._count_active() < 2)
    @rule(types=st.sampled_from([list(TYPES), list(TYPES[:1]), list(TYPES[1:])]))
    def register(self, types: list[str]) -> None:
        url = f"https://receiver-{len(self.picture.endpoints)}.example/hook"
        self.stage.run(self.stage.house.register(url, *types))

    @rule(types=st.lists(st.sampled_from(TYPES), min_size=1, max_size=3))
    def publish(self, types: list[str]) -> None:
        accepted = self.stage.run(self.stage.house.publish(*[NewEvent(name, b"{}") for name in types]))
        for event in accepted:
            self.ledger.matched[event.id] = {
                endpoint.id
                for endpoint in self.picture.endpoints.values()
                if endpoint.state == EndpointState.ACTIVE and event.type in endpoint.events
            }

    # -- claiming -------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.picture.open_deliveries())
    @rule(swept=st.booleans(), full=st.sets(picks, max_size=1), forget=st.booleans())
    def claim_what_is_rung(self, swept: bool, full: set[int], forget: bool) -> None:
        """A job arrives; not forgotten, it arrives a second time."""
        if swept:
            self.stage.run(sweep(self.stage.runtime))
        self._claim_rung([self._pick(self.picture.endpoints, which) for which in full])
        if forget:
            self.stage.bell.deliveries.clear()

    @precondition(lambda self: self.picture.deliveries)
    @rule(which=st.lists(picks, min_size=1, max_size=4))
    def claim_anything(self, which: list[int]) -> None:
        chosen = [self._pick(self.picture.deliveries, one) for one in which]
        self._take(self.stage.run(claim(self.stage.runtime, chosen)))

    @precondition(lambda self: any(row.state == DeliveryState.HELD for row in self.picture.deliveries.values()))
    @rule(limit=st.integers(1, 3))
    def claim_what_is_held(self, limit: int) -> None:
        self._claim_held(limit)

    @precondition(lambda self: self.claims)
    @rule(which=picks, held=st.booleans())
    def release_a_claim(self, which: int, held: bool) -> None:
        self.stage.run(release(self.stage.runtime, [self._pop(self.claims, which)], held=held))

    def _claim_rung(self, full: list[str]) -> None:
        self._take(self.stage.run(claim(self.stage.runtime, self.stage.bell.deliveries, full=full)))

    def _claim_held(self, limit: int) -> None:
        holders = {row.endpoint_id: None for row in self.picture.deliveries.values() if row.state == DeliveryState.HELD}
        for endpoint_id in holders:
            self._take(self.stage.run(claim_held(self.stage.runtime, endpoint_id, limit=limit)))

    def _take(self, claims: Claims) -> None:
        after = self.stage.look()
        for claimed in claims.to_send:
            assert after.endpoints[claimed.endpoint.id].state == EndpointState.ACTIVE
            assert after.deliveries[claimed.delivery.id].lease == claimed.lease
        self.claims += claims.to_send

    # -- sending --------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.claims)
    @rule(which=st.lists(picks, min_size=1, max_size=3), answer=answers)
    def exchange(self, which: list[int], answer: Answer) -> None:
        for one in which[: len(self.claims)]:
            self._exchange(self._pop(self.claims, one), answer)

    def _exchange(self, claimed: Claim, answer: Answer) -> None:
        self.stage.wire.answer = answer
        sent = len(self.stage.wire.sent)
        self.finished.append(self.stage.run(deliver(self.stage.runtime, claimed)))
        if len(self.stage.wire.sent) > sent:
            delivery = self.picture.deliveries[claimed.delivery.id]
            assert delivery.lease == claimed.lease, f"sent under a lease that was lost: {delivery}"

    @precondition(lambda self: self.finished)
    @rule(which=picks, many=st.integers(1, 5), dies_after=deaths)
    def record(self, which: int, many: int, dies_after: int | None) -> None:
        """Some of what is finished is recorded together, in any order; if the process dies it is never recorded."""
        self._record([self._pop(self.finished, which) for _ in range(min(many, len(self.finished)))], dies_after)

    def _record(self, batch: list[FinishedAttempt], dies_after: int | None) -> None:
        before = self.picture
        ours = [one for one in batch if before.deliveries[one.claim.delivery.id].lease == one.claim.lease]
        self.stage.run_mortal(record(self.stage.runtime, batch), dies_after=dies_after)
        after = self.stage.look()
        if dies_after == 0:
            assert after == before
            return
        for attempt in sorted(ours, key=lambda one: one.ended_at):
            self._charge(attempt)
        for attempt in ours:
            self._check_recorded(attempt, after)
        kept = before.deliveries.keys() - {attempt.claim.delivery.id for attempt in ours}
        assert all(after.deliveries[key] == before.deliveries[key] for key in kept)

    def _charge(self, attempt: FinishedAttempt) -> None:
        """What the attempt says about its endpoint, by the contract rather than by the product's own judgement."""
        endpoint_id = attempt.claim.endpoint.id
        status = attempt.response.status if attempt.response else None
        if status is not None and 200 <= status < 300:
            self.ledger.failures[endpoint_id] = 0
        elif status == 410 or not (attempt.outcome.verdict == "ours" or attempt.claim.delivery.replay_id):
            self.ledger.failures[endpoint_id] += 1

    def _check_recorded(self, attempt: FinishedAttempt, after: Picture) -> None:
        delivery = after.deliveries[attempt.claim.delivery.id]
        status = attempt.response.status if attempt.response else None
        closed = after.endpoints[delivery.endpoint_id].state != EndpointState.ACTIVE
        if attempt.outcome.verdict == "ours":
            assert delivery.state == (DeliveryState.DEAD if closed else DeliveryState.PENDING)
        elif status is not None and 200 <= status < 300:
            assert delivery.state == DeliveryState.DELIVERED
        elif status == 410 or closed or attempt.claim.attempt_number > len(SCHEDULE):
            assert delivery.state == DeliveryState.DEAD
        else:
            assert delivery.state == DeliveryState.PENDING
            asked = 120.0 if status == 429 else 0.0
            wait = max(SCHEDULE[attempt.claim.attempt_number - 1], asked)
            assert delivery.next_attempt_at >= attempt.ended_at + timedelta(seconds=wait)

    @rule(answer=answers)
    def a_worker_does_its_work(self, answer: Answer) -> None:
        """The usual way, undisturbed: what is due is rung for, claimed, sent and recorded."""
        self._ring_for_what_is_due()
        self._claim_rung([])
        self.everything_adds_up()
        claims, self.claims = self.claims, []
        for claimed in claims:
            self._exchange(claimed, answer)
        finished, self.finished = self.finished, []
        self._record(finished, None)

    # -- dying, forgetting, waiting ---------------------------------------------------------------------------------

    @precondition(lambda self: self.claims or self.finished)
    @rule()
    def a_worker_stands_still_and_another_takes_over(self) -> None:
        self.stage.clock.advance(LEASE_SECONDS)
        self._ring_for_what_is_due()
        self._claim_rung([])

    @precondition(lambda self: self.claims or self.finished)
    @rule(finished=st.booleans())
    def a_worker_dies(self, finished: bool) -> None:
        (self.finished if finished else self.claims).clear()

    @rule(sweeps=st.booleans(), flushed=st.booleans(), dies_after=deaths)
    def the_house_is_kept(self, sweeps: bool, flushed: bool, dies_after: int | None) -> None:
        if flushed:
            self.stage.bell.deliveries.clear()
        if sweeps:
            self.stage.run(sweep(self.stage.runtime))
        self.stage.run_mortal(bury_closed(self.stage.runtime), dies_after=dies_after)

    @rule(seconds=st.sampled_from(WAITS))
    def time_passes(self, seconds: float) -> None:
        self.stage.clock.advance(seconds)

    @rule()
    def the_next_one_comes_due(self) -> None:
        self._advance_to_next()

    def _advance_to_next(self) -> None:
        now = self.stage.clock.now()
        times = [row.next_attempt_at for row in self.picture.open_deliveries() if row.state != DeliveryState.HELD]
        later = [moment for moment in times if moment > now]
        if later and len(later) == len(times):
            self.stage.clock.advance((min(later) - now).total_seconds())

    # -- endpoints ------------------------------------------------------------------------------------------------

    @rule(which=picks, how=st.sampled_from(SWITCHES), dies_after=deaths)
    def an_endpoint_is_switched(self, which: int, how: str, dies_after: int | None) -> None:
        endpoint_id = self._pick(self.picture.endpoints, which)
        state = self.picture.endpoints[endpoint_id].state
        try:
            self.stage.run_mortal(self._switch(endpoint_id, how), dies_after=dies_after)
        except NotFound:
            assert state == EndpointState.DELETED
        except Conflict:
            assert state == EndpointState.GONE
        else:
            if how in ("resume", "enable") and dies_after != 0:
                self.ledger.failures[endpoint_id] = 0

    async def _switch(self, endpoint_id: str, how: str) -> None:
        runtime, organization_id = self.stage.runtime, self.stage.house.principal.organization_id
        if how in ("pause", "resume"):
            change = EndpointChange({"is_active": how == "resume"})
            await update_endpoint(runtime, organization_id, ACTOR, endpoint_id, change)
        elif how == "delete":
            await delete_endpoint(runtime, organization_id, ACTOR, endpoint_id)
        else:
            await operate.switch_endpoint(runtime, ACTOR, endpoint_id, on=how == "enable")

    # -- operators ------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.picture.letters)
    @rule(state=st.sampled_from([None, None, "open", "replayed", "discarded"]), rate=st.sampled_from([1, 50]))
    def replay_dead_letters(self, state: str | None, rate: int) -> None:
        self.stage.run(start_replay(self.stage.runtime, ACTOR, Selection(DeadLetterFilter(state=state)), rate=rate))

    @precondition(lambda self: self.picture.deliveries)
    @rule(which=st.sets(picks, min_size=1, max_size=3), rate=st.sampled_from([1, 50]))
    def replay_by_id(self, which: set[int], rate: int) -> None:
        chosen = tuple({self._pick(self.picture.deliveries, one) for one in which})
        selection = Selection(DeadLetterFilter(), delivery_ids=chosen)
        report = self.stage.run(start_replay(self.stage.runtime, ACTOR, selection, rate=rate))
        self.ledger.may_send_again |= {ItemKey(report.replay.id, delivery_id) for delivery_id in chosen}

    @precondition(lambda self: self.picture.replays)
    @rule(seconds=st.sampled_from([0.0, 1.0, 1.0, 2.0]))
    def replays_go_on(self, seconds: float) -> None:
        self.stage.clock.advance(seconds)
        for replay_id in self.picture.replays:
            self.stage.run(tick_replay(self.stage.runtime, replay_id))

    @precondition(lambda self: self.picture.replays)
    @rule(which=picks)
    def a_replay_is_cancelled(self, which: int) -> None:
        replay_id = self._pick(self.picture.replays, which)
        try:
            self.stage.run(cancel_replay(self.stage.runtime, ACTOR, replay_id))
        except Conflict:
            assert self.picture.replays[replay_id].state != ReplayState.RUNNING

    @precondition(lambda self: self.picture.deliveries)
    @rule(which=picks)
    def retry(self, which: int) -> None:
        delivery_id = self._pick(self.picture.deliveries, which)
        before = self.picture.deliveries[delivery_id]
        try:
            self.stage.run(operate.retry_delivery(self.stage.runtime, ACTOR, delivery_id))
        except Conflict:
            closed = self.picture.endpoints[before.endpoint_id].state != EndpointState.ACTIVE
            assert closed or before.state in (DeliveryState.IN_FLIGHT, DeliveryState.DELIVERED)
        else:
            after = self.stage.look().deliveries[delivery_id]
            assert (after.state, after.next_attempt_at) == (DeliveryState.PENDING, self.stage.clock.now())

    @precondition(lambda self: self.picture.letters)
    @rule(which=picks)
    def discard(self, which: int) -> None:
        letters = {letter.id: letter for letter in self.picture.letters_of_all()}
        letter_id = self._pick(letters, which)
        try:
            self.stage.run(operate.discard_dead_letter(self.stage.runtime, ACTOR, letter_id))
        except Conflict:
            assert letters[letter_id].state != "open"

    # -- what must hold -------------------------------------------------------------------------------------------

    @invariant()
    def everything_adds_up(self) -> None:
        before, self.picture = self.picture, self.stage.look()
        check_step(before, self.picture, self.ledger)
        check_picture(self.picture, self.ledger)

    def teardown(self) -> None:
        """From now on every receiver answers, every process lives and time passes: everything must come to its end."""
        self.claims.clear()
        self.finished.clear()
        for _ in range(30):
            if self._has_ended():
                break
            self._work_off()
            self.everything_adds_up()
        check_end(self.picture)

    def _has_ended(self) -> bool:
        running = [replay for replay in self.picture.replays.values() if replay.state == ReplayState.RUNNING]
        burial_due = [endpoint for endpoint in self.picture.endpoints.values() if endpoint.burial_due]
        return not (running or burial_due or self.picture.open_deliveries())

    def _work_off(self) -> None:
        self.stage.clock.advance(1)
        self._advance_to_next()
        self.stage.run(bury_closed(self.stage.runtime))
        for replay_id in self.picture.replays:
            self.stage.run(tick_replay(self.stage.runtime, replay_id))
        self._claim_held(100)
        self.a_worker_does_its_work(Answer(200))

    def _ring_for_what_is_due(self) -> None:
        self.stage.bell.deliveries.clear()
        self.stage.run(sweep(self.stage.runtime))

    def _count_active(self) -> int:
        return sum(endpoint.state == EndpointState.ACTIVE for endpoint in self.picture.endpoints.values())

    def _pick(self, among: dict[str, Any], which: int) -> str:
        return list(among)[which % len(among)]

    def _pop(self, among: list[Any], which: int) -> Any:
        return among.pop(which % len(among))


def test_whatever_happens_to_deliveries_nothing_is_lost_stuck_or_sent_again(database_url: str) -> None:
    with set_stage(database_url) as stage:
        run_state_machine_as_test(
            lambda: DeliveryMachine(stage),
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
