"""`python -m bench.floor`: what a delivery costs at 50 and 200 a second in the barest pipeline of the same shape.

HTTP to a process, a row in PostgreSQL that is on disk before the answer, a job in Valkey, a second process that claims
the row, sends a signed POST and records the outcome: the same guarantees and the same hops as the product's, by the
same drivers, and none of its code. `python -m bench --database postgres --only rate50,rate200` is the product beside
it: what it costs beyond this is all that can be saved without another architecture.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from bench.measurement.calibration import NoiseMeter
from bench.measurement.databases import Postgres
from bench.measurement.profiling import Profiler
from bench.measurement.snapshots import Meter
from bench.options import parse_options
from bench.processes.servers import ReceiverProcess, Servers
from bench.scenarios import FIXED_RATE, Bench
from bench.table import Run, render
from tests.support.polling import eventually_blocking

_RATES = (50.0, FIXED_RATE)

_TABLE = """
    CREATE TABLE deliveries (
        id uuid PRIMARY KEY, url text NOT NULL, data text NOT NULL, state text NOT NULL, due_at timestamptz,
        lease_token uuid, leased_until timestamptz
    );
    CREATE INDEX ON deliveries (due_at) WHERE state = 'pending';
    CREATE INDEX ON deliveries (leased_until) WHERE state = 'in_flight';
"""


class FloorServers(Servers):
    """The barest processes in place of the product's."""

    def __init__(self, directory: Path, database: Postgres, receiver: ReceiverProcess) -> None:
        super().__init__(directory, database, Profiler(None, directory), settings=())
        self._places = str(directory / "postgres"), str(directory / "valkey" / "valkey.sock")
        self._database, self._receiver = database, receiver

    def start(self) -> None:
        self._database.execute(_TABLE)
        self._valkey.start()
        receiver = str(self._receiver.port), *self._receiver.hosts
        self._api = self._start("bench.floor.api", str(self.api_port), *self._places, *receiver)
        eventually_blocking(self._api_answers, within=30, what=lambda: self.log("bench.floor.api"))

    def _start_worker(self) -> tuple[subprocess.Popen[bytes], int]:
        return self._start_ready("bench.floor.worker", *self._places)


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m bench.floor", description=main.__doc__)
    parser.add_argument("--seconds", type=float, default=6.0, help="how long requests are sent")
    options = replace(parse_options([]), seconds=parser.parse_args().seconds)
    with tempfile.TemporaryDirectory(prefix="sendoff-floor-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # PostgreSQL may have to run as another user
        database, receiver = Postgres(directory), ReceiverProcess(options.hosts)
        servers = FloorServers(directory, database, receiver)
        with NoiseMeter() as noise:
            meter = Meter(servers, database, receiver, noise)
            try:
                run = asyncio.run(_measure(Bench(options, directory, meter, ["none"])))
            finally:
                servers.stop()
                receiver.stop()
                database.stop()
    sys.stdout.write(render([run]) + "\n")
    return 0


async def _measure(bench: Bench) -> Run:
    meter = bench.meter
    await meter.database.connect()
    try:
        meter.servers.start()
        meter.servers.start_workers(1)
        await bench.warm_up()
        return Run("floor", [await bench.at_rate(f"{rate:g}/s", rate) for rate in _RATES], meter.peaks)
    finally:
        await meter.database.disconnect()


if __name__ == "__main__":
    sys.exit(main())
