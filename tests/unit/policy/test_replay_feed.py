"""How much of a replay waits for an endpoint."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sendoff.policy.delivery.replay_feed import DUE_TOGETHER, LEAST_WAITING, SPREAD_SECONDS, capacity_for, due_times


def test_an_endpoint_that_takes_nothing_gets_no_more_than_the_least() -> None:
    assert capacity_for(0, waited=0, elapsed=1) == LEAST_WAITING
    assert capacity_for(LEAST_WAITING, waited=LEAST_WAITING, elapsed=1) == 0
    assert capacity_for(LEAST_WAITING - 1, waited=LEAST_WAITING, elapsed=1) == 1


def test_an_endpoint_that_takes_all_gets_four_times_as_many_at_each_turn() -> None:
    waiting = 0
    fed: list[int] = []
    for _ in range(4):
        capacity = capacity_for(waiting, waited=fed[-1] if fed else 0, elapsed=1)
        fed.append(capacity)
    assert fed == [LEAST_WAITING * 4**turn for turn in range(4)]


def test_waiting_work_suffices_for_two_seconds_however_late_the_turn_is() -> None:
    assert capacity_for(500, waited=1_500, elapsed=1) == 1_500
    assert capacity_for(500, waited=1_500, elapsed=2) == 500


def test_an_endpoint_that_becomes_slower_is_fed_less() -> None:
    assert capacity_for(900, waited=1_000, elapsed=1) == 0


def test_what_is_fed_together_falls_due_evenly_to_each_endpoint_and_between_endpoints() -> None:
    now = datetime(2026, 11, 29, tzinfo=UTC)
    many = {f"a{number}": "first" for number in range(4 * DUE_TOGETHER)}
    due = due_times({**many, "b0": "second", "c0": "third", "d0": None}, now)
    after = {one: (at - now) / timedelta(seconds=SPREAD_SECONDS) for one, at in due.items()}
    assert [after[one] for one in many] == [share for share in (0, 0.25, 0.5, 0.75) for _ in range(DUE_TOGETHER)]
    assert (after["b0"], after["c0"], after["d0"]) == (0.25, 0.5, 0.75)
