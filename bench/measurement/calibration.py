"""A fixed piece of pure Python, timed over and over, so that runs under different noise can be compared.

On a virtual machine the same loop takes 10 ms of CPU time in one minute and 20 in the next, depending on other guests
of the host. So it runs during the scenarios as well as before them.
"""

from __future__ import annotations

import threading
import time
from statistics import median

REFERENCE_MS = 10.0
"""What the loop takes on the machine that the product's budgets were written for, when it has nothing else to do."""

_ROUNDS = 7
_PAUSE_SECONDS = 0.4


def calibrate() -> float:
    """The milliseconds of CPU time that the loop takes now, the median of seven."""
    return median(_timed() for _ in range(_ROUNDS))


class NoiseMeter:
    """Calibrates all the time, at the cost of a few percent of a core."""

    def __init__(self) -> None:
        self._observed: list[tuple[float, float]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._observe, daemon=True)

    def __enter__(self) -> NoiseMeter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def since(self, moment: float) -> float:
        """The median since a monotonic moment, in milliseconds; without any, what the loop takes now."""
        found = [took for at, took in self._observed if at >= moment]
        return median(found) if found else calibrate()

    def _observe(self) -> None:
        while not self._ended.wait(_PAUSE_SECONDS):
            self._observed.append((time.monotonic(), _timed()))


def _timed() -> float:
    started = time.thread_time()
    _work()
    return (time.thread_time() - started) * 1000


def _work() -> int:
    total = 0
    words: dict[str, int] = {}
    for number in range(60_000):
        word = f"w{number % 997}"
        words[word] = words.get(word, 0) + number
        total ^= words[word]
    return total
