"""What can be chosen on the command line."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from bench.options import names

EXPERIMENTS = (
    "workers",
    "endpoints",
    "fanout",
    "backlog",
    "history",
    "waiting",
    "retention",
    "partitions",
    "pages",
    "replays",
    "router",
)

_QUICK = 100
"""What `--quick` divides the large numbers by."""


@dataclass(frozen=True, slots=True)
class ScaleOptions:
    """One run. Numbers are rows, times are seconds."""

    only: tuple[str, ...]
    rows: int
    backlog: int
    waiting: int
    expired: int
    dead_letters: int
    replayed: int
    replay_rate: int
    endpoints: int
    fanout: int
    workers: tuple[int, ...]
    seconds: float
    idle_seconds: float
    histories: Path | None
    write: bool


def parse_scale_options(arguments: list[str] | None = None) -> ScaleOptions:
    """The options; ends the process with a sentence when they make no sense."""
    given = _parser().parse_args(arguments)
    if given.quick:
        for name in ("rows", "backlog", "waiting", "expired", "dead_letters", "replayed", "endpoints", "fanout"):
            setattr(given, name, max(20, getattr(given, name) // _QUICK))
        given.seconds, given.idle_seconds = min(given.seconds, 3.0), min(given.idle_seconds, 5.0)
    del given.quick
    return ScaleOptions(**vars(given))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.scale",
        description="Measure what grows, on PostgreSQL. With everything at full size: half an hour, 30 GB of disk.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--only", type=names(EXPERIMENTS), default=EXPERIMENTS, help=f"some of {','.join(EXPERIMENTS)}")
    add("--quick", action="store_true", help=f"a {_QUICK}th of everything: to try something out, not to believe")
    add("--rows", type=int, default=10_000_000, help="deliveries of history")
    add("--backlog", type=int, default=1_000_000, help="deliveries that are due when the worker starts")
    add("--waiting", type=int, default=1_000_000, help="retries that wait for their time")
    add("--expired", type=int, default=100_000, help="deliveries that are past their retention")
    add("--dead-letters", type=int, default=1_000_000, help="dead letters that the dashboard's pages are measured with")
    add("--replayed", type=int, default=100_000, help="dead letters of one endpoint that are replayed")
    add("--replay-rate", type=int, default=300, help="how many of them a second, at most; replays do 50 by default")
    add("--endpoints", type=int, default=10_000, help="endpoints that publishing is spread over")
    add("--fanout", type=int, default=1_000, help="endpoints that get one event")
    add("--workers", type=_numbers, default=(1, 2, 4), help="numbers of worker processes")
    add("--seconds", type=float, default=6.0, help="how long a load is sent")
    add("--idle-seconds", type=float, default=30.0, help="how long idleness is watched")
    add(
        "--histories",
        type=lambda text: Path(text).resolve(),
        help="a folder where the histories of `partitions` are kept, and found again by the next run",
    )
    add(
        "--write",
        action="store_true",
        help=f"put the sections into {Path('bench/SCALE.md')}",
    )
    return parser
