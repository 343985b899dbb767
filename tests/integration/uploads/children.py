"""The processes in which files are worked at."""

from __future__ import annotations

import psutil


def children() -> list[psutil.Process]:
    """Those of this process that run at the moment."""
    return [child for child in psutil.Process().children() if _works_at_a_file(child)]


def _works_at_a_file(child: psutil.Process) -> bool:
    try:
        return "sendoff.uploads.files.tasks" in child.cmdline()
    except psutil.NoSuchProcess:  # it has ended meanwhile, even if nobody has taken note of it yet
        return False
