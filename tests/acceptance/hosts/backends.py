"""PostgreSQL with a synchronous standby, and Redis with a replica and three Sentinels, each on a host of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import redis

from tests.acceptance.hosts.network import Host
from tests.support.databases import PostgresDatabase
from tests.support.polling import eventually_blocking
from tests.support.postgres import PostgresServer
from tests.support.processes import start
from tests.support.valkey import find_server

POSTGRES_PORT, REDIS_PORT, SENTINEL_PORT = 5432, 6379, 26379
MASTER = "main"
_DATABASE = "sendoff"
# What is committed must be written and with the standby: servers are killed here. Only the disks need not have it.
_SETTINGS = {"fsync": "off", "full_page_writes": "off", "max_connections": "200", "listen_addresses": "*"}


class PostgresPair:
    """A primary and its synchronous standby, with an empty database."""

    def __init__(self, directory: Path, hosts: Sequence[Host]) -> None:
        self.hosts = hosts
        self.servers = [PostgresServer(directory / host.name, settings=_SETTINGS) for host in hosts]
        self._primary = 0

    @property
    def url(self) -> str:
        """As the setting `DATABASE_URL` takes it: the host of the two that takes writes."""
        addresses = ",".join(f"{host.address}:{POSTGRES_PORT}" for host in self.hosts)
        return f"postgresql://postgres@{addresses}/{_DATABASE}?target_session_attrs=read-write"

    @property
    def primary(self) -> PostgresServer:
        return self.servers[self._primary]

    def start(self) -> None:
        """Start both, and wait until commits wait for the standby."""
        first, second = self.servers
        first.create(open_to="10.77.0.0/24")
        with self.hosts[0].inside():
            first.start()
        first.create_database(_DATABASE)
        with self.hosts[1].inside():
            second.copy(self.hosts[0].address)
            second.start()
        first.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        first.execute("SELECT pg_reload_conf()")
        state = "SELECT sync_state FROM pg_stat_replication"
        eventually_blocking(lambda: first.execute(state) == "sync", within=20, what="a synchronous standby")

    def refuse_writes(self) -> None:
        """Have the primary take no more writes, of connections that are open either."""
        self.primary.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        self.primary.execute("SELECT pg_reload_conf()")

    def promote(self) -> None:
        """Make the standby the primary, and wait until it takes writes."""
        self.servers[1].execute("SELECT pg_promote()")
        self._primary = 1

    @property
    def database(self) -> PostgresDatabase:
        """The database on the primary, reached by its socket: whatever is cut, it answers."""
        return PostgresDatabase(self.primary, f"postgresql://postgres@/{_DATABASE}")

    def stop(self) -> None:
        for server in self.servers:
            server.stop()


class RedisPair:
    """A master and its replica, watched by three Sentinels of which two decide."""

    def __init__(self, directory: Path, hosts: Sequence[Host]) -> None:
        """`hosts`: the master's, the replica's, and one more for the third Sentinel."""
        self._directory = directory
        self._hosts = hosts
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        """As the setting `REDIS_URL` takes it."""
        addresses = ",".join(f"{host.address}:{SENTINEL_PORT}" for host in self._hosts)
        return f"redis+sentinel://{addresses}/{MASTER}/0"

    def start(self) -> None:
        """Start all five, and wait until each Sentinel knows the replica and the other two."""
        master, replica, _ = self._hosts
        self._start(master, "--port", str(REDIS_PORT))
        following = ("--replicaof", f"{master.address} {REDIS_PORT}", "--repl-diskless-sync-delay", "0")
        self._start(replica, "--port", str(REDIS_PORT), *following)
        for host in self._hosts:
            configuration = self._directory / f"sentinel_{host.name}.conf"
            configuration.write_text(
                f"port {SENTINEL_PORT}\nsentinel monitor {MASTER} {master.address} {REDIS_PORT} 2\n"
                f"sentinel down-after-milliseconds {MASTER} 500\nsentinel failover-timeout {MASTER} 3000\n"
            )
            self._start(host, "--sentinel", program_first=(str(configuration),))
        eventually_blocking(
            lambda: all(self._knows_all(host) for host in self._hosts), within=30, what="Sentinels that know each other"
        )

    @property
    def master(self) -> Host:
        """The host of the first master, and of a Sentinel."""
        return self._hosts[0]

    def kill_master(self) -> None:
        """End the first host's Redis, not its Sentinel."""
        self._processes[0].kill()
        self._processes[0].wait()

    def has_failed_over(self) -> bool:
        """Whether the last Sentinel names the replica as the master, and that takes writes."""
        replica = self._hosts[1].address
        with redis.Redis(host=self._hosts[2].address, port=SENTINEL_PORT, decode_responses=True) as asking:
            found = asking.sentinel_get_master_addr_by_name(MASTER)
        with redis.Redis(host=replica, port=REDIS_PORT) as asking:
            return bool(found == (replica, REDIS_PORT) and asking.info("replication")["role"] == "master")

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def _start(self, host: Host, *options: str, program_first: Sequence[str] = ()) -> None:
        folder = self._directory / f"redis_{host.name}"
        folder.mkdir(exist_ok=True)
        plain = ["--bind", "0.0.0.0", "--protected-mode", "no", "--dir", str(folder), "--save", ""]
        with host.inside():
            self._processes.append(start([find_server(), *program_first, *options, *plain], stdout=subprocess.DEVNULL))

    def _knows_all(self, host: Host) -> bool:
        try:
            with redis.Redis(host=host.address, port=SENTINEL_PORT, socket_timeout=2) as asking:
                found = asking.sentinel_master(MASTER)
        except redis.ConnectionError:
            return False
        return int(found["num-slaves"]) == 1 and int(found["num-other-sentinels"]) == 2
