"""When a delivery is attempted again."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendoff.policy.delivery.retry import DeadLettered, Retry, RetrySchedule
from sendoff.policy.states import DeadLetterReason

NOW = datetime(2026, 4, 24, 12, 0, tzinfo=UTC)
CONTRACT = RetrySchedule((60, 300, 1800, 7200, 43200))

waits = st.floats(0, 86_400 * 30)
schedules = st.lists(waits, min_size=1, max_size=8).map(tuple).map(RetrySchedule)
random_source = st.floats(0, 1, exclude_max=True)
asked = st.none() | st.floats(0, 1e12)


def wait_after(schedule: RetrySchedule, attempt: int, *, retry_after: float | None = None, throw: float = 0.0) -> float:
    step = schedule.next_step(attempt, detail="x", retry_after=retry_after, now=NOW, random_source=lambda: throw)
    assert isinstance(step, Retry)
    return (step.at - NOW).total_seconds()


def test_the_contracts_schedule_makes_six_attempts_with_its_waits_between_them() -> None:
    assert CONTRACT.max_attempts == 6
    assert [wait_after(CONTRACT, attempt) for attempt in range(1, 6)] == [60, 300, 1800, 7200, 43200]


@pytest.mark.parametrize("attempt", [6, 7, 500])
def test_the_last_attempt_and_any_beyond_it_is_not_followed_by_another(attempt: int) -> None:
    step = CONTRACT.next_step(attempt, detail="x", retry_after=5, now=NOW, random_source=lambda: 0.0)
    assert step == DeadLettered(DeadLetterReason.RETRIES_EXHAUSTED, f"Given up after attempt {attempt}. x")


def test_a_schedule_without_waits_makes_one_attempt() -> None:
    once = RetrySchedule(())
    assert once.max_attempts == 1
    assert isinstance(once.next_step(1, detail="x", retry_after=60, now=NOW, random_source=lambda: 0.0), DeadLettered)


def test_the_reason_to_try_again_is_handed_on() -> None:
    step = CONTRACT.next_step(1, detail="It was closed.", retry_after=None, now=NOW, random_source=lambda: 0.0)
    assert isinstance(step, Retry)
    assert step.detail == "It was closed."


@given(schedules, st.data(), asked, random_source)
def test_a_wait_is_never_shorter_than_the_schedules_and_at_most_a_tenth_longer_than_what_was_due(
    schedule: RetrySchedule, data: st.DataObject, retry_after: float | None, throw: float
) -> None:
    attempt = data.draw(st.integers(1, len(schedule.waits)))
    wait = wait_after(schedule, attempt, retry_after=retry_after, throw=throw)
    scheduled = schedule.waits[attempt - 1]
    due = max(scheduled, min(retry_after or 0, schedule.longest_wait))
    microsecond = 1e-6
    assert scheduled - microsecond <= wait
    assert due - microsecond <= wait <= due * 1.1 + microsecond


@given(schedules, st.data(), st.floats(0, 1e6), random_source)
def test_retry_after_is_honoured_up_to_the_longest_wait(
    schedule: RetrySchedule, data: st.DataObject, retry_after: float, throw: float
) -> None:
    attempt = data.draw(st.integers(1, len(schedule.waits)))
    wait = wait_after(schedule, attempt, retry_after=retry_after, throw=throw)
    assert wait >= min(retry_after, schedule.longest_wait) - 1e-6


@given(schedules, st.data())
def test_deliveries_that_failed_together_do_not_return_together(schedule: RetrySchedule, data: st.DataObject) -> None:
    attempt = data.draw(st.integers(1, len(schedule.waits)))
    throws = [wait_after(schedule, attempt, throw=throw) for throw in (0.0, 0.5, 0.999)]
    assert throws == sorted(throws)
    assert len(set(throws)) == 3 or schedule.waits[attempt - 1] < 0.001


def test_a_very_short_schedule_keeps_its_waits_too() -> None:
    demo = RetrySchedule((0.2, 0.2))
    assert wait_after(demo, 1) == pytest.approx(0.2)
    assert wait_after(demo, 1, throw=0.999) == pytest.approx(0.21998)
    assert wait_after(demo, 1, retry_after=3600) == pytest.approx(0.2)


@pytest.mark.parametrize("waits", [(-1.0,), (60.0, math.nan), (math.inf,)])
def test_invalid_waits_are_refused(waits: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="seconds of 0 or more"):
        RetrySchedule(waits)
