"""How much of unfinished answers a client holds, all of its connections together.

One answer is bounded by itself. A thousand of the largest at once, which never end, would be a thousand times that:
what goes beyond the first few kilobytes of an answer is taken from a budget that all of them share.
"""

from __future__ import annotations

FREE_BYTES = 4_096
"""What every answer may hold without asking: more than nearly all receivers ever send."""


class Budget:
    """Bytes that unfinished answers may hold beyond `free` each, at most `most` of them together."""

    def __init__(self, most: int, *, free: int = FREE_BYTES) -> None:
        self._left = most
        self._free = free

    @property
    def left(self) -> int:
        """How many bytes nobody holds."""
        return self._left

    def change(self, charged: int, held: int) -> int | None:
        """What is charged to an answer that holds `held` bytes by now, for which `charged` was taken before.

        None, with nothing changed, when there is not so much left.
        """
        wanted = max(0, held - self._free)
        if wanted - charged > self._left:
            return None
        self._left -= wanted - charged
        return wanted
