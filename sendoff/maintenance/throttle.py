"""How housekeeping, which works through any number of rows, leaves room for those who wait for an answer."""

from __future__ import annotations

_BREATHS_PER_WORK = 2  # a third of the time at most


def pause_after(worked: float) -> float:
    """How many seconds to wait between two batches, the first of which took so many seconds."""
    return worked * _BREATHS_PER_WORK
