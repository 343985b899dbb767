"""One installation for one experiment: PostgreSQL, Valkey, the API, workers, a receiver, and who publishes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.fixtures import create_fixtures
from bench.measurement.calibration import NoiseMeter
from bench.measurement.databases import POSTGRES_SETTINGS, Postgres
from bench.measurement.profiling import Profiler
from bench.measurement.snapshots import Meter
from bench.options import BenchOptions, parse_options
from bench.processes.servers import ReceiverProcess, Servers
from bench.scenarios import Bench


@dataclass(frozen=True)
class Site:
    """What runs, and how to load and measure it. No worker runs at first."""

    options: BenchOptions
    directory: Path
    database: Postgres
    meter: Meter
    keys: list[str]

    @property
    def servers(self) -> Servers:
        return self.meter.servers

    def bench(self, **changes: Any) -> Bench:
        """The benchmark's scenarios on this installation, with other options where given."""
        return Bench(replace(self.options, **changes), self.directory, self.meter, self.keys)


@asynccontextmanager
async def open_site(
    parent: Path, name: str, *, postgres: Mapping[str, str] = POSTGRES_SETTINGS, **changes: Any
) -> AsyncIterator[Site]:
    """Start everything below `parent`/`name` and stop it at the end; `changes` are options of `bench`."""
    directory = parent / name
    directory.mkdir()
    directory.chmod(0o755)  # PostgreSQL may have to run as another user
    options = replace(parse_options(["--database", "postgres"]), **changes)
    database = Postgres(directory, postgres)
    servers = Servers(directory, database, Profiler(None, directory), settings=options.settings)
    receiver = ReceiverProcess(options.hosts)
    with NoiseMeter() as noise:
        try:
            servers.start()
            await database.connect()
            keys = await create_fixtures(servers.environment, options, receiver.hosts, receiver.port)
            yield Site(options, directory, database, Meter(servers, database, receiver, noise), keys)
        finally:
            await database.disconnect()
            servers.stop()
            receiver.stop()
            database.stop()
