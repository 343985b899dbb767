"""What becomes of a delivery, and what its endpoint is charged with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendoff.policy.delivery.attempt_result import (
    REJECTED_ADDRESS,
    AttemptResult,
    ResultKind,
    classify_error,
    classify_response,
)
from sendoff.policy.delivery.decision import LOCAL_PATIENCE_SECONDS, Decision, Delivered, HealthEffect, decide
from sendoff.policy.delivery.retry import DeadLettered, Retry, RetrySchedule
from sendoff.policy.states import DeadLetterReason

NOW = datetime(2026, 4, 24, 12, 0, tzinfo=UTC)
SCHEDULE = RetrySchedule((60, 300, 1800, 7200, 43200))

outcomes = st.builds(
    AttemptResult,
    kind=st.sampled_from(ResultKind),
    name=st.sampled_from(["ok", "server_error", REJECTED_ADDRESS, "timed_out"]),
    detail=st.just("Because."),
    retry_after=st.none() | st.floats(0, 1e9),
)


def after(
    result: AttemptResult,
    attempt: int = 1,
    *,
    replayed: bool = False,
    throw: float = 0.0,
    blocked_for: float | None = None,
    schedule: RetrySchedule = SCHEDULE,
) -> Decision:
    blocked_since = None if blocked_for is None else NOW - timedelta(seconds=blocked_for)
    return decide(
        result,
        attempt,
        schedule=schedule,
        now=NOW,
        random_source=lambda: throw,
        replayed=replayed,
        blocked_since=blocked_since,
    )


def seconds_until(decision: Decision) -> float:
    assert isinstance(decision.step, Retry)
    return (decision.step.at - NOW).total_seconds()


def test_a_2xx_delivers_at_any_attempt() -> None:
    for attempt in (1, 6, 30):
        decision = after(classify_response(204, [], NOW), attempt)
        assert decision == Decision(Delivered(), HealthEffect.SUCCESS, counted=True)


def test_a_receiver_that_always_fails_is_tried_six_times_and_then_given_up() -> None:
    failed = classify_response(500, [], NOW)
    decisions = [after(failed, attempt) for attempt in range(1, 7)]
    assert [seconds_until(decision) for decision in decisions[:5]] == [60, 300, 1800, 7200, 43200]
    assert decisions[5].step == DeadLettered(
        DeadLetterReason.RETRIES_EXHAUSTED,
        "Given up after attempt 6. The receiver answered 500 Internal Server Error.",
    )
    assert all(decision.health is HealthEffect.FAILURE and decision.counted for decision in decisions)


def test_410_is_final_at_the_first_attempt_and_disables_the_endpoint() -> None:
    decision = after(classify_response(410, [], NOW))
    assert isinstance(decision.step, DeadLettered)
    assert decision.step.reason is DeadLetterReason.ENDPOINT_GONE
    assert decision.health is HealthEffect.GONE


def test_a_refused_address_is_retried_and_names_the_dead_letter_when_it_was_the_last_failure() -> None:
    refused = classify_error(REJECTED_ADDRESS, "10.0.0.1 is private.", is_local=False)
    assert seconds_until(after(refused, 1)) == 60
    last = after(refused, 6).step
    assert isinstance(last, DeadLettered)
    assert last.reason is DeadLetterReason.REJECTED_ADDRESS
    assert last.detail == "Given up after attempt 6. 10.0.0.1 is private."


def test_locally_failed_attempts_are_retried_soon_under_the_same_number_without_a_health_effect() -> None:
    local = classify_error("out_of_file_descriptors", "Too many open files.", is_local=True)
    for attempt in (1, 6, 30):
        decision = after(local, attempt, throw=0.999)
        assert 10 <= seconds_until(decision) <= 11
        assert (decision.health, decision.counted) == (HealthEffect.NONE, False)


def test_local_failures_for_the_whole_schedule_use_up_the_attempts_without_a_health_effect() -> None:
    local = classify_error("local_failure", "No route.", is_local=True)
    patient = after(local, blocked_for=SCHEDULE.duration - 1)
    assert (seconds_until(patient), patient.counted) == (10, False)
    impatient = [after(local, attempt, blocked_for=SCHEDULE.duration) for attempt in range(1, 7)]
    assert [seconds_until(decision) for decision in impatient[:5]] == list(SCHEDULE.waits)
    assert impatient[5].step == DeadLettered(DeadLetterReason.RETRIES_EXHAUSTED, "Given up after attempt 6. No route.")
    assert all(decision.counted and decision.health is HealthEffect.NONE for decision in impatient)


def test_a_short_schedule_does_not_make_a_dead_letter_of_a_short_failure_of_ours() -> None:
    local = classify_error("local_failure", "No route.", is_local=True)
    once = RetrySchedule(())
    assert not after(local, schedule=once, blocked_for=LOCAL_PATIENCE_SECONDS - 1).counted
    assert isinstance(after(local, schedule=once, blocked_for=LOCAL_PATIENCE_SECONDS).step, DeadLettered)


@given(st.lists(st.floats(0, 1e5), max_size=6), st.floats(0, 1, exclude_max=True))
def test_a_delivery_that_can_never_be_tried_is_dead_after_twice_the_schedule(waits: list[float], throw: float) -> None:
    schedule, now, counted = RetrySchedule(tuple(waits)), NOW, 0
    local = classify_error("local_failure", "No route.", is_local=True)
    bound = 1.1 * (max(schedule.duration, LOCAL_PATIENCE_SECONDS) + schedule.duration) + 11
    while (now - NOW).total_seconds() <= bound:
        decision = decide(
            local,
            counted + 1,
            schedule=schedule,
            now=now,
            random_source=lambda: throw,
            blocked_since=NOW if now > NOW else None,
        )
        counted += decision.counted
        if isinstance(decision.step, DeadLettered):
            break
        assert isinstance(decision.step, Retry)
        # The ten-second tries would make the test long, and change nothing.
        now = (
            decision.step.at
            if decision.counted
            else max(decision.step.at, min(now + timedelta(hours=1), _patience_ends(schedule)))
        )
    assert isinstance(decision.step, DeadLettered)
    assert counted == schedule.max_attempts


def _patience_ends(schedule: RetrySchedule) -> datetime:
    return NOW + timedelta(seconds=max(schedule.duration, LOCAL_PATIENCE_SECONDS))


def test_a_retry_after_beyond_the_schedules_wait_is_followed() -> None:
    assert seconds_until(after(classify_response(429, [("Retry-After", "1000")], NOW), 1)) == 1000
    assert seconds_until(after(classify_response(503, [("Retry-After", "10")], NOW), 1)) == 60
    assert seconds_until(after(classify_response(503, [("Retry-After", "99999999")], NOW), 1)) == 43200


@pytest.mark.parametrize("attempt", [2, 7])
def test_a_replay_that_fails_is_not_charged_to_the_endpoint_but_uses_up_its_number(attempt: int) -> None:
    decision = after(classify_response(500, [], NOW), attempt, replayed=True)
    assert (decision.health, decision.counted) == (HealthEffect.NONE, True)


def test_a_replay_that_succeeds_shows_that_the_endpoint_is_well() -> None:
    assert after(classify_response(200, [], NOW), 7, replayed=True).health is HealthEffect.SUCCESS


@given(outcomes, st.integers(1, 50), st.floats(0, 1, exclude_max=True), st.booleans())
def test_every_attempt_leads_to_an_end_or_to_a_later_time(
    result: AttemptResult, attempt: int, throw: float, replayed: bool
) -> None:
    decision = after(result, attempt, replayed=replayed, throw=throw)
    match decision.step:
        case Delivered():
            assert result.kind is ResultKind.DELIVERED
        case Retry():
            assert seconds_until(decision) >= (10 if result.kind is ResultKind.LOCAL else 60)
            assert not decision.counted or attempt < SCHEDULE.max_attempts
        case DeadLettered():
            assert result.kind is ResultKind.GONE or attempt >= SCHEDULE.max_attempts
            assert decision.step.detail
