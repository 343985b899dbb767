"""When an endpoint that keeps failing is disabled."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendoff.policy.delivery.auto_disable import AutoDisable, EndedAttempt, FailureTally
from sendoff.policy.delivery.decision import HealthEffect
from sendoff.policy.states import EndpointState

TWENTY = AutoDisable(20)
START = datetime(2026, 4, 24, tzinfo=UTC)
FAILURE, SUCCESS, NONE, GONE = HealthEffect.FAILURE, HealthEffect.SUCCESS, HealthEffect.NONE, HealthEffect.GONE


def ended(healths: Sequence[HealthEffect], *, every: float = 0, since: datetime = START) -> list[EndedAttempt]:
    """Attempts that ended every `every` seconds."""
    return [EndedAttempt(health, since + timedelta(seconds=every * place)) for place, health in enumerate(healths)]


def test_the_twentieth_consecutive_failure_disables_and_the_nineteenth_does_not() -> None:
    assert TWENTY.tally(0, ended([FAILURE] * 19)) == FailureTally(19, START)
    assert TWENTY.tally(0, ended([FAILURE] * 20)) == FailureTally(20, START, EndpointState.DISABLED)
    assert TWENTY.tally(19, ended([FAILURE])) == FailureTally(20, START, EndpointState.DISABLED)
    assert (TWENTY.trips(19), TWENTY.trips(20)) == (False, True)


def test_one_success_resets_the_count_and_the_time() -> None:
    attempts = ended([FAILURE] * 19 + [SUCCESS] + [FAILURE] * 19, every=1)
    assert TWENTY.tally(0, attempts) == FailureTally(19, START + timedelta(seconds=20))
    assert TWENTY.tally(7, ended([SUCCESS]), first_failure_at=START) == FailureTally(0)


def test_attempts_that_say_nothing_about_the_endpoint_change_nothing() -> None:
    assert TWENTY.tally(19, ended([NONE] * 50), first_failure_at=START) == FailureTally(19, START)
    assert TWENTY.tally(25, ended([NONE]), first_failure_at=START) == FailureTally(25, START)


def test_gone_disables_for_good_at_once_and_outweighs_failing() -> None:
    assert TWENTY.tally(0, ended([GONE])) == FailureTally(1, START, EndpointState.GONE)
    assert TWENTY.tally(19, ended([FAILURE, GONE, FAILURE])).becomes is EndpointState.GONE
    assert AutoDisable(20, spread=timedelta(hours=1)).tally(0, ended([GONE])).becomes is EndpointState.GONE


def test_a_success_that_was_under_way_when_it_tripped_does_not_undo_it() -> None:
    assert TWENTY.tally(19, ended([FAILURE, SUCCESS])) == FailureTally(0, None, EndpointState.DISABLED)


def test_a_burst_of_failures_does_not_disable_before_they_have_lasted_as_long_as_they_must() -> None:
    patient = AutoDisable(20, spread=timedelta(minutes=10))
    burst = patient.tally(0, ended([FAILURE] * 60, every=0.003))
    assert burst == FailureTally(60, START)
    too_early = patient.tally(60, ended([FAILURE], since=START + timedelta(seconds=599)), first_failure_at=START)
    assert too_early.becomes is None
    late = patient.tally(61, ended([FAILURE], since=START + timedelta(seconds=600)), first_failure_at=START)
    assert late == FailureTally(62, START, EndpointState.DISABLED)
    few = patient.tally(18, ended([FAILURE], since=START + timedelta(hours=5)), first_failure_at=START)
    assert few.becomes is None


@given(st.integers(0, 30), st.lists(st.sampled_from(HealthEffect), max_size=60), st.integers(0, 40), st.data())
def test_recording_in_groups_comes_to_the_same_as_recording_one_by_one(
    before: int, healths: list[HealthEffect], spread: int, data: st.DataObject
) -> None:
    policy = AutoDisable(20, spread=timedelta(seconds=spread))
    since = START - timedelta(seconds=5) if before else None
    attempts = ended(healths, every=1)
    cut = data.draw(st.integers(0, len(attempts)))
    first = policy.tally(before, attempts[:cut], first_failure_at=since)
    second = policy.tally(first.consecutive_failures, attempts[cut:], first_failure_at=first.first_failure_at)
    whole = policy.tally(before, attempts, first_failure_at=since)
    assert (whole.consecutive_failures, whole.first_failure_at) == (
        second.consecutive_failures,
        second.first_failure_at,
    )
    states = {first.becomes, second.becomes} - {None}
    assert whole.becomes == (EndpointState.GONE if EndpointState.GONE in states else next(iter(states), None))


@pytest.mark.parametrize("threshold", [0, -1])
def test_a_threshold_that_would_disable_every_endpoint_is_refused(threshold: int) -> None:
    with pytest.raises(ValueError, match="disable every endpoint"):
        AutoDisable(threshold)


@pytest.mark.parametrize(
    ("auto_disable", "first"),
    [
        (AutoDisable(20), 10),
        (AutoDisable(21), 10),
        (AutoDisable(1), 1),
        (AutoDisable(20, 3), 3),
        (AutoDisable(5, 9), 9),
    ],
)
def test_an_endpoint_fails_from_the_warning_threshold_on_by_default_half_of_the_limit(
    auto_disable: AutoDisable, first: int
) -> None:
    assert [auto_disable.warns(failures) for failures in range(first + 2)] == [False] * first + [True] * 2
