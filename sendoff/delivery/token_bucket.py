"""A token bucket: what a rate allows at a moment. Knows no clock; `now` is monotonic seconds."""

from __future__ import annotations

from dataclasses import dataclass

_BURST_SECONDS = 0.1  # a rate is kept over every window that is not much shorter than this


@dataclass(slots=True)
class TokenBucket:
    """Tokens that come at `rate` per second, at most as many at once as come in `burst_seconds`."""

    rate: float
    tokens: float
    filled_at: float
    burst_seconds: float = _BURST_SECONDS

    @property
    def depth(self) -> float:
        """The most tokens there can be."""
        return max(1.0, self.rate * self.burst_seconds)

    def fill(self, now: float) -> None:
        """Add what came since the last time."""
        self.tokens = min(self.depth, self.tokens + max(0.0, now - self.filled_at) * self.rate)
        self.filled_at = now

    def seconds_to_next(self) -> float:
        """How long until there is a whole token."""
        return max(0.0, (1.0 - self.tokens) / self.rate)
