"""When an endpoint that keeps failing is disabled."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sendoff.policy.decision import HealthEffect
from sendoff.policy.states import EndpointState


@dataclass(frozen=True, slots=True)
class FailureTally:
    """An endpoint's count of consecutive failures after some attempts."""

    consecutive_failures: int
    becomes: EndpointState | None = None
    """The endpoint's new state, `disabled` or `gone`; None if it does not change."""


@dataclass(frozen=True, slots=True)
class AutoDisable:
    """Disables an endpoint at its `threshold`-th consecutive failed attempt. Raises ValueError below 1.

    From `warning` failures on, by default half of the threshold, an endpoint counts as failing.
    """

    threshold: int
    warning: int | None = None

    def __post_init__(self) -> None:
        if self.threshold < 1:
            raise ValueError(f"a threshold of {self.threshold} would disable every endpoint")

    def trips(self, consecutive_failures: int) -> bool:
        """Whether an endpoint with this many consecutive failures is to be disabled."""
        return consecutive_failures >= self.threshold

    def warns(self, consecutive_failures: int) -> bool:
        """Whether an endpoint with this many consecutive failures is close enough to being disabled for a warning."""
        return consecutive_failures >= (self.warning or max(1, self.threshold // 2))

    def tally(self, consecutive_failures: int, attempts: Iterable[HealthEffect]) -> FailureTally:
        """The tally after `attempts`, in the order they ended, of an endpoint with those failures before.

        Once tripped it stays tripped, regardless of how attempts already in flight end.
        """
        failures = consecutive_failures
        becomes: EndpointState | None = None
        for health in attempts:
            if health is HealthEffect.SUCCESS:
                failures = 0
            elif health is not HealthEffect.NONE:
                failures += 1
            if health is HealthEffect.GONE:
                becomes = EndpointState.GONE
            elif health is HealthEffect.FAILURE and self.trips(failures):
                becomes = becomes or EndpointState.DISABLED
        return FailureTally(failures, becomes)
