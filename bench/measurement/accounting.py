"""What the operating system says that processes used: CPU time and peak memory, children included."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class _Process:
    parent: int
    cpu_seconds: float
    """Its own and that of the children it has waited for."""


class ProcessTable:
    """All processes at one moment."""

    def __init__(self) -> None:
        self._processes = dict(_read_processes())
        self._children: dict[int, list[int]] = {}
        for pid, process in self._processes.items():
            self._children.setdefault(process.parent, []).append(pid)

    def cpu_seconds(self, pids: Iterable[int]) -> float:
        """CPU time of processes and all their descendants, those that have ended included."""
        return sum(self._processes[pid].cpu_seconds for pid in self._tree(pids))

    def own_cpu_seconds(self, pid: int) -> float:
        """CPU time of one process alone."""
        return self._processes[pid].cpu_seconds if pid in self._processes else 0.0

    def peak_memory(self, pids: Iterable[int]) -> float:
        """The largest resident set that any of the processes or their descendants had so far, in MiB."""
        return max((_memory(pid, "VmHWM") for pid in self._tree(pids)), default=0) / 1024

    def resident_memory(self, pids: Iterable[int]) -> float:
        """The largest resident set that any of the processes or their descendants has now, in MiB."""
        return max((_memory(pid, "VmRSS") for pid in self._tree(pids)), default=0) / 1024

    def _tree(self, roots: Iterable[int]) -> Iterator[int]:
        waiting = [pid for pid in roots if pid in self._processes]
        while waiting:
            pid = waiting.pop()
            yield pid
            waiting += self._children.get(pid, [])


def machine_busy_seconds() -> float:
    """CPU time that the whole machine has spent on anything, on all cores together."""
    fields = [int(field) for field in (_PROC / "stat").read_text().splitlines()[0].split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq, *_virtual = fields
    return (user + nice + system + irq + softirq) / _TICKS


def _read_processes() -> Iterator[tuple[int, _Process]]:
    for folder in _PROC.iterdir():
        if folder.name.isdigit():
            try:
                # The second field is the program's name in parentheses, which may hold anything.
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has just ended
            yield int(folder.name), _Process(int(fields[1]), sum(map(int, fields[11:15])) / _TICKS)


def _memory(pid: int, name: str) -> int:
    try:
        lines = (_PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)
