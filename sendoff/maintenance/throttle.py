"""The duty cycle of housekeeping: pauses between its batches leave the database to requests and deliveries."""

from __future__ import annotations

_PAUSE_PER_WORK = 2  # housekeeping works at most a third of the time


def pause_after(worked: float) -> float:
    """Seconds to wait after a batch that took `worked` seconds."""
    return worked * _PAUSE_PER_WORK
