"""When an endpoint that keeps failing is disabled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendoff.policy.auto_disable import AutoDisable, FailureTally
from sendoff.policy.decision import HealthEffect
from sendoff.policy.states import EndpointState

TWENTY = AutoDisable(20)


def test_the_twentieth_consecutive_failure_disables_and_the_nineteenth_does_not() -> None:
    assert TWENTY.tally(0, [HealthEffect.FAILURE] * 19) == FailureTally(19)
    assert TWENTY.tally(0, [HealthEffect.FAILURE] * 20) == FailureTally(20, EndpointState.DISABLED)
    assert TWENTY.tally(19, [HealthEffect.FAILURE]) == FailureTally(20, EndpointState.DISABLED)
    assert (TWENTY.trips(19), TWENTY.trips(20)) == (False, True)


def test_one_success_resets_the_count() -> None:
    attempts = [HealthEffect.FAILURE] * 19 + [HealthEffect.SUCCESS] + [HealthEffect.FAILURE] * 19
    assert TWENTY.tally(0, attempts) == FailureTally(19)


def test_attempts_that_say_nothing_about_the_endpoint_change_nothing() -> None:
    assert TWENTY.tally(19, [HealthEffect.NONE] * 50) == FailureTally(19)
    assert TWENTY.tally(25, [HealthEffect.NONE]) == FailureTally(25)


def test_gone_disables_for_good_at_once_and_outweighs_failing() -> None:
    assert TWENTY.tally(0, [HealthEffect.GONE]) == FailureTally(1, EndpointState.GONE)
    assert (
        TWENTY.tally(19, [HealthEffect.FAILURE, HealthEffect.GONE, HealthEffect.FAILURE]).becomes is EndpointState.GONE
    )


def test_a_success_that_was_under_way_when_it_tripped_does_not_undo_it() -> None:
    assert TWENTY.tally(19, [HealthEffect.FAILURE, HealthEffect.SUCCESS]) == FailureTally(0, EndpointState.DISABLED)


@given(st.integers(0, 30), st.lists(st.sampled_from(HealthEffect), max_size=60), st.data())
def test_recording_in_groups_comes_to_the_same_as_recording_one_by_one(
    before: int, attempts: list[HealthEffect], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(attempts)))
    first = TWENTY.tally(before, attempts[:cut])
    second = TWENTY.tally(first.consecutive_failures, attempts[cut:])
    whole = TWENTY.tally(before, attempts)
    assert whole.consecutive_failures == second.consecutive_failures
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
