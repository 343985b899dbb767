"""An installation for fault injection: API and workers as processes, a Valkey of its own, a receiver that counts.

It knows every event that was accepted, and in the end what must have become of each.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.consistency_check import ConsistencyReport, check_consistency
from tests.support.databases import LiveDatabase
from tests.support.polling import eventually_blocking
from tests.support.ports import free_port
from tests.support.receiver_process import ReceiverProcess
from tests.support.servers import Server
from tests.support.shell import Shell
from tests.support.stepped_clock import SteppedClock
from tests.support.tenants import Tenant, open_tenant
from tests.support.valkey import ValkeyServer

QUICK = {
    "LEASE_SECONDS": "3",
    "ATTEMPT_TIMEOUT_SECONDS": "2",
    "RETRY_SCHEDULE": "1s,1s,1s,1s,1s",
    "SHUTDOWN_GRACE_SECONDS": "2",
}
"""Settings under which what takes half a minute takes seconds."""

PATIENT = {**QUICK, "ATTEMPT_TIMEOUT_SECONDS": "120", "LEASE_SECONDS": "600"}
"""Quick, but with leases far longer than a test: nothing comes twice because a machine is busy, and what another worker
takes up was given back."""

STEADY = {**QUICK, "LEASE_SECONDS": "6", "ATTEMPT_TIMEOUT_SECONDS": "4", "DISABLE_AFTER_FAILURES": "1000"}
"""Quick, but not so quick that a busy machine alone makes attempts time out."""


class Installation:
    """What runs between the begin and the end of `open_installation`; the servers are started by the test."""

    def __init__(
        self,
        directory: Path,
        database: LiveDatabase,
        receiver: ReceiverProcess,
        shell: Shell,
        settings: Mapping[str, str],
    ) -> None:
        self._shell = shell
        self.directory = directory
        self.database = database
        self.receiver = receiver
        self.valkey = ValkeyServer(directory)
        self.may_come_twice = 0
        """Deliveries that were in flight when something was done to a worker or the database: the most duplicates."""
        given = {
            "DATABASE_URL": database.url,
            "REDIS_URL": self.valkey.url,
            "SECRET_KEYS": "k" * 32,
            "STORAGE_URL": f"file://{directory}/uploads",
            "DANGEROUSLY_ALLOW_NETWORKS": "127.0.0.0/8",
            "DANGEROUSLY_ALLOW_HTTP": "true",
            **settings,
        }
        self.settings = {name.lower(): value for name, value in given.items()}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SENDOFF_")}
        self.environment = inherited | {f"SENDOFF_{name}": value for name, value in given.items()}
        self.port = free_port()
        self.tenants: list[Tenant] = []
        self.workers: list[Server] = []
        self._through: Sequence[str] = ()
        self.api = self._new_api(self.port)
        self._more_apis: list[Server] = []

    def live_on(self, clock: SteppedClock) -> None:
        """Start servers on this clock instead of the machine's, from now on."""
        self._through = clock.program
        self.api = self._new_api(self.port)

    def new_worker(self) -> Server:
        """Another worker, not started yet."""
        self.workers.append(self._new_server(f"worker{len(self.workers) + 1}", "worker"))
        return self.workers[-1]

    def start_another_api(self) -> int:
        """Start one more API on the same database and Redis; its port."""
        port = free_port()
        self._more_apis.append(self._new_api(port))
        self._more_apis[-1].start()
        return port

    def start(self, *, workers: int = 1, api: bool = True) -> None:
        """Start this number of workers, and the API if `api`."""
        new = [self.new_worker() for _ in range(workers)] + [self.api] * api
        for server in new:
            server.launch()
        for server in new:
            server.wait_until_ready()

    def add_tenant(self, *paths: str, ordered: bool = False) -> Tenant:
        """A new organization with an endpoint at each of the receiver's paths."""
        urls = [self.receiver.url(path) for path in paths]
        self.tenants.append(asyncio.run(open_tenant(self.settings, self.port, urls, paths, ordered=ordered)))
        return self.tenants[-1]

    def warm_up(self, tenant: Tenant) -> None:
        """Have the workers deliver an event to each endpoint of the tenant.

        Until an endpoint has answered, a worker sends it one delivery at a time and holds the others.
        """
        tenant.publish(1)
        eventually_blocking(lambda: self.count("pending", "held", "in_flight") == 0, what="the warm-up delivered")

    def kill(self, *workers: Server) -> int:
        """Kill workers while they work. Returns the maximum number of deliveries in flight at that moment."""
        for worker in workers:
            worker.kill()
        in_flight = self.count("in_flight")
        self.may_come_twice += in_flight
        return in_flight

    @contextmanager
    def still(self) -> Iterator[None]:
        """Let no worker go on within the block; what is in flight then may come twice."""
        running = [worker for worker in self.workers if worker.is_running]
        for worker in running:
            worker.freeze()
        self.may_come_twice += self.count("in_flight")
        yield
        for worker in running:
            worker.thaw()

    def count(self, *states: str) -> int:
        """How many deliveries are in one of the states."""
        return sum(count for state, count in self._counts().items() if state in states)

    def wait_until_done(self, *, within: float = 30) -> ConsistencyReport:
        """Wait until no delivery is open, and check that everything that was accepted is delivered or dead."""
        eventually_blocking(
            lambda: self.count("pending", "held", "queued", "in_flight") == 0,
            within=within,
            every=0.2,
            what=lambda: f"no open deliveries, but {self._counts()}\n{self._logs()}",
        )
        return check_consistency(self.tenants, self.receiver.receipts(), self.database)

    def check(self, *, within: float = 30) -> ConsistencyReport:
        """Wait until done and check that nothing was lost or altered, and no more than allowed was duplicated.

        `sendoff audit` must find no fault in the database either.
        """
        report = self.wait_until_done(within=within)
        report.check(duplicates_at_most=self.may_come_twice)
        self.audit()
        return report

    def audit(self) -> None:
        """Hold that `sendoff audit` finds nothing that does not add up."""
        audit = self._shell.run(["audit", "--grace", "0s"], self.environment)
        assert audit.returncode == 0, audit.stdout + audit.stderr

    def run_command(self, *arguments: str) -> None:
        """Run `sendoff ARGUMENTS…`, which must succeed."""
        done = self._shell.run(list(arguments), self.environment)
        assert done.returncode == 0, done.stdout + done.stderr

    def new_key(self, organization_id: str, *scopes: str) -> str:
        """An API key of the organization."""
        chosen = [part for scope in scopes for part in ("--scope", scope)]
        user = ("--org", organization_id, "--user", "ada@example.com")
        done = self._shell.run(["keys", "create", *user, *chosen, "--json"], self.environment)
        assert done.returncode == 0, done.stdout + done.stderr
        key: str = json.loads(done.stdout)["key"]
        return key

    def close(self) -> None:
        """End whatever still runs."""
        for server in (self.api, *self._more_apis, *self.workers):
            server.kill()
        self.valkey.kill()

    def _new_api(self, port: int) -> Server:
        return self._new_server(f"api{port}", "api", "--port", str(port))

    def _new_server(self, name: str, *program: str) -> Server:
        command = [*self._through, *program]
        shell = None if self._through else self._shell
        return Server(command, self.environment, self.directory / f"{name}.log", shell=shell)

    def _counts(self) -> dict[str, int]:
        rows = self.database.query("SELECT state, count(*) FROM deliveries GROUP BY state")
        return {state: int(count) for state, count in rows}

    def _logs(self) -> str:
        return "\n".join(server.log() for server in (self.api, *self.workers))


@contextmanager
def open_installation(
    directory: Path, database: LiveDatabase, shell: Shell, settings: Mapping[str, str] = QUICK
) -> Iterator[Installation]:
    """An installation whose Valkey and receiver run; ended for certain."""
    with ReceiverProcess() as receiver:
        installation = Installation(directory, database, receiver, shell, settings)
        try:
            installation.valkey.start()
            yield installation
        finally:
            installation.close()
