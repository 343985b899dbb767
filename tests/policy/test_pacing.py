"""Pacing: slots, overtime, caps, rates and shares, by a clock of the test's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendoff.policy.pacing import LATE_AFTER_SECONDS, LINE_PER_CAP, OVERTIME_AFTER_SECONDS, Pacer


def test_an_endpoint_takes_at_most_its_cap() -> None:
    pacer = Pacer(slots=10, endpoint_cap=3)
    for key in range(3):
        assert pacer.room_for("a", 0) == 3 - key
        pacer.start(key, "a", 0)
    assert pacer.room_for("a", 0) == 0
    assert (pacer.room_for("b", 0), pacer.busy_endpoints(0)) == (3, ["a"])
    pacer.finish(0)
    assert pacer.room_for("a", 0) == 1


def test_attempts_that_take_long_give_their_slots_back() -> None:
    pacer = Pacer(slots=4, endpoint_cap=2)
    for key, endpoint in enumerate("aabb"):
        pacer.start(key, endpoint, 0)
    assert pacer.free_slots(OVERTIME_AFTER_SECONDS - 0.1) == 0
    assert pacer.free_slots(OVERTIME_AFTER_SECONDS) == 4
    assert pacer.room_for("a", OVERTIME_AFTER_SECONDS) == 0  # its cap counts them all the same


def test_when_overtime_is_full_only_endpoints_in_overtime_have_to_wait() -> None:
    pacer = Pacer(slots=4, endpoint_cap=5)
    for key in range(4):
        pacer.start(key, "slow", 0)
    now = OVERTIME_AFTER_SECONDS
    assert pacer.free_slots(now) == 4
    assert pacer.room_for("slow", now) == 0
    assert pacer.room_for("new", now) == 4
    pacer.finish(1)
    assert pacer.room_for("slow", now) == 2


def test_who_hangs_leaves_slots_to_who_is_known_to_be_prompt() -> None:
    pacer = Pacer(slots=10, endpoint_cap=5)
    pacer.start("first", "prompt", 0)
    pacer.finish("first")
    for endpoint in ("a", "b"):
        for number in range(pacer.share_out({endpoint: 0}, pacer.free_slots(0), 0)[endpoint]):
            pacer.start((endpoint, number), endpoint, 0)
    assert pacer.free_slots(0) == 2
    assert (pacer.room_for("c", 0), pacer.room_for("prompt", 0)) == (0, 5)
    assert pacer.share_out({"c": 0, "prompt": 0}, 2, 0) == {"prompt": 2}


def test_who_is_no_longer_prompt_gives_up_the_slots_that_are_kept() -> None:
    pacer = Pacer(slots=10, endpoint_cap=10)
    pacer.start("first", "a", 0)
    pacer.finish("first")
    for number in range(10):
        pacer.start(number, "a", 0)
    assert pacer.free_slots(LATE_AFTER_SECONDS - 0.01) == 0
    assert pacer.free_slots(LATE_AFTER_SECONDS) == 2
    assert pacer.room_for("b", LATE_AFTER_SECONDS) == 0
    pacer.finish(0)  # late, which proves nothing
    assert pacer.room_for("a", LATE_AFTER_SECONDS) == 0


def test_what_is_shared_out_together_fits_together() -> None:
    pacer = Pacer(slots=10, endpoint_cap=5)
    assert pacer.share_out(dict.fromkeys("ab", 0), pacer.free_slots(0), 0) == {"a": 4, "b": 4}
    assert pacer.share_out(dict.fromkeys("ab", 0), 4, 0) == {"a": 4}
    assert pacer.share_out(dict.fromkeys("abcdefghij", 0), pacer.free_slots(0), 0) == dict.fromkeys("abcdefgh", 1)


def test_who_is_not_known_to_be_prompt_gets_an_equal_share_and_who_is_all_it_has_room_for() -> None:
    pacer = Pacer(slots=10, endpoint_cap=5)
    pacer.start("first", "prompt", 0)
    pacer.finish("first")
    in_line = {"a": 0, "prompt": LINE_PER_CAP * 5 - 1, "b": 0, "c": 0}
    assert pacer.share_out(in_line, pacer.free_slots(0), 0) == {"a": 2, "prompt": 6, "b": 2}


def test_who_is_prompt_may_have_a_line_until_it_is_late() -> None:
    pacer = Pacer(slots=100, endpoint_cap=5)
    assert pacer.room_to_claim("a", 0, in_line=0) == 5
    pacer.start("first", "a", 0)
    pacer.finish("first")
    assert pacer.room_to_claim("a", 0, in_line=0) == 5 + 5 * LINE_PER_CAP
    assert pacer.room_to_claim("a", 0, in_line=12) == 3
    pacer.start("second", "a", 0)
    pacer.free_slots(LATE_AFTER_SECONDS)
    assert pacer.room_to_claim("a", LATE_AFTER_SECONDS, in_line=0) == 4
    assert pacer.room_to_claim("a", LATE_AFTER_SECONDS, in_line=12) == 0


def test_who_has_a_rate_limit_has_no_line() -> None:
    pacer = Pacer(slots=100, endpoint_cap=5)
    pacer.start("first", "a", 0)
    pacer.finish("first")
    pacer.set_rate_limit("a", 10, 0)
    assert pacer.room_to_claim("a", 0, in_line=0) == 1


def test_there_is_never_more_under_way_than_twice_the_slots() -> None:
    pacer, now, key = Pacer(slots=10, endpoint_cap=3), 0.0, 0
    for _ in range(50):
        rooms = pacer.share_out({f"hung{number}": 0 for number in range(100)}, pacer.free_slots(now), now)
        for endpoint in (name for name, room in rooms.items() for _ in range(room)):
            key += 1
            pacer.start(key, endpoint, now)
        now += OVERTIME_AFTER_SECONDS / 4
    assert 10 < key <= 20
    assert pacer.free_slots(now) >= 2  # for who is prompt


def test_a_rate_limit_holds_over_every_second() -> None:
    pacer = Pacer(slots=100, endpoint_cap=100)
    pacer.set_rate_limit("a", 5, 0)
    started: list[float] = []
    for tick in range(400):
        now = tick / 100
        if pacer.room_for("a", now):
            pacer.start(tick, "a", now)
            pacer.finish(tick)
            started.append(now)
    assert 19 <= len(started) <= 21
    for first in started:
        assert sum(first <= moment < first + 1 for moment in started) <= 6


def test_workers_share_an_endpoints_cap_and_rate() -> None:
    pacer = Pacer(slots=100, endpoint_cap=20)
    pacer.set_rate_limit("a", 10, 0)
    pacer.set_workers(4)
    assert pacer.room_for("b", 0) == 5
    pacer.start(1, "a", 0)
    assert pacer.seconds_to_token("a") == pytest.approx(0.4)
    pacer.set_workers(40)
    assert pacer.room_for("b", 0) == 1  # never none at all


def test_an_endpoint_without_limits_is_forgotten_when_nothing_of_it_is_under_way() -> None:
    pacer = Pacer(slots=10, endpoint_cap=1)
    pacer.start(1, "a", 0)
    assert (pacer.busy_endpoints(0), pacer.room_for("a", 0)) == (["a"], 0)
    pacer.finish(1)
    assert (pacer.busy_endpoints(0), pacer.room_for("a", 0)) == ([], 1)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 5), st.booleans()), max_size=60))
def test_slots_and_rooms_always_add_up(steps: list[tuple[str, float, bool]]) -> None:
    pacer, now = Pacer(slots=8, endpoint_cap=3), 0.0
    under_way: dict[int, tuple[str, float]] = {}
    for key, (endpoint, wait, finishes) in enumerate(steps):
        now += wait
        if finishes and under_way:
            oldest = next(iter(under_way))
            pacer.finish(oldest)
            del under_way[oldest]
        elif pacer.free_slots(now) > 0 and pacer.room_for(endpoint, now) > 0:
            pacer.start(key, endpoint, now)
            under_way[key] = (endpoint, now)
        prompt = sum(now - started < OVERTIME_AFTER_SECONDS for _, started in under_way.values())
        assert pacer.free_slots(now) == 8 - prompt
        for name in "abc":
            assert sum(endpoint == name for endpoint, _ in under_way.values()) <= 3
