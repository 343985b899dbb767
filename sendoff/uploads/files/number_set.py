"""Which numbers were seen already, in seven bytes a number: a `set` of ten million takes 800 MB, this takes 67."""

from __future__ import annotations

import secrets
from array import array


class NumberSet:
    """A set of E.164 numbers of country code 1, of a size known beforehand: open addressing with linear probing.

    A number needs 34 bits: 32 in one table and the rest, plus one so that zero means "free", in another.
    """

    def __init__(self, capacity: int) -> None:
        """`capacity` is the most different numbers that will be added."""
        self._size = capacity * 4 // 3 + 8
        self._lower = array("I", bytes(4 * self._size))
        self._upper = bytearray(self._size)
        # Random for each set, so that no file can be written whose numbers all collide.
        self._spread = secrets.randbits(61) | 1

    def add(self, e164: str) -> bool:
        """Adds the number; whether it is new."""
        number = int(e164)
        upper, lower = (number >> 32) + 1, number & 0xFFFFFFFF
        uppers, lowers, size = self._upper, self._lower, self._size
        slot = number * self._spread % size
        while uppers[slot]:
            if lowers[slot] == lower and uppers[slot] == upper:
                return False
            slot = (slot + 1) % size
        uppers[slot], lowers[slot] = upper, lower
        return True
