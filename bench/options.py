"""What can be chosen on the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SCENARIOS = ("idle", "single", "batch", "rate50", "rate200", "half", "backlog")
DATABASES = ("postgres", "sqlite")


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """One run. Times are seconds, numbers of requests are events."""

    databases: tuple[str, ...]
    only: tuple[str, ...]
    workers: int
    endpoints: int
    hosts: int
    fanout: int
    connections: int
    payload: int
    seconds: float
    idle_seconds: float
    batch_events: int
    backlog_events: int
    settings: tuple[str, ...]
    profile: str | None
    statements: bool
    write: bool

    @property
    def organizations(self) -> int:
        """Publishing goes to all subscribed endpoints of one organization, so the fan-out is what one has."""
        return max(1, self.endpoints // self.fanout)


def parse_options(arguments: list[str] | None = None) -> BenchOptions:
    """The options; ends the process with a sentence when they make no sense."""
    given = _parser().parse_args(arguments)
    if given.quick:
        given.seconds, given.idle_seconds = min(given.seconds, 3.0), min(given.idle_seconds, 3.0)
        given.batch_events, given.backlog_events = min(given.batch_events, 4_000), min(given.backlog_events, 4_000)
    del given.quick
    given.databases = tuple(given.databases or DATABASES)
    given.settings = tuple(given.settings or ())
    return BenchOptions(**vars(given))


def describe(options: BenchOptions) -> list[str]:
    """The settings of the run, for people."""
    lines = [
        f"{options.endpoints} endpoints on {options.hosts} hosts, {options.organizations} organizations, "
        f"{options.fanout} deliveries per event, {options.payload} bytes of `data`",
        f"1 API process, {options.workers} worker {'process' if options.workers == 1 else 'processes'}, "
        f"{options.connections} connections of the load generator",
    ]
    return lines + ([f"settings: {', '.join(options.settings)}"] if options.settings else [])


def names(allowed: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    """A parser of comma-separated names that are all `allowed`."""

    def parse(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        unknown = [name for name in names if name not in allowed]
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)} is none of {', '.join(allowed)}")
        return names

    return parse


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure the real processes from the outside.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--database", dest="databases", action="append", choices=DATABASES, help="repeatable; default: both")
    add("--only", type=names(SCENARIOS), default=SCENARIOS, help=f"some of {','.join(SCENARIOS)}")
    add("--quick", action="store_true", help="a few seconds for each: to try something out, not to believe")
    add("--workers", type=int, default=1, help="worker processes")
    add("--endpoints", type=int, default=100)
    add("--hosts", type=int, default=50, help="loopback addresses that the endpoints are spread over")
    add("--fanout", type=int, default=1, help="endpoints that get each event")
    add("--connections", type=int, default=64, help="connections of the load generator")
    add("--payload", type=int, default=1024, help="bytes of each event's `data`")
    add("--seconds", type=float, default=6.0, help="how long a scenario sends")
    add("--idle-seconds", type=float, default=10.0, help="how long idleness is watched")
    add("--batch-events", type=int, default=20_000, help="events of the batch scenario, at most")
    add("--backlog-events", type=int, default=20_000, help="events that wait when the worker starts")
    add("--set", dest="settings", action="append", metavar="SENDOFF_NAME=VALUE", help="a setting, repeatable")
    add(
        "--profile",
        choices=("api", "worker"),
        help="show where its time goes: by py-spy if installed, else cProfile",
    )
    add("--statements", action="store_true", help="show PostgreSQL's most expensive statements of each scenario")
    add("--write", action="store_true", help=f"write {Path('bench/RESULTS.md')}")
    return parser
