"""Where a process spends its time: sampled by py-spy when it is installed, otherwise counted by cProfile.

py-spy is to be preferred: cProfile slows down what it watches, and books time to the wrong functions where greenlets
are switched, as in everything that SQLAlchemy does.
"""

from __future__ import annotations

import os
import pstats
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path

from tests.support.processes import start, stop

_LINES = 40
_SAMPLES_PER_SECOND = 400


class Profiler:
    """Profiles the processes of one name, `api` or `worker`, or none."""

    def __init__(self, name: str | None, directory: Path) -> None:
        self._name = name
        self._directory = directory
        self._number = 0
        self._py_spy = _find_py_spy()
        self._samplers: list[subprocess.Popen[bytes]] = []

    def python_options(self, name: str) -> list[str]:
        """What to start the process with."""
        if name != self._name or self._py_spy:
            return []
        return ["-m", "cProfile", "-o", str(self._output("prof"))]

    def watch(self, name: str, pid: int) -> None:
        """A process is ready: sample it from now on, until it ends."""
        if name == self._name and self._py_spy:
            options = ["--format", "raw", "--nonblocking", "--rate", str(_SAMPLES_PER_SECOND), "--pid", str(pid)]
            command = [self._py_spy, "record", *options, "--output", str(self._output("raw"))]
            self._samplers.append(start(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def report(self) -> str:
        """The functions where the time went, once the processes have ended."""
        for sampler in self._samplers:
            stop(sampler)
        samples = _read_samples(self._directory.glob("*.raw"))
        return _describe_samples(samples) + _describe_counts([str(path) for path in self._directory.glob("*.prof")])

    def _output(self, ending: str) -> Path:
        self._number += 1
        return self._directory / f"{self._number}.{ending}"


def _find_py_spy() -> str | None:
    beside_python = str(Path(sys.executable).parent)
    return shutil.which("py-spy", path=os.pathsep.join([beside_python, os.environ.get("PATH", "")]))


def _read_samples(files: Iterator[Path]) -> list[tuple[list[str], int]]:
    """Stacks, outermost frame first, with how often each was seen."""
    lines = [line for path in files for line in path.read_text().splitlines()]
    return [(stack.split(";"), int(count)) for stack, _, count in (line.rpartition(" ") for line in lines)]


def _describe_samples(samples: Sequence[tuple[list[str], int]]) -> str:
    innermost: Counter[str] = Counter()
    anywhere: Counter[str] = Counter()
    for stack, count in samples:
        innermost[_without_line(stack[-1])] += count
        anywhere.update(dict.fromkeys(map(_without_line, stack), count))
    total = sum(innermost.values())
    return "".join(
        f"\n{title}\n" + "".join(f"{count / total:7.1%}  {frame}\n" for frame, count in counts.most_common(_LINES))
        for title, counts in (("In the function itself", innermost), ("In it and all that it calls", anywhere))
        if total
    )


def _without_line(frame: str) -> str:
    if not frame.strip():
        return "(not readable at that moment, or native code)"
    return frame.rpartition(":")[0] + ")" if ":" in frame else frame


def _describe_counts(files: list[str]) -> str:
    text = StringIO()
    if files:
        statistics = pstats.Stats(*files, stream=text)
        statistics.sort_stats("tottime").print_stats(_LINES)
        statistics.sort_stats("cumulative").print_stats(_LINES)
    return text.getvalue()
