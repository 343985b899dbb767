"""What the operating system says that processes used: CPU time and peak memory, children included."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time of processes and all their descendants, those that have ended included."""
    table = _read_processes()
    return sum(table[pid][1] for root in pids for pid in _tree(root, table)) / _TICKS


def own_cpu_seconds(pid: int) -> float:
    """CPU time of one process alone."""
    found = _read_processes().get(pid)
    return found[1] / _TICKS if found else 0.0


def peak_memory(pids: Iterable[int]) -> float:
    """The largest resident set that any of the processes or their descendants had so far, in MiB."""
    table = _read_processes()
    return max((_high_water_mark(pid) for root in pids for pid in _tree(root, table)), default=0) / 1024


def machine_busy_seconds() -> float:
    """CPU time that the whole machine has spent on anything, on all cores together."""
    fields = [int(field) for field in (_PROC / "stat").read_text().splitlines()[0].split()[1:]]
    user, nice, system, _idle, _iowait, *other = fields
    return (user + nice + system + sum(other[:3])) / _TICKS


def _tree(root: int, table: dict[int, tuple[int, int]]) -> list[int]:
    children: dict[int, list[int]] = {}
    for pid, (parent, _) in table.items():
        children.setdefault(parent, []).append(pid)
    found, waiting = [], [root] if root in table else []
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += children.get(pid, [])
    return found


def _read_processes() -> dict[int, tuple[int, int]]:
    """Parent and CPU ticks (of its waited-for children too) of each process."""
    table = {}
    for folder in _PROC.iterdir():
        if folder.name.isdigit():
            try:
                # The second field is the program's name in parentheses, which may hold anything.
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has just ended
            table[int(folder.name)] = (int(fields[1]), sum(int(field) for field in fields[11:15]))
    return table


def _high_water_mark(pid: int) -> int:
    try:
        lines = (_PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)
