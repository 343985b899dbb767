"""When an endpoint that keeps failing is disabled."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sendoff.policy.delivery.decision import HealthEffect
from sendoff.policy.states import EndpointState


@dataclass(frozen=True, slots=True)
class EndedAttempt:
    """An attempt's effect on its endpoint's health, and when it ended."""

    health: HealthEffect
    ended_at: datetime


@dataclass(frozen=True, slots=True)
class FailureTally:
    """An endpoint's count of consecutive failures after some attempts."""

    consecutive_failures: int
    first_failure_at: datetime | None = None
    """When the first of them ended; None without one."""
    becomes: EndpointState | None = None
    """The endpoint's new state, `disabled` or `gone`; None if it does not change."""


@dataclass(frozen=True, slots=True)
class AutoDisable:
    """Disables an endpoint at its `threshold`-th consecutive failed attempt. Raises ValueError below 1.

    With `spread`, the failures must also have lasted that long, from the first to the last: a burst within one outage
    of a second does not disable an endpoint, and the first failure after `spread` does. From `warning` failures on, by
    default half of the threshold, an endpoint counts as failing.
    """

    threshold: int
    warning: int | None = None
    spread: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        if self.threshold < 1:
            raise ValueError(f"a threshold of {self.threshold} would disable every endpoint")

    @property
    def warns_at(self) -> int:
        """The number of consecutive failures from which on an endpoint counts as failing."""
        return self.warning or max(1, self.threshold // 2)

    def trips(self, consecutive_failures: int, lasted: timedelta = timedelta(0)) -> bool:
        """Whether an endpoint with this many consecutive failures, over this time, is to be disabled."""
        return consecutive_failures >= self.threshold and lasted >= self.spread

    def warns(self, consecutive_failures: int) -> bool:
        """Whether an endpoint with this many consecutive failures is close enough to being disabled for a warning."""
        return consecutive_failures >= self.warns_at

    def tally(
        self, consecutive_failures: int, attempts: Iterable[EndedAttempt], *, first_failure_at: datetime | None = None
    ) -> FailureTally:
        """The tally after `attempts`, in the order they ended, of an endpoint with those failures before.

        Once tripped it stays tripped, regardless of how attempts already in flight end.
        """
        failures, first = consecutive_failures, first_failure_at
        becomes: EndpointState | None = None
        for attempt in attempts:
            if attempt.health is HealthEffect.SUCCESS:
                failures, first = 0, None
            elif attempt.health is not HealthEffect.NONE:
                failures, first = failures + 1, first or attempt.ended_at
            if attempt.health is HealthEffect.GONE:
                becomes = EndpointState.GONE
            elif attempt.health is HealthEffect.FAILURE and first and self.trips(failures, attempt.ended_at - first):
                becomes = becomes or EndpointState.DISABLED
        return FailureTally(failures, first, becomes)
