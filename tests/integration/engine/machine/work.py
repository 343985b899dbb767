"""What happens by itself: events are accepted, workers claim, send and record, die and stand still, and time passes."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from sendoff.delivery.pipeline import claim, release
from sendoff.endpoint_health.draining import drain_inactive_endpoints
from sendoff.policy.states import DeliveryState, EndpointState
from sendoff.publishing.publish import NewEvent
from sendoff.recovery.sweep import sweep
from tests.integration.engine.machine.fakes import Answer
from tests.integration.engine.machine.harness import LEASE_SECONDS, SCHEDULE
from tests.integration.engine.machine.state_machine import DeliveryMachine, deaths, picks

TYPES = ("upload.completed", "upload.failed")
WAITS = (0.0, 1.0, 10.0, LEASE_SECONDS, SCHEDULE[0] * 1.2, SCHEDULE[1] * 1.2, 3600.0)

answers = st.sampled_from(
    [
        *[Answer(200), Answer(204), Answer(302)] * 3,
        *[Answer(500)] * 6,
        *[Answer(None), Answer(None, is_local=True)] * 2,
        Answer(410),
        Answer(429, retry_after="120"),
        Answer(503, retry_after="Fri, 24 Apr 2026 13:00:00 GMT"),
    ]
)


class Work(DeliveryMachine):
    """Accept, claim, send, record, in whatever order and however often."""

    @initialize()
    def begin(self) -> None:
        self.register(list(TYPES))
        self.register(list(TYPES[:1]))
        self.snapshot = self.harness.look()
        self.publish(list(TYPES))

    @precondition(lambda self: len(self.snapshot.active_endpoints()) < 2)
    @rule(types=st.sampled_from([list(TYPES), list(TYPES[:1]), list(TYPES[1:])]))
    def register(self, types: list[str]) -> None:
        url = f"https://receiver-{len(self.snapshot.endpoints)}.example/hook"
        self.harness.run(self.harness.app.register(url, *types))

    @rule(types=st.lists(st.sampled_from(TYPES), min_size=1, max_size=5))
    def publish(self, types: list[str]) -> None:
        accepted = self.harness.run(self.harness.app.publish(*[NewEvent(name, b"{}") for name in types]))
        for event in accepted:
            self.ledger.matched[event.id] = {
                endpoint.id
                for endpoint in self.snapshot.endpoints.values()
                if endpoint.state == EndpointState.ACTIVE and event.type in endpoint.events
            }

    @precondition(lambda self: self.snapshot.open_deliveries())
    @rule(swept=st.booleans(), quotas=st.dictionaries(picks, st.integers(0, 2), max_size=2), forget=st.booleans())
    def claim_enqueued(self, swept: bool, quotas: dict[int, int], forget: bool) -> None:
        """A job arrives; not forgotten, it arrives a second time."""
        if swept:
            self.harness.run(sweep(self.harness.context))
        self.claim_ids({self.pick(self.snapshot.endpoints, which): quota for which, quota in quotas.items()})
        if forget:
            self.harness.queue.deliveries.clear()

    @precondition(lambda self: self.snapshot.deliveries)
    @rule(which=st.lists(picks, min_size=1, max_size=4))
    def claim_anything(self, which: list[int]) -> None:
        chosen = [self.pick(self.snapshot.deliveries, one) for one in which]
        self.take(self.harness.run(claim(self.harness.context, chosen)))

    @precondition(lambda self: any(row.state == DeliveryState.HELD for row in self.snapshot.deliveries.values()))
    @rule(limit=st.integers(1, 3))
    def claim_what_is_held(self, limit: int) -> None:
        self.claim_held(limit)

    @precondition(lambda self: self.claims)
    @rule(which=picks, held=st.booleans())
    def release_a_claim(self, which: int, held: bool) -> None:
        self.harness.run(release(self.harness.context, [self.pop(self.claims, which)], held=held))

    @precondition(lambda self: self.claims)
    @rule(which=st.lists(picks, min_size=1, max_size=3), answer=answers)
    def exchange(self, which: list[int], answer: Answer) -> None:
        for one in which[: len(self.claims)]:
            self.send(self.pop(self.claims, one), answer)

    @precondition(lambda self: self.finished)
    @rule(which=picks, many=st.integers(1, 5), dies_after=deaths)
    def record(self, which: int, many: int, dies_after: int | None) -> None:
        """Some of what is finished is recorded together, in any order; if the process dies it is never recorded."""
        batch = [self.pop(self.finished, which) for _ in range(min(many, len(self.finished)))]
        self.write_down(batch, dies_after=dies_after)

    @rule(given=st.lists(answers, min_size=1, max_size=3), rounds=st.integers(1, 3), together=st.booleans())
    def a_worker_works_undisturbed(self, given: list[Answer], rounds: int, together: bool) -> None:
        """What is due is enqueued, claimed, sent and recorded, in one transaction or in many."""
        for _ in range(rounds):
            self.work_off(*given, together=together)
            self.everything_adds_up()
            self.advance_to_next()

    @precondition(lambda self: self.claims or self.finished)
    @rule()
    def a_worker_stands_still_and_another_takes_over(self) -> None:
        self.harness.clock.advance(LEASE_SECONDS)
        self.enqueue_due()
        self.claim_ids()

    @rule(first=answers, second=answers, together=st.booleans())
    def a_worker_is_overtaken(self, first: Answer, second: Answer, together: bool) -> None:
        """It sends, but its lease ends before it records; the other's record comes with it, or later."""
        self.enqueue_due()
        self.claim_ids()
        self.send_all(first)
        late, self.finished = self.finished, []
        self.a_worker_stands_still_and_another_takes_over()
        if together:
            self.send_all(second)
            late, self.finished = [*self.finished, *late], []
        self.write_down(late)

    @precondition(lambda self: self.claims or self.finished)
    @rule(finished=st.booleans())
    def a_worker_dies(self, finished: bool) -> None:
        if finished:
            self.finished.clear()
        else:
            self.claims.clear()

    @rule(sweeps=st.booleans(), flushed=st.booleans(), dies_after=deaths)
    def housekeeping(self, sweeps: bool, flushed: bool, dies_after: int | None) -> None:
        if flushed:
            self.harness.queue.deliveries.clear()
        if sweeps:
            self.harness.run(sweep(self.harness.context))
        self.harness.run_with_crash(drain_inactive_endpoints(self.harness.context), dies_after=dies_after)

    @rule(seconds=st.sampled_from(WAITS))
    def time_passes(self, seconds: float) -> None:
        self.harness.clock.advance(seconds)

    @rule()
    def the_next_one_comes_due(self) -> None:
        self.advance_to_next()
