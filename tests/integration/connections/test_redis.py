"""Connections to Redis and Valkey: TLS with one's own authority, users with few rights, a master behind Sentinel."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis
from arq.connections import ArqRedis, create_pool
from redis.crc import key_slot

from sendoff.command_pipe import CommandPipe
from sendoff.operators.installation.doctor import Status, examine
from sendoff.queue import BULK, BULK_DELIVERIES, UPLOADS, RedisQueue, connect, measure_queues, redis_settings
from sendoff.server_urls.redis import KEY_TAG
from sendoff.settings import Settings, load
from tests.support.app_fixture import open_app
from tests.support.polling import eventually, eventually_blocking
from tests.support.ports import free_port
from tests.support.processes import start, stop
from tests.support.redis_cluster import RedisCluster
from tests.support.tls import Authority
from tests.support.valkey import find_server

WITH_TLS = shutil.which("redis-server") or shutil.which("valkey-server")
needs_tls = pytest.mark.skipif(WITH_TLS is None, reason="no redis-server with TLS is installed here")


@asynccontextmanager
async def connected(url: str, **given: Any) -> AsyncIterator[ArqRedis]:
    client = connect(load(redis_url=url, **given))
    try:
        yield client
    finally:
        await client.aclose(close_connection_pool=True)


async def works(url: str, **given: Any) -> bool:
    """Whether both the product's client and arq's own reach it."""
    async with connected(url, **given) as client:
        await client.set("key", "value")
        settings: Settings = load(redis_url=url, **given)
        arq = await create_pool(redis_settings(settings), retry=99)
        try:
            return bool(await arq.get("key") == b"value")
        finally:
            await arq.aclose(close_connection_pool=True)
            manager = getattr(arq.connection_pool, "sentinel_manager", None)
            for sentinel in manager.sentinels if manager else []:  # which arq leaves open
                await sentinel.aclose()


class Servers:
    """Processes of Redis or Valkey, ended together."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, program: str | Path, *arguments: str, port: int, **client: Any) -> None:
        """Start one on `port` and wait until it answers."""
        command = [program, *arguments, "--dir", self._folder]
        self._processes[port] = start(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def answers() -> bool:
            try:
                with redis.Redis(host="127.0.0.1", port=port, **client) as asking:
                    return bool(asking.ping())
            except (redis.ConnectionError, redis.AuthenticationError):
                return False

        eventually_blocking(answers, within=15, what=f"{program} answers on {port}")

    def kill(self, port: int) -> None:
        self._processes[port].kill()
        self._processes[port].wait()

    def stop(self) -> None:
        for process in self._processes.values():
            stop(process)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    servers = Servers(tmp_path_factory.mktemp("redis"))
    yield servers
    servers.stop()


@pytest.fixture(scope="module")
def tls_port(servers: Servers, authority: Authority) -> int:
    """A server that takes TLS alone, from clients with a certificate alone."""
    assert WITH_TLS is not None
    port, certificate = free_port(), str(authority.certificate("127.0.0.1"))
    options = {"port": "0", "tls-port": str(port), "tls-cert-file": certificate, "tls-key-file": certificate}
    options |= {"tls-ca-cert-file": str(authority.ca_file), "tls-auth-clients": "yes", "save": ""}
    client: dict[str, Any] = {"ssl": True, "ssl_ca_certs": str(authority.ca_file)}
    client |= {"ssl_certfile": certificate, "ssl_keyfile": certificate}
    servers.start(WITH_TLS, *_arguments(options), port=port, **client)
    return port


@needs_tls
async def test_tls_with_own_authorities_and_a_clients_certificate(tls_port: int, authority: Authority) -> None:
    own = authority.certificate("client")
    certificate = f"ssl_certfile={own}&ssl_keyfile={own}"
    url = f"rediss://127.0.0.1:{tls_port}/0?{certificate}"
    assert await works(f"{url}&ssl_ca_certs={authority.ca_file}&ssl_cert_reqs=required")
    assert await works(url, ca_file=authority.ca_file)


@needs_tls
async def test_tls_is_refused_without_trust_and_for_another_name(tls_port: int, authority: Authority) -> None:
    own = authority.certificate("client")
    certificate = f"ssl_certfile={own}&ssl_keyfile={own}"
    for url in (
        f"rediss://127.0.0.1:{tls_port}/0?{certificate}",
        f"rediss://localhost:{tls_port}/0?{certificate}&ssl_ca_certs={authority.ca_file}",
        f"rediss://127.0.0.1:{tls_port}/0?ssl_ca_certs={authority.ca_file}",
    ):
        async with connected(url) as client:
            with pytest.raises((redis.ConnectionError, OSError)):
                await client.ping()


async def test_a_user_needs_the_keys_of_the_queue_alone(servers: Servers, sqlite_url: str) -> None:
    port = free_port()
    servers.start(find_server(), *_arguments({"port": str(port), "save": ""}), port=port)
    with redis.Redis(port=port) as admin:
        admin.execute_command("ACL SETUSER app on >p%40ss ~sendoff:* ~arq:* ~key +@all -@dangerous".replace("%40", "@"))
        admin.execute_command("ACL SETUSER default off")
    assert await works(f"redis://app:p%40ss@127.0.0.1:{port}/0")
    async with connected(f"redis://app:p%40ss@127.0.0.1:{port}/0") as client:
        with pytest.raises(redis.exceptions.NoPermissionError):
            await client.set("another", "key")
    async with open_app(sqlite_url, redis_url=f"redis://app:p%40ss@127.0.0.1:{port}/0") as app:
        found = {one.name: one for one in await examine(app.context, briefly=True)}
    assert (found["redis"].status, found["redis"].remedy) == (Status.OK, None), "CONFIG is not among what it may"


async def test_behind_sentinel_the_new_master_is_found_after_a_failover(servers: Servers, tmp_path: Path) -> None:
    """Setup: a master, a replica and one Sentinel. Timeline: kill the master; then ask a Sentinel first that is silent.

    What this proves: the same client writes to the replica once that has been promoted, and so does arq's own;
    a Sentinel that takes connections and says nothing keeps nobody from the next.
    """
    master, replica, sentinel = free_port(), free_port(), free_port()
    plain = {"save": "", "bind": "127.0.0.1"}
    servers.start(find_server(), *_arguments({**plain, "port": str(master)}), port=master)
    following = {**plain, "port": str(replica), "replicaof": f"127.0.0.1 {master}", "repl-diskless-sync-delay": "0"}
    servers.start(find_server(), *_arguments(following), port=replica)
    configuration = tmp_path / "sentinel.conf"
    configuration.write_text(
        f"port {sentinel}\nsentinel monitor main 127.0.0.1 {master} 1\n"
        "sentinel down-after-milliseconds main 300\nsentinel failover-timeout main 2000\n"
    )
    servers.start(find_server(), str(configuration), "--sentinel", port=sentinel)
    url = f"redis+sentinel://127.0.0.1:{sentinel},127.0.0.1:{free_port()}/main/0"
    assert await works(url)
    with redis.Redis(port=sentinel) as asking:
        await eventually(
            lambda: int(asking.sentinel_master("main")["num-slaves"]) == 1, within=20, what="Sentinel knows the replica"
        )

    queue = RedisQueue(connect(load(redis_url=url)))
    async with connected(url) as client:

        async def enqueued() -> bool:
            queue.enqueue_uploads([str(uuid4())])
            return bool(await client.zcard(UPLOADS))

        assert await client.set("before", "1")
        await eventually(enqueued, within=20, what="jobs reach the master")
        servers.kill(master)

        async def written() -> bool:
            try:
                return bool(await client.set("after", "1"))
            except (redis.RedisError, OSError):
                return False

        await eventually(written, within=30, what="the promoted replica takes writes")
        assert await client.get("after") == b"1"
        await client.delete(UPLOADS)
        await eventually(enqueued, within=20, what="jobs reach the new master")
    await queue.close()
    assert await works(url)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent_first = url.replace("//", f"//127.0.0.1:{silent.getsockname()[1]},")
        async with connected(silent_first) as client:
            pipe = CommandPipe(client)

            async def is_read() -> bool:
                try:  # the silent one would take five seconds
                    return await pipe.run([("GET", "after")], seconds=3) == [b"1"]
                except (redis.RedisError, OSError):  # Sentinel takes a master for lost that does not answer for 0.3 s
                    return False

            await eventually(is_read, within=30, what="the master, past a Sentinel that says nothing")
            await pipe.close()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RedisCluster]:
    started = RedisCluster(tmp_path)
    try:
        started.start()
        yield started
    finally:
        started.stop()


async def test_in_a_cluster_all_keys_are_on_one_node_which_may_change(cluster: RedisCluster) -> None:
    """Setup: a cluster of three masters.

    Timeline: jobs are queued and measured; the slot of all keys moves; the same again.
    What this proves: arq's keys and ours are in one slot, whichever node is asked first; and a client follows the slot.
    """
    for port in cluster.ports:
        async with connected(f"redis+cluster://127.0.0.1:{port}") as asked:
            assert await asked.set(f"key{KEY_TAG}", "value")
    settings = load(redis_url=f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{cluster.ports[0]}/0")
    tag, client = settings.redis_key_tag, connect(settings)
    queue = RedisQueue(connect(settings), key_tag=tag)
    pipe = CommandPipe(client)
    try:
        for _ in range(2):
            ids = [str(uuid4()) for _ in range(BULK + 1)]

            async def is_queued(ids: list[str] = ids) -> bool:
                queue.enqueue_deliveries(ids)
                queue.enqueue_uploads(ids[:1])
                try:
                    sizes, _ = await measure_queues(client, now=0, key_tag=tag)
                    [bulk] = await pipe.run([("ZCARD", BULK_DELIVERIES + tag)], seconds=2)
                except (redis.RedisError, OSError):
                    return False
                return bool(sizes["bulk"] and sizes["uploads"] and bulk)

            await eventually(is_queued, within=20, what="jobs in the queues")
            await client.flushdb()
            cluster.move(key_slot(tag.encode()))
    finally:
        await pipe.close()
        await client.aclose(close_connection_pool=True)
        await queue.close()


def _arguments(options: Mapping[str, str]) -> list[str]:
    return [part for name, value in options.items() for part in (f"--{name}", *(value.split() or [""]))]
