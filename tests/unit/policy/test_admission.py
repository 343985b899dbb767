"""Admission on a clock of the test's: slots, the slow bulkhead, caps, rates, targets, probes, queues and shares."""

from __future__ import annotations

from typing import Any

import pytest

from sendoff.policy.delivery import admission as admission_module
from sendoff.policy.delivery.admission import (
    FAST_WITHIN_SECONDS,
    FEW_PROBES_ONE_IN,
    MAX_QUEUED_SECONDS,
    PREFETCH_PER_CAP,
    PROBES_PER_SECOND,
    PROBES_QUEUED,
    SLOW_AFTER_SECONDS,
    Admission,
    EndpointFacts,
    Quotas,
    Responsiveness,
    Ticket,
)

FAST, SLOW, UNKNOWN, UNTRIED, UNRESPONSIVE = Responsiveness
START, QUEUED = True, False
MINUTE = 60.0


class Worker:
    """An admission, its clock, and what it started."""

    def __init__(self, *, slots: int = 100, cap: int = 5, target_cap: int = 1_000) -> None:
        self.admission: Admission[str] = Admission(slots=slots, endpoint_cap=cap, target_cap=target_cap)
        self.now = 0.0
        self.under_way: list[Ticket[str]] = []

    def offer(self, endpoint: str, *, start_by: float = MINUTE, **facts: Any) -> bool:
        """Offer a delivery of the endpoint, which carries the endpoint's name."""
        ticket = Ticket(endpoint, self.now + start_by)
        offered = self.admission.offer(ticket, EndpointFacts(endpoint, **facts), self.now)
        if offered is START:
            self.under_way.append(ticket)
        return offered

    def finish(self, endpoint: str, *, answered: bool | None = True) -> list[str]:
        """The endpoint's oldest attempt is over and recorded; return the endpoints of what starts next."""
        ticket = next(ticket for ticket in self.under_way if ticket.item == endpoint)
        self.under_way.remove(ticket)
        following = self.admission.finish(ticket, answered=answered, now=self.now)
        self.admission.settle()
        self.under_way += following
        return [ticket.item for ticket in following]

    def advance(self, seconds: float) -> list[str]:
        """Let time pass; return the endpoints of what starts by it."""
        self.now += seconds
        started, _ = self.admission.tick(self.now)
        self.under_way += started
        return [ticket.item for ticket in started]

    def evict(self) -> list[str]:
        """Return the endpoints of what has been evicted."""
        started, evicted = self.admission.tick(self.now)
        self.under_way += started
        return [ticket.item for ticket in evicted]

    def make_fast(self, *endpoints: str, **facts: Any) -> None:
        for endpoint in endpoints:
            assert self.offer(endpoint, **facts) is START
            self.finish(endpoint)

    def claimable(self, endpoint: str) -> int:
        """How many deliveries of the endpoint a claim may take."""
        named = self.admission.quotas(1_000, self.now).known
        return named.get(endpoint, self.admission.quotas(1, self.now).default)

    @property
    def free(self) -> int:
        return self.admission.free(self.now)


def test_an_endpoint_starts_with_one_attempt_and_gets_its_cap_after_a_fast_answer() -> None:
    worker = Worker(cap=3)
    assert [worker.offer("a") for _ in range(2)] == [START, QUEUED]
    assert worker.finish("a") == ["a"]
    assert [worker.offer("a") for _ in range(3)] == [START, START, QUEUED]
    assert worker.finish("a") == ["a"]


def test_slow_answers_double_the_limit_and_silence_resets_it() -> None:
    worker = Worker(cap=8)
    for limit in (1, 2, 4, 8, 8):
        assert [worker.offer("a") for _ in range(limit)] == [START] * limit
        assert worker.offer("a") is QUEUED
        worker.admission.evict_all()
        worker.advance(FAST_WITHIN_SECONDS)
        for _ in range(limit - 1):
            worker.finish("a", answered=None)
        worker.finish("a")
        assert worker.admission.responsiveness("a") is SLOW
    worker.offer("a")
    worker.advance(FAST_WITHIN_SECONDS)
    worker.finish("a", answered=False)
    assert worker.admission.responsiveness("a") is UNRESPONSIVE
    assert [worker.offer("a") for _ in range(3)] == [START, START, QUEUED]


def test_an_endpoint_may_have_a_cap_of_its_own() -> None:
    worker = Worker(cap=5)
    worker.make_fast("a", max_in_flight=2)
    assert [worker.offer("a", max_in_flight=2) for _ in range(3)] == [START, START, QUEUED]
    worker.make_fast("b", max_in_flight=100)
    assert [worker.offer("b", max_in_flight=100) for _ in range(6)] == [START] * 5 + [QUEUED]


def test_a_fast_endpoint_goes_on_beside_one_request_that_hangs() -> None:
    worker = Worker()
    worker.make_fast("a")
    worker.offer("a")
    worker.advance(FAST_WITHIN_SECONDS)
    assert (worker.offer("a"), worker.claimable("a")) == (START, 0)
    worker.under_way.reverse()  # the second attempt is over before the first
    worker.finish("a")
    assert worker.claimable("a") > 1


def test_a_fast_endpoint_gets_nothing_while_two_requests_hang() -> None:
    worker = Worker()
    worker.make_fast("a")
    worker.offer("a")
    worker.advance(FAST_WITHIN_SECONDS)
    worker.offer("a")
    worker.advance(FAST_WITHIN_SECONDS)
    assert (worker.claimable("a"), worker.offer("a")) == (0, QUEUED)


def hang(worker: Worker, backlog: dict[str, int], *, timeout: float) -> float:
    """Send what is held for endpoints that never answer; return how long all of it takes."""
    while sum(backlog.values()) or worker.under_way:
        worker.advance(0.05)
        for ticket in [one for one in worker.under_way if worker.now - one.started_at >= timeout]:
            worker.finish(ticket.item, answered=False)
        held = [endpoint for endpoint, count in backlog.items() if count]
        for endpoint, quota in worker.admission.allocate(held, worker.now).items():
            for _ in range(min(quota, backlog[endpoint])):
                backlog[endpoint] -= 1
                worker.offer(endpoint, responsiveness=UNRESPONSIVE)
        for ticket in worker.admission.tick(worker.now)[1]:
            backlog[ticket.item] += 1
    return worker.now


def test_requests_that_hang_do_not_stop_an_endpoint_that_answers_others() -> None:
    worker = Worker(cap=50)
    worker.make_fast("a")
    for _ in range(6):
        worker.offer("a")
    worker.advance(FAST_WITHIN_SECONDS + 0.01)
    worker.advance(SLOW_AFTER_SECONDS)
    assert worker.offer("a") is QUEUED  # all six are in the slow bulkhead, and nothing was heard of it since
    assert worker.finish("a") == ["a"]  # one is answered late: the queued one starts beside the five that hang
    assert worker.claimable("a") == 1


def test_requests_that_hang_do_not_count_while_the_endpoint_answers_others() -> None:
    worker = Worker(cap=4)
    worker.make_fast("a")
    for _ in range(4):
        worker.offer("a")
    worker.advance(FAST_WITHIN_SECONDS)
    worker.finish("a")
    worker.advance(SLOW_AFTER_SECONDS)
    assert worker.offer("a") is START
    assert worker.offer("a") is QUEUED  # three hang that began before the last answer, one after it
    worker.under_way.reverse()
    assert worker.finish("a") == ["a"]
    assert [worker.offer("a") for _ in range(4)] == [START] * 3 + [QUEUED]  # its whole cap, and the three that hang
    assert worker.claimable("a") == 4 * PREFETCH_PER_CAP - 1


def test_an_attempt_that_times_out_does_not_stop_an_endpoint_that_answers_others() -> None:
    worker = Worker(cap=4)
    worker.make_fast("a")
    for _ in range(3):
        worker.offer("a")
    worker.advance(FAST_WITHIN_SECONDS)
    worker.finish("a")
    worker.advance(SLOW_AFTER_SECONDS)
    worker.finish("a", answered=False)
    assert worker.admission.responsiveness("a") is UNRESPONSIVE
    assert worker.offer("a") is START  # one hangs that began before the last answer


def test_beside_requests_that_hang_the_cap_holds_up_to_as_many_of_them() -> None:
    worker = Worker(cap=2)

    def answer_another() -> None:
        worker.advance(0.01)
        assert worker.offer("a") is START
        worker.under_way.reverse()
        worker.finish("a")
        worker.under_way.reverse()

    for hanging in range(3):
        answer_another()
        assert worker.offer("a") is START
        answer_another()
        worker.advance(SLOW_AFTER_SECONDS + 0.01)
        assert len(worker.under_way) == hanging + 1
    answer_another()
    assert [worker.offer("a") for _ in range(2)] == [START, QUEUED]  # twice the cap


def test_a_cap_of_the_endpoints_own_counts_requests_that_hang() -> None:
    worker = Worker(cap=4)
    worker.make_fast("a", max_in_flight=2)
    for _ in range(2):
        worker.offer("a", max_in_flight=2)
    worker.advance(FAST_WITHIN_SECONDS)
    worker.finish("a")
    worker.advance(SLOW_AFTER_SECONDS)
    assert [worker.offer("a", max_in_flight=2) for _ in range(2)] == [START, QUEUED]


def test_an_endpoint_that_hangs_alone_gets_more_and_more_probes_up_to_its_cap() -> None:
    worker = Worker(slots=1_000, cap=20)
    assert hang(worker, {"hung": 363}, timeout=2.0) < 60
    assert worker.offer("hung") is START
    assert worker.claimable("hung") == 19
    worker.finish("hung")  # fast, as before it hung
    worker.offer("hung")
    worker.advance(FAST_WITHIN_SECONDS)
    worker.advance(SLOW_AFTER_SECONDS)
    worker.finish("hung", answered=False)
    assert [worker.offer("hung") for _ in range(3)] == [START, START, QUEUED], "it begins with few again"


def test_an_endpoint_that_hangs_gets_one_probe_while_another_waits_for_its_own() -> None:
    worker = Worker(slots=1_000, cap=20)
    hang(worker, {"hung": 60}, timeout=2.0)
    number = 0
    while worker.offer(f"new{number}", responsiveness=UNTRIED) is START:
        number += 1
    assert worker.offer("hung") is QUEUED
    assert worker.claimable("hung") == 0


def test_endpoints_that_hang_share_few_probes() -> None:
    worker = Worker(slots=1_000, cap=20)
    hang(worker, {f"hung{number}": 60 for number in range(10)}, timeout=2.0)
    for _ in range(20):
        for number in range(10):
            worker.offer(f"hung{number}", responsiveness=UNRESPONSIVE)
    for _ in range(100):
        worker.advance(0.01)
    assert len(worker.under_way) <= 1_000 // FEW_PROBES_ONE_IN


@pytest.mark.parametrize(
    ("seconds", "answered", "learnt"),
    [
        (0.0, True, FAST),
        (0.0, False, FAST),  # refused at once
        (FAST_WITHIN_SECONDS, True, SLOW),
        (FAST_WITHIN_SECONDS, False, UNRESPONSIVE),
        (SLOW_AFTER_SECONDS, True, SLOW),
        (SLOW_AFTER_SECONDS, False, UNRESPONSIVE),
        (0.0, None, UNKNOWN),
    ],
)
def test_attempts_reveal_responsiveness(seconds: float, answered: bool | None, learnt: Responsiveness) -> None:
    worker = Worker(slots=10)
    worker.offer("a")
    worker.advance(seconds)
    worker.finish("a", answered=answered)
    assert worker.admission.responsiveness("a") is learnt
    assert worker.admission.is_idle
    assert worker.free == 10


def test_the_database_counts_until_the_endpoint_was_tried_here() -> None:
    worker = Worker()
    worker.make_fast("a")
    worker.offer("a", responsiveness=UNRESPONSIVE)
    worker.offer("b", responsiveness=UNRESPONSIVE)
    assert [worker.admission.responsiveness(one) for one in "ab"] == [FAST, UNRESPONSIVE]


def test_a_seeded_value_never_displaces_a_learnt_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission_module, "REMEMBERED_ENDPOINTS", 2)
    worker = Worker()
    worker.make_fast("a")
    for endpoint in "abc":
        worker.admission.seed(endpoint, UNRESPONSIVE)
    assert [worker.admission.responsiveness(one) for one in "abc"] == [FAST, UNRESPONSIVE, UNKNOWN]
    worker.make_fast("d")
    assert [worker.admission.responsiveness(one) for one in "abd"] == [FAST, UNKNOWN, FAST]


def test_endpoints_that_are_not_seeded_wait_while_many_hang() -> None:
    worker = Worker(slots=1_000)
    for number in range(PROBES_QUEUED * 2):
        worker.offer(f"hung{number}", responsiveness=UNTRIED)
    assert worker.admission.allocate(["new", "well"], 0) == {}
    worker.admission.seed("new", UNTRIED)
    worker.admission.seed("well", UNKNOWN)
    assert worker.admission.allocate(["new", "well"], 0) == {"well": 1}


def test_attempts_that_take_long_move_to_the_slow_bulkhead() -> None:
    worker = Worker(slots=4, cap=2)
    worker.make_fast("a", "b")
    for endpoint in "aabb":
        assert worker.offer(endpoint) is START
    assert worker.free == 0
    worker.advance(SLOW_AFTER_SECONDS)
    assert worker.free == 4
    assert worker.claimable("a") == 0  # its limit counts them all the same


def test_while_the_slow_bulkhead_is_full_only_endpoints_in_it_wait() -> None:
    worker = Worker(slots=4, cap=6)
    worker.make_fast("slow", "fast")
    for _ in range(4):
        worker.offer("slow")
    worker.advance(SLOW_AFTER_SECONDS)
    assert (worker.claimable("slow"), worker.free) == (0, 4)
    assert worker.offer("fast") is START
    worker.finish("slow")
    assert worker.claimable("slow") == 2  # it answers, though late; the three others count in the bulkhead alone
    for _ in range(3):
        worker.finish("slow")
    assert worker.claimable("slow") > 0


def test_hanging_endpoints_leave_slots_to_fast_endpoints() -> None:
    worker = Worker(slots=10)
    worker.make_fast("fast")
    number = 0
    while worker.admission.quotas(1, worker.now).default:
        worker.offer(f"hung{number}")
        number += 1
    assert (number, worker.free) == (8, 2)
    assert worker.admission.allocate(["new", "fast"], worker.now) == {"fast": 1}  # half of the free slots
    assert [worker.offer("fast") for _ in range(2)] == [START, START]
    assert worker.free == 0


def test_endpoints_that_become_slow_lose_their_reserved_slots() -> None:
    worker = Worker(slots=10, cap=10)
    worker.make_fast("a")
    for _ in range(10):
        worker.offer("a")
    assert worker.free == 0
    worker.advance(FAST_WITHIN_SECONDS)
    assert worker.free == 2
    assert worker.admission.quotas(1, worker.now).default == 0, "a claim takes nothing of an endpoint like b"


def test_a_finished_attempt_keeps_its_slot_until_it_is_recorded() -> None:
    worker = Worker(slots=10)
    worker.offer("a")
    [ticket] = worker.under_way
    worker.admission.finish(ticket, answered=True, now=0)
    assert (worker.free, worker.admission.is_idle) == (9, False)
    worker.admission.settle()
    assert (worker.free, worker.admission.is_idle) == (10, True)


def test_a_claim_keeps_slots_reserved() -> None:
    worker = Worker(slots=10)
    worker.admission.begin_claim(4)
    assert (worker.free, worker.admission.claim_limit(0), worker.admission.is_idle) == (6, 6, False)
    worker.admission.end_claim(4)
    assert (worker.free, worker.admission.claim_limit(0)) == (10, 8)  # two are for fast endpoints alone


def test_fast_endpoints_prefetch_until_they_are_late() -> None:
    worker = Worker(cap=5)
    worker.make_fast("a")
    for _ in range(7):
        worker.offer("a")
    assert worker.claimable("a") == 5 * (1 + PREFETCH_PER_CAP) - 7
    worker.advance(FAST_WITHIN_SECONDS)
    assert worker.claimable("a") == 0
    worker.finish("a", answered=True)
    assert worker.admission.responsiveness("a") is SLOW
    assert worker.claimable("a") == 0


def test_deliveries_queued_too_long_are_evicted() -> None:
    worker = Worker(cap=1)
    worker.make_fast("a")
    assert [worker.offer("a") for _ in range(2)] == [START, QUEUED]
    worker.now += MAX_QUEUED_SECONDS / 2
    assert worker.offer("a") is QUEUED
    assert worker.evict() == []
    worker.now += MAX_QUEUED_SECONDS / 2
    assert len(worker.evict()) == 1
    assert [len(worker.admission.evict_all()) for _ in range(2)] == [1, 0]
    assert worker.finish("a") == []


def test_a_probe_waits_for_its_turn_as_long_as_its_lease_allows() -> None:
    worker = Worker(slots=1_000)
    while worker.offer(f"hung{len(worker.under_way)}", responsiveness=UNTRIED) is START:
        pass
    for number in range(200):
        worker.offer(f"waiting{number}", responsiveness=UNTRIED, start_by=5)
    worker.advance(4.9)
    worker.now += 0.05
    assert worker.evict() == []
    worker.now += 1
    assert "waiting199" in worker.evict()
    assert not worker.admission.has_queued


def test_probes_start_a_few_at_a_time_and_slower_while_many_are_outstanding() -> None:
    worker = Worker(slots=10_000)
    started = []
    for second in range(40):
        for number in range(50):
            worker.offer(f"{second}.{number}", responsiveness=UNTRIED, start_by=10_000)
        before = len(worker.under_way)
        for _ in range(100):
            worker.advance(0.01)
        started.append(len(worker.under_way) - before)
    assert PROBES_PER_SECOND / 10 <= started[0] <= PROBES_PER_SECOND / 2
    assert started == sorted(started, reverse=True) or max(started[10:]) < started[0] / 2
    assert 2 <= started[-1] <= 8


def test_hundreds_of_hung_endpoints_settle_at_ten_probes_a_second() -> None:
    worker, begun = Worker(slots=1_000), []
    for _ in range(60 * 20):
        worker.advance(0.05)
        for ticket in [one for one in worker.under_way if worker.now - one.started_at >= 10]:
            worker.finish(ticket.item, answered=False)
        for endpoint, quota in worker.admission.allocate([f"hung{n}" for n in range(500)], worker.now).items():
            assert quota == 1
            worker.offer(endpoint, responsiveness=UNTRIED, start_by=10)
        begun.append(len(worker.under_way))
    assert all(80 <= outstanding <= 120 for outstanding in begun[600:])


def test_an_answered_probe_gives_its_start_to_the_next() -> None:
    worker = Worker(slots=1_000)
    for number in range(PROBES_PER_SECOND // 10):
        assert worker.offer(f"first{number}") is START
    assert [worker.offer(f"next{number}") for number in range(3)] == [QUEUED] * 3
    assert worker.finish("first0") == ["next0"]
    assert worker.finish("first1", answered=False) == []
    assert worker.finish("first2", answered=None) == ["next1"]


def test_probes_of_untried_endpoints_go_before_those_of_unresponsive_ones() -> None:
    worker = Worker(slots=1_000)
    while worker.offer(f"hung{len(worker.under_way)}", responsiveness=UNRESPONSIVE) is START:
        pass
    worker.admission.evict_all()
    worker.offer("silent", responsiveness=UNRESPONSIVE)
    worker.offer("new", responsiveness=UNTRIED)
    started: list[str] = []
    while len(started) < 2:
        started += worker.advance(0.01)
    assert started == ["new", "silent"]


def test_hung_endpoints_do_not_delay_those_that_did_well_elsewhere() -> None:
    worker = Worker(slots=1_000)
    for number in range(300):
        worker.offer(f"hung{number}", responsiveness=UNTRIED)
    assert worker.offer("known to be well", responsiveness=UNKNOWN) is START


def test_a_fast_answer_starts_everything_that_is_queued_at_the_endpoint() -> None:
    worker = Worker(cap=3)
    assert [worker.offer("a") for _ in range(4)] == [START] + [QUEUED] * 3
    assert worker.finish("a") == ["a"] * 3


def test_rate_limited_endpoints_queue_nothing_beyond_their_rate() -> None:
    worker = Worker(cap=5)
    worker.make_fast("a")
    assert worker.offer("a", rate_limit=10) is START
    assert worker.claimable("a") == 0
    worker.advance(0.1)
    assert worker.claimable("a") == 1
    assert worker.offer("a", rate_limit=10) is START


def test_a_rate_limit_holds_over_every_second() -> None:
    worker, started = Worker(cap=100), []
    for _ in range(400):
        worker.advance(0.01)
        if worker.claimable("a") and worker.offer("a", rate_limit=5) is START:
            worker.finish("a")
            started.append(worker.now)
    assert 19 <= len(started) <= 21
    for first in started:
        assert sum(first <= moment < first + 1 for moment in started) <= 6


def test_a_rate_limit_that_is_lifted_no_longer_counts() -> None:
    worker = Worker()
    worker.make_fast("a", rate_limit=1)
    assert worker.claimable("a") == 0
    assert [worker.offer("a") for _ in range(3)] == [START] * 3
    assert worker.admission.seconds_to_token({"a"}, worker.now) is None


def test_workers_share_caps_rates_and_targets() -> None:
    worker = Worker(cap=20, target_cap=40)
    worker.make_fast("a", rate_limit=10)
    worker.admission.set_workers(4)
    assert worker.admission.seconds_to_token({"a"}, 0) == pytest.approx(0.4)
    assert worker.admission.seconds_to_token({"another"}, 0) is None
    assert worker.admission.quotas(1, 0.5).default == 5
    assert worker.admission.seconds_to_token({"a"}, 0.5) is None  # if it does not start then, something else stops it
    worker.make_fast("b", "c", targets=("host",))
    offers = [worker.offer(endpoint, targets=("host",)) for endpoint in "bbbbbcccccc"]
    assert offers == [START] * 10 + [QUEUED]
    worker.admission.set_workers(40)
    assert worker.admission.quotas(1, 0).default == 1  # never none at all


def test_endpoints_with_a_target_in_common_share_its_limit() -> None:
    worker = Worker(cap=4, target_cap=10)
    endpoints = ["a", "b", "c", "d"]
    worker.make_fast(*endpoints, targets=("host",))
    worker.make_fast("elsewhere", targets=("another",))
    offers = [worker.offer(endpoint, targets=("host",)) for endpoint in endpoints for _ in range(3)]
    assert offers == [START] * 10 + [QUEUED] * 2
    assert [worker.claimable(endpoint) for endpoint in endpoints] == [0] * 4
    assert worker.offer("elsewhere", targets=("another",)) is START
    assert worker.finish("a") == ["d"], "the place goes to the endpoint that waits for the target"
    assert worker.finish("b") == ["d"]
    assert worker.finish("c") == []


def test_endpoints_that_hang_leave_places_of_their_target_to_fast_ones() -> None:
    worker = Worker(slots=1_000, cap=4, target_cap=10)
    worker.make_fast("fast", targets=("host",))
    for number in range(12):
        worker.offer(f"hung{number}", targets=("host",), responsiveness=UNTRIED)
    assert sum(ticket.item.startswith("hung") for ticket in worker.under_way) == 8
    assert [worker.offer("fast", targets=("host",)) for _ in range(3)] == [START, START, QUEUED]


def test_an_endpoint_with_several_targets_needs_a_place_at_each() -> None:
    worker = Worker(cap=10, target_cap=2)
    worker.make_fast("a", "b", targets=("address",))
    assert worker.offer("a", targets=("one", "address")) is START
    assert worker.offer("b", targets=("two", "address")) is START
    assert worker.offer("b", targets=("two", "address")) is QUEUED
    assert worker.finish("a") == ["b"]


def test_requests_count_for_the_target_that_they_were_sent_to() -> None:
    worker = Worker(cap=3, target_cap=2)
    worker.make_fast("a", "b")
    worker.offer("a", targets=("old",))
    worker.offer("a", targets=("new",))  # its URL has changed
    assert worker.offer("b", targets=("old",)) is QUEUED
    worker.admission.evict_all()
    for _ in range(2):
        worker.finish("a")
    worker.offer("a", targets=("new",))
    assert [worker.offer("b", targets=("old",)) for _ in range(2)] == [START, START]


def test_quotas_name_busy_endpoints_and_bound_all_others() -> None:
    worker = Worker(slots=1_000, cap=5)
    assert worker.admission.quotas(10, 0) == Quotas({}, default=5, restricted=1)
    worker.make_fast("fast")
    for _ in range(2):
        worker.offer("fast")
    worker.offer("unknown")
    assert worker.admission.quotas(50, 0).known == {"fast": 13, "unknown": 0}
    assert worker.admission.quotas(1, 0).known == {"unknown": 0}, "a single delivery needs no other name"


def test_a_claim_for_known_endpoints_asks_no_others() -> None:
    worker = Worker(slots=10, cap=5)
    worker.make_fast("fast")
    for number in range(8):
        worker.offer(f"hung{number}")
    assert worker.admission.quotas(1, 0).known.keys() == {f"hung{number}" for number in range(8)}
    assert worker.admission.quotas(1, 0, endpoint_ids=["hung3"]).known == {"hung3": 0}
    assert worker.admission.quotas(1, 0, endpoint_ids=["fast"]).known == {"fast": 15}, "it may use reserved slots"
    assert worker.admission.quotas(1, 0, endpoint_ids=["new"]) == Quotas({}, default=0, restricted=0)


def test_a_claim_for_a_known_endpoint_holds_to_its_rate_limit() -> None:
    worker = Worker(cap=5)
    worker.make_fast("limited", rate_limit=2.0)
    assert worker.admission.quotas(1, worker.now, endpoint_ids=["limited"]).known == {"limited": 0}
    worker.advance(0.5)
    assert worker.admission.quotas(1, worker.now, endpoint_ids=["limited"]).allow_one


def test_a_claim_takes_no_endpoints_that_are_not_named_when_they_may_not_find_room() -> None:
    worker = Worker(slots=1_000, cap=50)
    while worker.offer(f"hung{len(worker.under_way)}", responsiveness=UNTRIED) is START:
        pass
    assert worker.admission.quotas(PROBES_QUEUED, 0).restricted == 0
    assert worker.admission.quotas(1, 0).restricted == 1
    for number in range(PROBES_QUEUED):
        worker.offer(f"waiting{number}", responsiveness=UNTRIED)
    quotas = worker.admission.quotas(1, 0)
    assert (quotas.restricted, quotas.default) == (0, 50)
    assert quotas.known.keys() >= {"hung0", "waiting0"}


def test_endpoints_get_equal_shares_of_the_free_slots() -> None:
    worker = Worker(slots=24, cap=20)
    worker.make_fast("a", "b", "c")
    assert worker.admission.allocate("abc", 0) == {"a": 4, "b": 4, "c": 4}
    for _ in range(20):
        worker.offer("a")
    assert worker.admission.allocate("abc", 0) == {"a": 1, "b": 1}
    assert worker.admission.allocate("cba", 0) == {"c": 1, "b": 1}


def test_capacity_that_one_endpoint_cannot_use_goes_to_the_others() -> None:
    worker = Worker(slots=40, cap=20)
    worker.make_fast("a", "b")
    assert worker.admission.allocate(["new", "a", "b"], 0) == {"new": 1, "a": 13, "b": 6}


def test_of_endpoints_that_hang_a_round_claims_only_a_few() -> None:
    worker = Worker(slots=1_000)
    worker.make_fast("fast")
    hung = [f"hung{number}" for number in range(300)]
    quotas = worker.admission.allocate([*hung, "fast"], 0)
    assert quotas.pop("fast") == 15
    assert quotas == dict.fromkeys(hung[:PROBES_QUEUED], 1)


def test_unresponsive_endpoints_are_claimed_some_together_rather_than_one_by_one() -> None:
    worker = Worker(slots=1_000)
    names = [f"hung{number}" for number in range(200)]
    for name in names:
        worker.offer(name, responsiveness=UNRESPONSIVE)
    line = [name for name in names if not any(ticket.item == name for ticket in worker.under_way)]
    worker.admission.evict_all()
    for name in line[: PROBES_QUEUED // 2 + 1]:
        worker.offer(name, responsiveness=UNRESPONSIVE)
    rest = line[PROBES_QUEUED // 2 + 1 :]
    assert worker.admission.allocate(rest, 0) == {}
    while not worker.advance(0.01):
        pass
    assert len(worker.admission.allocate(rest, worker.now)) == PROBES_QUEUED // 2


def test_endpoints_used_longest_ago_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission_module, "REMEMBERED_ENDPOINTS", 2)
    worker = Worker()
    worker.make_fast("a", "b")
    worker.offer("a")
    worker.make_fast("c")
    assert [worker.admission.responsiveness(one) for one in "abc"] == [FAST, UNKNOWN, FAST]
    worker.make_fast("d")
    assert worker.admission.responsiveness("a") is FAST, "it has an attempt in flight"
    worker.finish("a")
    assert worker.admission.is_idle


def test_deliveries_that_simultaneous_claims_take_beyond_the_quota_wait_at_their_endpoint() -> None:
    worker = Worker(cap=2)
    worker.make_fast("a")
    quota = worker.admission.allocate(["a"], worker.now)["a"]
    offers = [worker.offer("a") for _ in range(2 * quota)]  # two claims that were given the same quota
    assert offers == [START] * 2 + [QUEUED] * (2 * quota - 2)
    assert worker.claimable("a") == 0
    for _ in range(2 * quota):
        worker.finish("a")
    assert worker.admission.is_idle
