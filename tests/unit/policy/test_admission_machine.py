"""Admission, driven in any order on a clock of the test's: what must hold at every moment, checked against a count."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sendoff.policy.delivery.admission import (
    MAX_QUEUED_SECONDS,
    ONE_RESERVED_IN,
    PREFETCH_PER_CAP,
    SLOW_AFTER_SECONDS,
    Admission,
    EndpointFacts,
    Responsiveness,
    Ticket,
)

SLOTS, CAP, TARGET_CAP, RATE = 20, 6, 8, 4
OWN_CAP = 2
OTHERS = SLOTS - SLOTS // ONE_RESERVED_IN
START_WITHIN = 10.0

BY_DATABASE = (Responsiveness.UNKNOWN, Responsiveness.UNTRIED, Responsiveness.UNRESPONSIVE)
ENDPOINTS = {
    facts.id: facts
    for facts in (
        *(EndpointFacts(f"own host {number}", BY_DATABASE[number % 3]) for number in range(6)),
        *(EndpointFacts(f"shared host {number}", targets=("shared",)) for number in range(6)),
        *(EndpointFacts(f"two {number}", targets=("shared", f"address {number % 2}")) for number in range(3)),
        EndpointFacts("limited", rate_limit=RATE),
        EndpointFacts("limited too", Responsiveness.UNTRIED, rate_limit=RATE, targets=("shared",)),
        EndpointFacts("capped", max_in_flight=OWN_CAP),
    )
}
names = st.sampled_from(sorted(ENDPOINTS))
picks = st.integers(0, 1_000)


class AdmissionMachine(RuleBasedStateMachine):
    """Claims within quotas, offers, answers, silence, time, other workers: every ticket is somewhere, within bounds."""

    @initialize(workers=st.integers(1, 3))
    def begin(self, workers: int) -> None:
        self.now = 1_000.0
        self.workers = workers
        self.admission: Admission[str] = Admission(slots=SLOTS, endpoint_cap=CAP, target_cap=TARGET_CAP)
        self.admission.set_workers(workers)
        self.queued: list[Ticket[str]] = []
        self.under_way: dict[Ticket[str], float] = {}
        self.unrecorded: list[Ticket[str]] = []
        self.starts: list[tuple[float, str]] = []
        self.put_back = 0

    @rule(chosen=st.lists(names, min_size=1, max_size=12), are_known=st.booleans())
    def claim_due(self, chosen: list[str], are_known: bool) -> None:
        """A claim of deliveries that arrived: the database takes of each endpoint what the quotas say."""
        chosen = chosen[: self.admission.claim_limit(self.now)]
        quotas = self.admission.quotas(len(chosen), self.now, endpoint_ids=chosen if are_known else None)
        assert not are_known or quotas.known.keys() <= set(chosen)
        taken: list[str] = []
        for name, count in Counter(chosen).items():
            facts = ENDPOINTS[name]
            is_restricted = facts.responsiveness is not Responsiveness.UNKNOWN or facts.rate_limit is not None
            default = min(quotas.default, quotas.restricted) if is_restricted else quotas.default
            taken += [name] * min(count, quotas.known.get(name, default))
        self.offer(taken)

    @rule(chosen=st.lists(names, min_size=1, unique=True))
    def claim_held(self, chosen: list[str]) -> None:
        """A claim of the backlog, in which every endpoint has more than enough."""
        quotas = self.admission.allocate(chosen, self.now)
        assert sum(quotas.values()) <= self.admission.free(self.now)
        self.offer([name for name, quota in quotas.items() for _ in range(quota)])

    def offer(self, chosen: list[str]) -> None:
        self.admission.begin_claim(len(chosen))
        for name in chosen:
            ticket = Ticket(name, self.now + START_WITHIN)
            self.queued.append(ticket)
            if self.admission.offer(ticket, ENDPOINTS[name], self.now):
                self.start([ticket])
        self.admission.end_claim(len(chosen))

    def start(self, tickets: list[Ticket[str]]) -> None:
        for ticket in tickets:
            self.queued.remove(ticket)
            self.under_way[ticket] = self.now
            self.starts.append((self.now, ticket.item))

    @precondition(lambda self: self.under_way)
    @rule(which=picks, answered=st.sampled_from((True, True, False, None)), at_once=st.booleans())
    def finish(self, which: int, answered: bool | None, at_once: bool) -> None:
        ticket = list(self.under_way)[which % len(self.under_way)]
        del self.under_way[ticket]
        self.unrecorded.append(ticket)
        self.start(self.admission.finish(ticket, answered=answered, now=self.now))
        if at_once:
            self.record()

    @precondition(lambda self: self.unrecorded)
    @rule()
    def record(self) -> None:
        self.unrecorded.pop()
        self.admission.settle()

    @rule(seconds=st.sampled_from((1, 1, 8, 32, 64, 256, 2560)).map(lambda parts: parts / 128))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        started, evicted = self.admission.tick(self.now)
        for ticket in evicted:
            waited = self.now - ticket.queued_at
            assert waited >= MAX_QUEUED_SECONDS or self.now >= ticket.start_by, waited
            self.queued.remove(ticket)
        self.start(started)

    @rule()
    def drain(self) -> None:
        evicted = self.admission.evict_all()
        assert set(evicted) == set(self.queued)
        self.queued.clear()

    @invariant()
    def slots_add_up(self) -> None:
        free = self.admission.free(self.now)  # which also lets attempts age
        slow = sum(self.now - started >= SLOW_AFTER_SECONDS for started in self.under_way.values())
        taken = len(self.under_way) - slow + len(self.queued)
        is_fast = {name: self.admission.responsiveness(name) is Responsiveness.FAST for name in ENDPOINTS}
        others = len(self.queued) + len(self.under_way) - slow
        others -= sum(is_fast[ticket.item] for ticket in self.queued)
        others -= sum(
            is_fast[ticket.item] and self.now - started < SLOW_AFTER_SECONDS
            for ticket, started in self.under_way.items()
        )
        free_if_bulkhead_allows = SLOTS - (taken - others) - min(others, OTHERS)
        expected = min(free_if_bulkhead_allows, 2 * SLOTS - taken - slow) - len(self.unrecorded)
        assert free == max(0, expected)
        assert self.admission.is_idle is not bool(self.queued or self.under_way or self.unrecorded)
        assert self.admission.has_queued is bool(self.queued)

    @invariant()
    def there_is_never_more_than_twice_the_slots(self) -> None:
        assert len(self.under_way) + len(self.queued) <= 2 * SLOTS

    @invariant()
    def caps_hold_over_all_workers(self) -> None:
        for name, facts in ENDPOINTS.items():
            cap = max(1, min(CAP, facts.max_in_flight or CAP) // self.workers)
            started = [at for ticket, at in self.under_way.items() if ticket.item == name]
            assert sum(self.now - at < SLOW_AFTER_SECONDS for at in started) <= cap
            assert len(started) <= (cap if facts.max_in_flight else 2 * cap)
            assert sum(ticket.item == name for ticket in self.queued) <= cap * (1 + PREFETCH_PER_CAP)

    @invariant()
    def targets_hold_over_all_workers(self) -> None:
        for target in ("shared", "address 0", "address 1"):
            in_flight = sum(target in ENDPOINTS[ticket.item].targets for ticket in self.under_way)
            assert in_flight <= max(1, TARGET_CAP // self.workers)

    @invariant()
    def a_rate_holds_over_every_second(self) -> None:
        for name in ("limited", "limited too"):
            times = [time for time, item in self.starts if item == name]
            for first in times:
                assert sum(first <= time < first + 1 for time in times) <= RATE / self.workers + 1

    def teardown(self) -> None:
        """When everything has ended, nothing is left over."""
        if not hasattr(self, "admission"):
            return
        self.drain()
        while self.under_way:
            self.finish(0, answered=True, at_once=True)
        while self.unrecorded:
            self.record()
        assert self.admission.is_idle
        assert self.admission.free(self.now) == SLOTS


TestAdmission = AdmissionMachine.TestCase
TestAdmission.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
