"""Limits the memory that the unfinished answers of a client take, all connections together.

Each answer is bounded by itself, but a thousand endless ones would take a thousand times that bound. Beyond the first
kilobytes of each answer, all of them share a budget.
"""

from __future__ import annotations

FREE_BYTES = 4_096
"""Bytes of each answer that are not charged to the budget. Nearly all answers are shorter; a higher value raises the
memory of hostile answers by as much for each connection."""


class MemoryBudget:
    """Bytes that unfinished answers may hold beyond `free` each, at most `most` of them together."""

    def __init__(self, most: int, *, free: int = FREE_BYTES) -> None:
        self._left = most
        self._free = free

    @property
    def left(self) -> int:
        """Bytes that are still free."""
        return self._left

    def change(self, charged: int, held: int) -> int | None:
        """Charge an answer that now holds `held` bytes, and had been charged `charged`; returns its new charge.

        Returns None and changes nothing if too few bytes are left.
        """
        wanted = max(0, held - self._free)
        if wanted - charged > self._left:
            return None
        self._left -= wanted - charged
        return wanted
