"""`python -m bench.traffic`: run the scenarios, print the table, write the section of RESULTS.md."""

from __future__ import annotations

import argparse
import asyncio
import shlex
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.__main__ import RESULTS
from bench.fixtures import register_urls
from bench.measurement.calibration import NoiseMeter
from bench.measurement.databases import Postgres
from bench.measurement.profiling import Profiler
from bench.measurement.snapshots import Meter, Usage
from bench.options import names as one_of
from bench.plan import LoadPlan, LoadResult, read_answers
from bench.processes.receiver import read_arrivals
from bench.processes.servers import ReceiverProcess, Servers, run_load
from bench.report import write_results
from bench.traffic.report import TrafficResult, render_traffic
from bench.traffic.resolver import use_resolver
from bench.traffic.shape import DOMAIN, in_turn, names, power_law
from tests.support.ports import free_port
from tests.support.tls import Authority

SCENARIOS = ("10", "50", "200", "1000", "turns", "saturated")
TURNS_PER_SECOND = 200.0

_CONNECTIONS = 64
_WARM_UP_PER_SECOND, _ANSWERS_SECONDS = 400.0, 1.0


@dataclass(frozen=True, slots=True)
class TrafficOptions:
    """One run."""

    only: tuple[str, ...]
    names: int
    seconds: float
    settings: tuple[str, ...]
    profile: str | None
    write: bool


class TrafficReceiver(ReceiverProcess):
    """The receivers' process: all names lead to it."""

    def __init__(self, count: int, certificate: Path) -> None:
        self.hosts = names(count)
        self.port, self.name_server_port = free_port(), free_port()
        self._launch("bench.traffic.receiver", str(self.port), str(self.name_server_port), str(certificate))


def main() -> int:
    """Measure and report."""
    options = _parse()
    signal.signal(signal.SIGTERM, lambda _signal, _frame: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="sendoff-traffic-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # PostgreSQL may have to run as another user
        authority = Authority(directory)
        receiver = TrafficReceiver(options.names, authority.certificate(f"*.{DOMAIN}"))
        use_resolver(receiver.name_server_port)
        database = Postgres(directory)
        profiler = Profiler(options.profile, directory)
        launcher = ("-m", "bench.traffic.resolver", str(receiver.name_server_port))
        settings = (f"SENDOFF_CA_FILE={authority.ca_file}", *options.settings)
        servers = Servers(directory, database, profiler, settings=settings, launcher=launcher)
        with NoiseMeter() as noise:
            try:
                servers.start()
                servers.start_workers(1)
                measured = asyncio.run(_measure(Meter(servers, database, receiver, noise), options, directory))
            finally:
                servers.stop()
                receiver.stop()
                database.stop()
    section = render_traffic(shlex.join(["python", "-m", "bench.traffic", *sys.argv[1:]]), options.names, measured)
    sys.stdout.write(section + profiler.report())
    if options.write:
        write_results(RESULTS, traffic=section)
    return 0


def _parse() -> TrafficOptions:
    parser = argparse.ArgumentParser(prog="python -m bench.traffic", description=main.__doc__)
    parser.add_argument("--only", type=one_of(SCENARIOS), default=SCENARIOS, help=f"some of {','.join(SCENARIOS)}")
    parser.add_argument("--names", type=int, default=1_000, help="host names, each with an endpoint")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long a scenario sends")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="SENDOFF_NAME=VALUE")
    parser.add_argument("--profile", choices=("api", "worker"), help="show where its time goes")
    parser.add_argument("--write", action="store_true", help="write the section of bench/RESULTS.md")
    given = parser.parse_args()
    given.settings = tuple(given.settings)
    return TrafficOptions(**vars(given))


async def _measure(meter: Meter, options: TrafficOptions, directory: Path) -> list[TrafficResult]:
    receiver, servers = meter.receiver, meter.servers
    urls = [f"https://{host}:{receiver.port}/hook" for host in receiver.hosts]
    await meter.database.connect()
    try:
        keys = await register_urls(servers.environment, urls, fanout=1)
        requests = {"turns": in_turn(keys, servers.api_port)}
        warm_up = _plan(servers, requests["turns"], options.names / _WARM_UP_PER_SECOND, _WARM_UP_PER_SECOND, directory)
        await asyncio.to_thread(run_load, warm_up, directory)
        await asyncio.sleep(_ANSWERS_SECONDS)
        rates = {"turns": TURNS_PER_SECOND, "saturated": 0.0}
        law = power_law(keys, servers.api_port)
        plans = [
            (name, _plan(servers, requests.get(name, law), options.seconds, rates.get(name) or float(name), directory))
            if name != "saturated"
            else (name, _plan(servers, law, options.seconds, 0.0, directory))
            for name in options.only
        ]
        return [await _run(meter, name, plan, directory) for name, plan in plans]
    finally:
        await meter.database.disconnect()


def _plan(
    servers: Servers, requests: tuple[Sequence[str], Sequence[str]], seconds: float, rate: float, directory: Path
) -> LoadPlan:
    """`rate`: requests per second, 0 for a closed loop."""
    found, bodies = requests
    return LoadPlan(
        host="127.0.0.1",
        port=servers.api_port,
        heads=list(found),
        bodies=list(bodies),
        expect=202,
        connections=_CONNECTIONS,
        seconds=seconds,
        most=10_000_000,
        rate=rate,
        answers=str(directory / "answers"),
    )


async def _run(meter: Meter, name: str, plan: LoadPlan, directory: Path) -> TrafficResult:
    meter.receiver.reset()
    before = await meter.read()
    outcome = await asyncio.to_thread(run_load, plan, directory)
    if outcome.refused:
        raise RuntimeError(f"{outcome.refused} requests were refused, the first with:\n{outcome.refusal}")
    await asyncio.sleep(_ANSWERS_SECONDS)  # the last answers are being recorded
    usage = await meter.since(before)
    return _measured(meter, name, outcome, usage, directory)


def _measured(meter: Meter, name: str, outcome: LoadResult, usage: Usage, directory: Path) -> TrafficResult:
    receiver = meter.receiver
    connections = receiver.connections()
    arrivals = read_arrivals(receiver.dump(directory / "receipts"))
    first: dict[bytes, float] = {}
    for event_id, at in arrivals:
        first.setdefault(event_id, at)
    answers = read_answers(directory / "answers")
    return TrafficResult(
        name=name,
        usage=usage,
        events=outcome.answered,
        accepted_per_second=outcome.per_second,
        attempts=len(arrivals),
        connections=connections,
        milliseconds=sorted((first[one.event_id] - one.sent) * 1000 for one in answers if one.event_id in first),
        memory=meter.resident_memory(),
        descriptors=sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in meter.servers.worker_pids),
    )


if __name__ == "__main__":
    sys.exit(main())
