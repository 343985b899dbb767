"""An installation over thirteen hosts: two APIs, two workers, both backends twice, and what stands around it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sendoff.ids import event_time
from sendoff.server_urls.database import check_database_url
from sendoff.store.engine.database import migrate
from tests.acceptance.hosts.backends import PostgresPair, RedisPair
from tests.acceptance.hosts.network import Host, Network
from tests.acceptance.hosts.readiness import Readiness, watching_readiness
from tests.acceptance.hosts.traffic import Traffic, publishing
from tests.support.consistency_check import check_consistency
from tests.support.latency import note
from tests.support.polling import eventually_blocking
from tests.support.processes import ROOT
from tests.support.receiver_process import ReceiverProcess
from tests.support.servers import Server
from tests.support.tenants import Tenant, open_tenant

API_PORT, WORKER_PORT, RECEIVER_PORT = 8000, 9000, 8080
PATHS = ("/1", "/2", "/3", "/4", "/5")
"""Each tenant's only endpoint, at the receiver."""

ANSWER_SECONDS = 5.0
"""Within this the API answers 503 when it cannot commit."""


@dataclass(frozen=True)
class Node:
    """A process of the product and its host."""

    host: Host
    server: Server
    ready_url: str

    def launch(self) -> None:
        with self.host.inside():
            self.server.launch()

    def start(self) -> None:
        self.launch()
        self.server.wait_until_ready()


class Site:
    """Everything but the product's own processes runs after `start_backends`; they, after `start`."""

    def __init__(self, network: Network, directory: Path, stack: ExitStack) -> None:
        self.network = network
        self.directory = directory
        self._stack = stack
        self.postgres = PostgresPair(directory, [network.add("db1"), network.add("db2")])
        self.redis = RedisPair(directory, [network.add("redis1"), network.add("redis2"), network.add("sentinel3")])
        self.publisher = network.add("publisher")
        self.receiver_host = network.add("receiver")
        self._hosts = {name: network.add(name) for name in ("api1", "api2", "worker1", "worker2")}
        self.database_url = self.postgres.url
        self.may_come_twice = 0
        """Deliveries that were in flight when a fault began: the most duplicates that are allowed."""
        self.tenants: list[Tenant] = []
        self.apis: list[Node] = []
        self.workers: list[Node] = []

    @property
    def nodes(self) -> list[Node]:
        return [*self.apis, *self.workers]

    def start_backends(self) -> None:
        self._stack.callback(self.postgres.stop)
        self.postgres.start()
        self._stack.callback(self.redis.stop)
        self.redis.start()
        with self.receiver_host.inside():
            receiver = ReceiverProcess(host=self.receiver_host.address, port=RECEIVER_PORT)
            self.receiver = self._stack.enter_context(receiver)

    def start(self, programs: Mapping[str, Sequence[str]] | None = None) -> None:
        """Migrate, start two APIs and two workers, and open the tenants.

        `programs` has what a host runs its process by instead of plain Python, by the host's name.
        """
        self.migrate()
        self.start_nodes(programs or {})
        settings = {name.removeprefix("SENDOFF_").lower(): value for name, value in self.settings().items()}
        self.tenants = [
            asyncio.run(open_tenant(settings, API_PORT, [self.receiver.url(path)], [path])) for path in PATHS
        ]

    def migrate(self, revision: str = "head") -> None:
        migrate(check_database_url(self.database_url), revision=revision)

    def start_nodes(self, programs: Mapping[str, Sequence[str]], *, folder: Path = ROOT) -> None:
        """Start the product's processes, of the version in `folder`."""
        self.apis = [self.new_api(name, programs.get(name, ()), folder=folder) for name in ("api1", "api2")]
        self.workers = [self.new_worker(name, programs.get(name, ()), folder=folder) for name in ("worker1", "worker2")]
        for node in self.nodes:
            node.launch()
        for node in self.nodes:
            node.server.wait_until_ready()

    def new_api(self, name: str, through: Sequence[str] = (), *, folder: Path = ROOT) -> Node:
        """An API on the host of that name, not started yet."""
        host = self._hosts[name]
        program = [*through, "api", "--host", "0.0.0.0", "--port", str(API_PORT)]
        return self._new_node(host, program, f"http://{host.address}:{API_PORT}/ready", folder)

    def new_worker(self, name: str, through: Sequence[str] = (), *, folder: Path = ROOT) -> Node:
        host = self._hosts[name]
        return self._new_node(host, [*through, "worker"], f"http://{host.address}:{WORKER_PORT}/ready", folder)

    @contextmanager
    def under_load(self) -> Iterator[tuple[Traffic, Readiness]]:
        """Publish within the block, and watch what each process says of its readiness."""
        apis = [(node.host.address, API_PORT) for node in self.apis]
        urls = {node.host.name: node.ready_url for node in self.nodes}
        with (
            watching_readiness(urls) as readiness,
            publishing(self.publisher, apis, self.tenants, self.directory) as traffic,
        ):
            traffic.accept(400)  # the endpoints are known to answer, and the processes are warm
            traffic.forget_refusals()
            yield traffic, readiness
            traffic.accept(400)
            self._wait_until_all_are_ready(readiness)

    def fault_begins(self) -> None:
        """Note what is in flight: it may come twice, and nothing else."""
        self.may_come_twice += self._count("in_flight")

    def check(self, title: str, traffic: Traffic, readiness: Readiness, *, longest_delay: float) -> None:
        """Hold that nothing was lost, no more than allowed repeated, and none late by more than that many seconds."""
        eventually_blocking(
            lambda: self._count("pending", "held", "queued", "in_flight") == 0,
            within=60,
            every=0.2,
            what=lambda: "no open delivery\n" + "\n".join(node.server.log() for node in self.nodes),
        )
        receipts = self.receiver.receipts()
        report = check_consistency(self.tenants, receipts, self.postgres.database)
        sent_at = {request.id: request.sent_at for request in traffic.accepted}
        judged = [one for one in receipts if one.event_id in sent_at]
        delays = sorted(one.first_at - sent_at[one.event_id] for one in judged)
        # The rest of a delay is the request's way to an API, such as to a host that was lost.
        inside = max(one.first_at - event_time(one.event_id).timestamp() for one in judged)
        refusals = [request.seconds for request in traffic.refused]
        note(
            "hosts",
            f"{title}: {len(sent_at)} accepted, {len(refusals)} refused (slowest {max(refusals, default=0):.1f} s), "
            f"{len(traffic.unanswered)} unanswered; {len(report.lost)} lost, {report.duplicates} repeated of "
            f"{self.may_come_twice} allowed; p50 {delays[len(delays) // 2] * 1000:.0f} ms, longest delay "
            f"{delays[-1]:.1f} of {longest_delay:.1f} s, {inside:.1f} s after the acceptance; "
            f"publisher late by {traffic.latest_seconds:.1f} s; ready: {readiness.tell()}",
        )
        report.check(duplicates_at_most=self.may_come_twice)
        assert report.dead == 0
        self._audit()
        assert {request.status for request in traffic.refused} <= {503}
        allowance = traffic.latest_seconds  # all hosts share the cores of one machine, where real ones have their own
        assert max(refusals, default=0) <= ANSWER_SECONDS + allowance
        assert delays[-1] <= longest_delay + allowance

    def settings(self) -> dict[str, str]:
        """The environment of the product's processes."""
        return {
            "SENDOFF_DATABASE_URL": self.database_url,
            "SENDOFF_REDIS_URL": self.redis.url,
            "SENDOFF_SECRET_KEYS": "k" * 32,
            "SENDOFF_STORAGE_URL": f"file://{self.directory}/uploads",
            "SENDOFF_PUBLIC_URL": "http://10.77.0.1:8000",
            "SENDOFF_DANGEROUSLY_ALLOW_NETWORKS": "10.77.0.0/24",
            "SENDOFF_DANGEROUSLY_ALLOW_HTTP": "true",
            "SENDOFF_WORKER_METRICS_HOST": "0.0.0.0",
            "SENDOFF_WORKER_METRICS_PORT": str(WORKER_PORT),
        }

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SENDOFF_")}
        return inherited | self.settings()

    def _new_node(self, host: Host, program: Sequence[str], ready_url: str, folder: Path) -> Node:
        server = Server(program, self._environment(), self.directory / f"{host.name}.log", folder=folder)
        self._stack.callback(server.kill)
        return Node(host, server, ready_url)

    def _wait_until_all_are_ready(self, readiness: Readiness) -> None:
        eventually_blocking(
            lambda: all(answers and answers[-1].status == 200 for answers in readiness.answers.values()),
            within=30,
            every=0.2,
            what=lambda: f"all are ready in the end: {readiness.tell()}",
        )

    def _count(self, *states: str) -> int:
        rows = self.postgres.database.query("SELECT state, count(*) FROM deliveries GROUP BY state")
        return sum(int(count) for state, count in rows if state in states)

    def _audit(self) -> None:
        command = [sys.executable, "-m", "sendoff.cli", "audit", "--grace", "0s"]
        done = subprocess.run(command, cwd=ROOT, env=self._environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
