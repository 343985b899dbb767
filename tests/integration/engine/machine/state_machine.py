"""One life of an installation: what it holds in memory, and what follows from each thing that is done in it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from itertools import cycle
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant

from sendoff.delivery.claims import Claim, Claims
from sendoff.delivery.pipeline import FinishedAttempt, claim, claim_held, deliver
from sendoff.delivery.record import record
from sendoff.policy.delivery.admission import Quotas
from sendoff.policy.delivery.attempt_result import ResultKind
from sendoff.policy.delivery.decision import LOCAL_PATIENCE_SECONDS
from sendoff.policy.states import DeliveryState, EndpointState
from sendoff.recovery.sweep import sweep
from tests.integration.engine.machine.db_snapshot import DbSnapshot
from tests.integration.engine.machine.fakes import Answer
from tests.integration.engine.machine.harness import SCHEDULE, Harness
from tests.integration.engine.machine.invariants import Ledger, check_snapshot, check_step

Thing = TypeVar("Thing")

picks = st.integers(0, 999)
"""Which one of several, of however many there are."""

deaths = st.sampled_from([None, None, None, 0, 1, 2])
"""After how many commits the process dies that does something; mostly it lives."""


class DeliveryMachine(RuleBasedStateMachine):
    """`snapshot` is the database after the last step; `claims` and `finished` are what processes hold in memory."""

    def __init__(self, harness: Harness) -> None:
        super().__init__()
        harness.reset()
        self.harness = harness
        self.ledger = Ledger()
        self.claims: list[Claim] = []
        self.finished: list[FinishedAttempt] = []
        self.snapshot = harness.look()

    @invariant()
    def everything_adds_up(self) -> None:
        before, self.snapshot = self.snapshot, self.harness.look()
        check_step(before, self.snapshot, self.ledger)
        check_snapshot(self.snapshot, self.ledger)

    def enqueue_due(self) -> None:
        self.harness.queue.deliveries.clear()
        self.harness.run(sweep(self.harness.context))

    def claim_ids(self, known_quotas: Mapping[str, int] | None = None) -> None:
        """Claim what was enqueued; of endpoints that nothing is known of, all of it."""
        quotas = Quotas(known_quotas or {}, default=1_000)
        self.take(self.harness.run(claim(self.harness.context, self.harness.queue.deliveries, quotas=quotas)))

    def claim_held(self, limit: int) -> None:
        backlog = {
            row.endpoint_id: None for row in self.snapshot.deliveries.values() if row.state == DeliveryState.HELD
        }
        for endpoint_id in backlog:
            self.take(self.harness.run(claim_held(self.harness.context, {endpoint_id: limit})))

    def take(self, claims: Claims) -> None:
        """Nothing is claimed to be sent unless its endpoint is active and the delivery ours."""
        after = self.harness.look()
        for claimed in claims.to_send:
            assert after.endpoints[claimed.endpoint.id].state == EndpointState.ACTIVE
            assert after.deliveries[claimed.delivery.id].lease_token == claimed.lease_token
        self.claims += claims.to_send

    def send(self, claimed: Claim, answer: Answer) -> None:
        """Nothing is sent under a lease that was lost: another worker may have delivered it."""
        self.harness.wire.answer = answer
        sent = len(self.harness.wire.sent)
        self.finished.append(self.harness.run(deliver(self.harness.context, claimed)))
        if len(self.harness.wire.sent) > sent:
            delivery = self.harness.look().deliveries[claimed.delivery.id]
            assert delivery.lease_token == claimed.lease_token, f"sent under a lease that was lost: {delivery}"

    def send_all(self, *answers: Answer) -> None:
        """Whatever is claimed; the receivers give these answers in turn."""
        for claimed, answer in zip(self.claims, cycle(answers), strict=False):
            self.send(claimed, answer)
        self.claims.clear()

    def work_off(self, *answers: Answer, together: bool = True) -> None:
        """What is due is enqueued, claimed, sent and recorded."""
        self.enqueue_due()
        self.claim_ids()
        self.send_all(*answers)
        for batch in [self.finished] if together else [[attempt] for attempt in self.finished]:
            self.write_down(batch)
        self.finished = []

    def write_down(self, batch: list[FinishedAttempt], *, dies_after: int | None = None) -> None:
        """What is recorded under a lease that holds counts, and nothing else changes."""
        before = self.harness.look()
        ours = [one for one in batch if before.deliveries[one.claim.delivery.id].lease_token == one.claim.lease_token]
        self.harness.run_with_crash(record(self.harness.context, batch), dies_after=dies_after)
        after = self.harness.look()
        if dies_after == 0:
            assert after == before
            return
        for attempt in sorted(ours, key=lambda one: one.ended_at):
            self._charge(attempt)
        for attempt in ours:
            self._check_recorded(attempt, after)
        kept = before.deliveries.keys() - {attempt.claim.delivery.id for attempt in ours}
        assert all(after.deliveries[key] == before.deliveries[key] for key in kept)

    def advance_to_next(self) -> None:
        """Until the next delivery comes due, if none is."""
        now = self.harness.clock.now()
        times = [
            row.due_at or row.leased_until for row in self.snapshot.open_deliveries() if row.state != DeliveryState.HELD
        ]
        if times and min(times) > now:
            self.harness.clock.advance((min(times) - now).total_seconds())

    def pick(self, among: dict[str, Any], which: int) -> str:
        return list(among)[which % len(among)]

    def pop(self, among: list[Thing], which: int) -> Thing:
        return among.pop(which % len(among))

    def _charge(self, attempt: FinishedAttempt) -> None:
        """What the attempt says about its endpoint, by the contract rather than by the product's own judgement."""
        endpoint_id, status = attempt.claim.endpoint.id, attempt.status
        if status is not None and 200 <= status < 300:
            self.ledger.failures[endpoint_id] = 0
        elif status == 410 or not (attempt.result.kind == ResultKind.LOCAL or attempt.claim.delivery.replay_id):
            self.ledger.failures[endpoint_id] += 1

    def _check_recorded(self, attempt: FinishedAttempt, after: DbSnapshot) -> None:
        delivery, status = after.deliveries[attempt.claim.delivery.id], attempt.status
        closed = after.endpoints[delivery.endpoint_id].state != EndpointState.ACTIVE
        if attempt.result.kind == ResultKind.LOCAL and not _is_out_of_patience(attempt):
            assert delivery.state == (DeliveryState.DEAD if closed else DeliveryState.PENDING)
            assert delivery.attempt_count == attempt.claim.delivery.attempt_count
        elif status is not None and 200 <= status < 300:
            assert delivery.state == DeliveryState.DELIVERED
        elif status == 410 or closed or attempt.claim.attempt_number > len(SCHEDULE):
            assert delivery.state == DeliveryState.DEAD
        else:
            assert delivery.state == DeliveryState.PENDING
            asked = 120.0 if status == 429 else 0.0
            wait = max(SCHEDULE[attempt.claim.attempt_number - 1], asked)
            assert delivery.due_at >= attempt.ended_at + timedelta(seconds=wait)


def _is_out_of_patience(attempt: FinishedAttempt) -> bool:
    since = attempt.claim.delivery.blocked_since
    return since is not None and attempt.ended_at - since >= timedelta(seconds=LOCAL_PATIENCE_SECONDS)
