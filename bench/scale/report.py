"""SCALE.md: a section for each experiment, each with the command that made it. A new run replaces its own sections."""

from __future__ import annotations

import re
from collections.abc import Mapping

from bench.measurement.environment import describe_machine
from bench.measurement.snapshots import PARTS
from sendoff.clock import SystemClock

TITLES = {
    "workers": "More workers",
    "endpoints": "More endpoints",
    "fanout": "One event for many endpoints",
    "backlog": "A backlog, and the worker's memory",
    "history": "History",
    "waiting": "Retries that wait",
    "retention": "What is past its time",
    "partitions": "History in partitions",
    "pages": "Pages of the dashboard",
    "replays": "A replay beside live events",
    "router": "The router before cells",
}
"""By experiment, in the order of the report."""

_HEAD = f"""\
# Scale

What happens as things grow, measured on PostgreSQL with everything on the one machine: {", ".join(PARTS)}, the receiver
and the load generator share its cores. CPU times are normalized as in `RESULTS.md`, which explains how to read them.
What the numbers mean for an installation: [docs/reference/scale.md](../docs/reference/scale.md).
"""
_SECTION = re.compile(r"^## (?P<title>.+?)\n+(?P<body>.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def describe_run(command: str, body: str, *, calibration_ms: float, seconds: float) -> str:
    """A section without its title."""
    now = SystemClock().now()
    made = (
        f"`{command}`, {now:%Y-%m-%d %H:%M} UTC, {seconds:.0f} s; {describe_machine()}; "
        f"calibration before: {calibration_ms:.1f} ms"
    )
    return f"{made}\n\n{body}"


def read_sections(report: str) -> dict[str, str]:
    """The bodies of an earlier report's sections, by experiment."""
    names = {title: name for name, title in TITLES.items()}
    found = {match["title"]: match["body"].strip() for match in _SECTION.finditer(report)}
    return {names[title]: body for title, body in found.items() if title in names}


def render(sections: Mapping[str, str]) -> str:
    """The whole report."""
    parts = [f"## {title}\n\n{sections[name]}" for name, title in TITLES.items() if name in sections]
    return "\n\n".join([_HEAD.rstrip(), *parts]) + "\n"
