"""Pacing: slots, overtime, caps, rates and shares, by a clock of the test's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendoff.delivery import admission as admission_module
from sendoff.delivery.admission import (
    LATE_AFTER_SECONDS,
    PREFETCH_PER_CAP,
    SLOW_AFTER_SECONDS,
    AdmissionControl,
    Responsiveness,
)


def test_an_endpoint_takes_at_most_its_cap() -> None:
    admission = AdmissionControl(slots=10, endpoint_cap=3)
    for key in range(3):
        assert admission.available("a", 0) == 3 - key
        admission.start(key, "a", 0)
    assert admission.available("a", 0) == 0
    assert (admission.available("b", 0), admission.busy_endpoints(0)) == (3, ["a"])
    admission.finish(0, answered=True)
    assert admission.available("a", 0) == 1


def test_attempts_that_take_long_give_their_slots_back() -> None:
    admission = AdmissionControl(slots=4, endpoint_cap=2)
    for key, endpoint in enumerate("aabb"):
        admission.start(key, endpoint, 0)
    assert admission.free_slots(SLOW_AFTER_SECONDS - 0.1) == 0
    assert admission.free_slots(SLOW_AFTER_SECONDS) == 4
    assert admission.available("a", SLOW_AFTER_SECONDS) == 0  # its cap counts them all the same


def test_a_full_slow_pool_delays_only_slow_endpoints() -> None:
    admission = AdmissionControl(slots=4, endpoint_cap=5)
    for key in range(4):
        admission.start(key, "slow", 0)
    now = SLOW_AFTER_SECONDS
    assert admission.free_slots(now) == 4
    assert admission.available("slow", now) == 0
    assert admission.available("new", now) == 2  # endpoints that are not fast share four slots, half to wait in
    admission.finish(1, answered=True)
    assert admission.available("slow", now) == 2


def test_hanging_endpoints_leave_slots_to_fast_endpoints() -> None:
    admission = AdmissionControl(slots=10, endpoint_cap=5)
    admission.start("first", "prompt", 0)
    admission.finish("first", answered=True)
    for endpoint in ("a", "b"):
        for number in range(admission.allocate({endpoint: 0}, admission.free_slots(0), 0)[endpoint]):
            admission.start((endpoint, number), endpoint, 0)
    assert admission.free_slots(0) == 2
    assert (admission.available("c", 0), admission.available("prompt", 0)) == (0, 5)
    assert admission.allocate({"c": 0, "prompt": 0}, 2, 0) == {"prompt": 2}


def test_endpoints_that_become_slow_lose_their_reserved_slots() -> None:
    admission = AdmissionControl(slots=10, endpoint_cap=10)
    admission.start("first", "a", 0)
    admission.finish("first", answered=True)
    for number in range(10):
        admission.start(number, "a", 0)
    assert admission.free_slots(LATE_AFTER_SECONDS - 0.01) == 0
    assert admission.free_slots(LATE_AFTER_SECONDS) == 2
    assert admission.available("b", LATE_AFTER_SECONDS) == 0
    admission.finish(0, answered=True)  # late, which proves nothing
    assert admission.available("a", LATE_AFTER_SECONDS) == 0


def test_shares_allocated_together_fit_the_free_slots() -> None:
    admission = AdmissionControl(slots=10, endpoint_cap=5)
    assert admission.allocate(dict.fromkeys("ab", 0), admission.free_slots(0), 0) == {"a": 4, "b": 4}
    assert admission.allocate(dict.fromkeys("ab", 0), 4, 0) == {"a": 2, "b": 2}
    assert admission.allocate(dict.fromkeys("abcdefghij", 0), admission.free_slots(0), 0) == dict.fromkeys(
        "abcdefgh", 1
    )


def test_unproven_endpoints_share_capacity_equally_and_fast_endpoints_get_their_full_quota() -> None:
    admission = AdmissionControl(slots=10, endpoint_cap=5)
    admission.start("first", "prompt", 0)
    admission.finish("first", answered=True)
    in_line = {"a": 0, "prompt": PREFETCH_PER_CAP * 5 - 1, "b": 0, "c": 0}
    assert admission.allocate(in_line, admission.free_slots(0), 0) == {"a": 2, "prompt": 6, "b": 2}


def test_fast_endpoints_may_prefetch_until_they_are_slow() -> None:
    admission = AdmissionControl(slots=100, endpoint_cap=5)
    assert admission.claimable("a", 0, prefetched=0) == 5
    admission.start("first", "a", 0)
    admission.finish("first", answered=True)
    assert admission.claimable("a", 0, prefetched=0) == 5 + 5 * PREFETCH_PER_CAP
    assert admission.claimable("a", 0, prefetched=12) == 3
    admission.start("second", "a", 0)
    admission.free_slots(LATE_AFTER_SECONDS)
    assert admission.claimable("a", LATE_AFTER_SECONDS, prefetched=0) == 4
    assert admission.claimable("a", LATE_AFTER_SECONDS, prefetched=12) == 0


def test_rate_limited_endpoints_do_not_prefetch() -> None:
    admission = AdmissionControl(slots=100, endpoint_cap=5)
    admission.start("first", "a", 0)
    admission.finish("first", answered=True)
    admission.set_rate_limit("a", 10, 0)
    assert admission.claimable("a", 0, prefetched=0) == 1


def test_attempts_under_way_never_exceed_twice_the_slots() -> None:
    admission, now, key = AdmissionControl(slots=10, endpoint_cap=3), 0.0, 0
    for _ in range(50):
        rooms = admission.allocate({f"hung{number}": 0 for number in range(100)}, admission.free_slots(now), now)
        for endpoint in (name for name, room in rooms.items() for _ in range(room)):
            key += 1
            admission.start(key, endpoint, now)
        now += SLOW_AFTER_SECONDS / 4
    assert 10 < key <= 20
    assert admission.free_slots(now) >= 2  # for who is prompt


def test_a_rate_limit_holds_over_every_second() -> None:
    admission = AdmissionControl(slots=100, endpoint_cap=100)
    admission.set_rate_limit("a", 5, 0)
    started: list[float] = []
    for tick in range(400):
        now = tick / 100
        if admission.available("a", now):
            admission.start(tick, "a", now)
            admission.finish(tick, answered=True)
            started.append(now)
    assert 19 <= len(started) <= 21
    for first in started:
        assert sum(first <= moment < first + 1 for moment in started) <= 6


def test_workers_share_an_endpoints_cap_and_rate() -> None:
    admission = AdmissionControl(slots=100, endpoint_cap=20)
    admission.set_rate_limit("a", 10, 0)
    admission.set_workers(4)
    assert admission.available("b", 0) == 5
    admission.start(1, "a", 0)
    assert admission.seconds_to_token({"a"}, 0) == pytest.approx(0.4)
    assert admission.seconds_to_token({"another"}, 0) is None
    assert admission.seconds_to_token({"a"}, 0.5) is None  # if it does not start then, it is for something else
    admission.set_workers(40)
    assert admission.available("b", 0) == 1  # never none at all


def test_an_endpoint_without_limits_is_forgotten_when_nothing_of_it_is_under_way() -> None:
    admission = AdmissionControl(slots=10, endpoint_cap=1)
    admission.start(1, "a", 0)
    assert (admission.busy_endpoints(0), admission.available("a", 0)) == (["a"], 0)
    admission.finish(1, answered=True)
    assert (admission.busy_endpoints(0), admission.available("a", 0)) == ([], 1)


_STEPS = st.tuples(
    st.sampled_from("abc"),
    st.integers(0, 40).map(lambda eighths: eighths / 8),  # sums are exact: what is overtime is beyond doubt
    st.sampled_from(("start", "wait", "begin", "finish")),
    st.sampled_from((True, False, None)),
)


@given(st.lists(_STEPS, max_size=60))
def test_slots_and_capacities_always_add_up(steps: list[tuple[str, float, str, bool | None]]) -> None:
    admission, now = AdmissionControl(slots=8, endpoint_cap=3), 0.0
    waiting: dict[int, str] = {}
    under_way: dict[int, tuple[str, float]] = {}
    for key, (endpoint, seconds, step, answered) in enumerate(steps):
        now += seconds
        has_room = admission.free_slots(now) > 0 and admission.available(endpoint, now) > 0
        if step == "start" and has_room:
            admission.start(key, endpoint, now)
            under_way[key] = (endpoint, now)
        elif step == "wait" and has_room:
            admission.wait(key, endpoint)
            waiting[key] = endpoint
        elif step == "begin" and waiting:
            first = next(iter(waiting))
            admission.begin(first, now)
            under_way[first] = (waiting.pop(first), now)
        elif step == "finish" and (under_way or waiting):
            oldest = next(iter(under_way or waiting))
            admission.finish(oldest, answered=answered)
            (under_way or waiting).pop(oldest)
        in_slots = len(waiting) + sum(now - started < SLOW_AFTER_SECONDS for _, started in under_way.values())
        assert admission.free_slots(now) == 8 - in_slots
        for name in "abc":
            busy = [*waiting.values(), *(endpoint for endpoint, _ in under_way.values())].count(name)
            assert busy <= 3
            assert (name in admission.busy_endpoints(now)) is (busy > 0)


def attempt(admission: AdmissionControl, endpoint_id: str, *, seconds: float, answered: bool | None) -> None:
    """An attempt that begins at 0 and takes so long."""
    admission.start("attempt", endpoint_id, 0)
    admission.free_slots(seconds)
    admission.finish("attempt", answered=answered)


def fill_ramp(admission: AdmissionControl, *, silent: bool) -> list[tuple[str, int]]:
    """As many wait for their start as may; their keys."""
    keys = [("crowd", number) for number in range(admission_module._MOST_WAITING)]
    for key in keys:
        if silent:
            admission.seed(str(key), Responsiveness.UNRESPONSIVE)
        admission.wait(key, str(key))
    return keys


def test_attempts_waiting_for_a_start_take_a_slot_but_do_not_count_as_slow() -> None:
    admission = AdmissionControl(slots=10, endpoint_cap=5)
    admission.wait(1, "a")
    assert (admission.free_slots(0), admission.available("a", 0), admission.is_waiting(1)) == (9, 3, True)
    admission.free_slots(SLOW_AFTER_SECONDS)
    admission.begin(1, SLOW_AFTER_SECONDS)
    assert (admission.free_slots(SLOW_AFTER_SECONDS), admission.is_waiting(1)) == (9, False)
    admission.finish(1, answered=True)
    assert admission.is_fast("a")


@pytest.mark.parametrize(
    ("seconds", "answered", "known_to_answer"),
    [
        (0.0, True, True),
        (0.0, False, True),  # refused at once
        (LATE_AFTER_SECONDS, True, True),
        (LATE_AFTER_SECONDS, False, False),
        (SLOW_AFTER_SECONDS, True, True),
        (SLOW_AFTER_SECONDS, False, False),
        (0.0, None, False),  # nothing is known
    ],
)
def test_attempts_reveal_responsiveness(seconds: float, answered: bool | None, known_to_answer: bool) -> None:
    admission = AdmissionControl(slots=10, endpoint_cap=5)
    attempt(admission, "a", seconds=seconds, answered=answered)
    assert admission.is_known_to_answer("a") is known_to_answer
    assert admission.is_fast("a") is (known_to_answer and seconds == 0)
    assert (admission.free_slots(seconds), admission.busy_endpoints(seconds)) == (10, [])


def test_attempts_cancelled_while_waiting_do_not_count_as_observations() -> None:
    admission = AdmissionControl(slots=10, endpoint_cap=5)
    admission.wait(1, "a")
    admission.finish(1, answered=None)
    assert (admission.is_known_to_answer("a"), admission.free_slots(0), admission.busy_endpoints(0)) == (False, 10, [])


THREE = ("silent", "slow", "new")


def three_classes() -> AdmissionControl:
    admission = AdmissionControl(slots=1_000, endpoint_cap=5)
    attempt(admission, "silent", seconds=LATE_AFTER_SECONDS, answered=False)
    attempt(admission, "slow", seconds=LATE_AFTER_SECONDS, answered=True)
    assert [admission.available(endpoint_id, 0) for endpoint_id in THREE] == [5, 5, 5]
    return admission


def test_attempts_that_wait_for_unresponsive_endpoints_block_no_others() -> None:
    admission = three_classes()
    fill_ramp(admission, silent=True)
    assert [admission.available(endpoint_id, 0) for endpoint_id in THREE] == [0, 5, 5]
    assert admission.allocate(dict.fromkeys(THREE, 0), 100, 0) == {"slow": 5, "new": 5}


def test_each_of_many_unknown_endpoints_may_queue_one_attempt() -> None:
    admission = three_classes()
    fill_ramp(admission, silent=False)
    assert [admission.available(endpoint_id, 0) for endpoint_id in THREE] == [5, 5, 1]
    assert admission.allocate(dict.fromkeys(THREE, 0), 100, 0) == {"silent": 5, "slow": 5, "new": 1}
    assert admission.default_quota() == 1
    admission.wait("first", "new")
    assert admission.available("new", 0) == 0


def test_unresponsive_endpoints_start_in_groups() -> None:
    admission = three_classes()
    crowd = fill_ramp(admission, silent=True)
    enough = len(crowd) // 2
    assert [admission.begin(key, 0) for key in crowd[: enough - 1]] == [False] * (enough - 1)
    assert admission.allocate({"silent": 0}, 100, 0) == {}
    assert admission.begin(crowd[enough], 0), "time to let others wait"
    assert admission.allocate({"silent": 0}, 100, 0) == {"silent": 5}


def test_endpoints_unresponsive_elsewhere_are_unresponsive_here_unless_proven_fast() -> None:
    admission = AdmissionControl(slots=10, endpoint_cap=5)
    attempt(admission, "prompt", seconds=0, answered=True)
    for endpoint_id in ("prompt", "another"):
        admission.seed(endpoint_id, Responsiveness.UNRESPONSIVE)
    assert (admission.responsiveness("prompt"), admission.responsiveness("another")) == (
        Responsiveness.FAST,
        Responsiveness.UNRESPONSIVE,
    )


def test_rate_limited_endpoints_wait_for_one_start_at_a_time_until_they_answer() -> None:
    admission = AdmissionControl(slots=100, endpoint_cap=5)
    admission.set_rate_limit("a", 100, 0)
    admission.wait(1, "a")
    assert admission.available("a", 1) == 0
    admission.begin(1, 1)
    admission.finish(1, answered=True)
    assert admission.available("a", 2) == 5


def test_without_its_limit_an_idle_endpoint_is_not_busy() -> None:
    admission = AdmissionControl(slots=10, endpoint_cap=5)
    admission.set_rate_limit("a", 5, 0)
    admission.set_rate_limit("a", None, 0)
    assert (admission.busy_endpoints(0), admission.seconds_to_token({"a"}, 0)) == ([], None)


def test_only_so_much_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission_module, "_REMEMBERED", 2)
    admission = AdmissionControl(slots=10, endpoint_cap=5)
    attempt(admission, "a", seconds=0, answered=True)
    admission.start("under way", "a", 0)
    attempt(admission, "b", seconds=0, answered=True)
    attempt(admission, "c", seconds=0, answered=True)
    assert [admission.is_fast(endpoint_id) for endpoint_id in "abc"] == [False, True, True]
    admission.finish("under way", answered=True)
    assert [admission.is_fast(endpoint_id) for endpoint_id in "abc"] == [True, False, True]
    attempt(admission, "c", seconds=0, answered=True)
    attempt(admission, "d", seconds=0, answered=True)
    assert [admission.is_fast(endpoint_id) for endpoint_id in "acd"] == [False, True, True]
    assert admission.free_slots(0) == 10
