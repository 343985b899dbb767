"""Runs a server whose wall clock is ahead or behind by what stands in a file: `… stepped_clock FILE MODULE ARGUMENT…`.

The monotonic clock is left alone, as it is when a machine's clock is set.
"""

from __future__ import annotations

import runpy
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

from sendoff.clock import SystemClock


class SteppedClock:
    """The wall clock of the processes that were started with `file`; `step` sets it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.step(0)

    @property
    def program(self) -> list[str]:
        """What servers are run by to live on this clock."""
        return ["tests.support.stepped_clock", str(self._file)]

    def step(self, seconds: float) -> None:
        """Set the clock this number of seconds ahead of the true time, for all processes at once."""
        new = self._file.with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(self._file)


def main() -> None:
    _, file, module, *arguments = sys.argv
    true_time, true_now = time.time, SystemClock.now

    def offset() -> float:
        return float(Path(file).read_text())

    def now(self: SystemClock) -> datetime:
        return true_now(self) + timedelta(seconds=offset())

    # arq reads the time itself; it is imported by the server, after this.
    time.time = lambda: true_time() + offset()
    SystemClock.now = now  # type: ignore[method-assign]
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
