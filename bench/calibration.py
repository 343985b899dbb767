"""A fixed piece of pure Python, so that runs on different machines, or in different weather, can be compared."""

from __future__ import annotations

import time

REFERENCE_MS = 20.0
"""What the loop takes on the machine that the product's budgets were written for, when it has nothing else to do."""

_ROUNDS = 7


def calibrate() -> float:
    """The milliseconds of CPU time that the loop takes, the median of seven."""
    return sorted(_timed() for _ in range(_ROUNDS))[_ROUNDS // 2]


def _timed() -> float:
    started = time.process_time()
    _work()
    return (time.process_time() - started) * 1000


def _work() -> int:
    total = 0
    words: dict[str, int] = {}
    for number in range(60_000):
        word = f"w{number % 997}"
        words[word] = words.get(word, 0) + number
        total ^= words[word]
    return total
