"""A worker's metrics, liveness and readiness, and the settings that it refuses to start with."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from sendoff import __version__
from sendoff.errors import BadSettings, Invalid
from sendoff.processes.health import ALIVE_SECONDS
from sendoff.settings import load
from tests.support.ports import free_port
from tests.support.tasks import end
from worker.health import WorkerHealth, serve_health
from worker.process import check_public_url

KEYS = ["k" * 32]


@pytest.fixture
def served() -> Iterator[Callable[..., WorkerHealth]]:
    """Serves the health of a worker with these settings."""
    with ExitStack() as ends:

        def serve(**settings: Any) -> WorkerHealth:
            health = WorkerHealth()
            server = serve_health(load(secret_keys=KEYS, **settings), health)
            if server is not None:
                ends.callback(server.server_close)
                ends.callback(server.shutdown)
            return health

        yield serve


def get(url: str) -> httpx.Response:
    return httpx.get(url, trust_env=False)


def test_metrics_are_served_on_loopback_alone_by_default(served: Callable[..., WorkerHealth]) -> None:
    port = free_port()
    served(worker_metrics_port=port)
    assert "sendoff_dead_letters_total" in get(f"http://127.0.0.1:{port}/metrics").text
    with socket.socket() as other:  # on all addresses, 127.0.0.2 would be taken as well
        other.bind(("127.0.0.2", port))


def test_metrics_are_served_on_the_address_of_the_setting(served: Callable[..., WorkerHealth]) -> None:
    port = free_port()
    served(worker_metrics_port=port, worker_metrics_host="127.0.0.3")
    assert get(f"http://127.0.0.3:{port}/metrics").is_success
    with pytest.raises(httpx.ConnectError):
        get(f"http://127.0.0.1:{port}/metrics")


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1", "no such host"])
def test_a_taken_port_or_foreign_address_is_refused_in_a_sentence(
    host: str, served: Callable[..., WorkerHealth]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(Invalid, match="SENDOFF_WORKER_METRICS_HOST"):
            served(worker_metrics_port=taken.getsockname()[1], worker_metrics_host=host)


def test_a_worker_is_ready_while_it_takes_jobs(served: Callable[..., WorkerHealth]) -> None:
    port = free_port()
    health = served(worker_metrics_port=port)
    url = f"http://127.0.0.1:{port}"
    assert (get(f"{url}/live").status_code, get(f"{url}/ready").status_code) == (200, 503)
    health.set_ready()
    assert get(f"{url}/ready").status_code == 200
    health.set_not_ready("waiting for the database")
    assert (get(f"{url}/live").status_code, get(f"{url}/ready").status_code) == (200, 503)
    assert "waiting for the database" in get(f"{url}/ready").text
    health.set_ready()
    health.set_failing("database", "The database does not take the worker's heartbeat.")
    assert (get(f"{url}/health").status_code, get(f"{url}/ready").status_code) == (200, 503)
    assert "heartbeat" in get(f"{url}/ready").text
    health.set_failing("database", None)
    assert get(f"{url}/ready").status_code == 200
    assert get(f"{url}/health").json() == {"status": "ok", "version": __version__}
    assert get(f"{url}/else").status_code == 404


def test_workers_on_one_host_serve_what_is_their_own_on_addresses_of_their_own(
    served: Callable[..., WorkerHealth],
) -> None:
    port = free_port()
    first = served(worker_metrics_port=port, worker_metrics_host="127.0.0.1")
    served(worker_metrics_port=port, worker_metrics_host="127.0.0.2")
    first.set_ready()
    assert [get(f"http://127.0.0.{n}:{port}/ready").status_code for n in (1, 2)] == [200, 503]
    text = get(f"http://127.0.0.2:{port}/metrics").text
    assert "sendoff_worker_in_flight" in text
    assert "sendoff_workers" not in text  # the API says how many there are


async def test_a_worker_whose_loop_stands_still_is_not_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    health = WorkerHealth()
    health.set_ready()
    beating = asyncio.create_task(health.beat())
    await asyncio.sleep(0)
    assert (health.live()[0], health.ready()[0]) == (200, 200)
    later = time.monotonic() + ALIVE_SECONDS + 1
    monkeypatch.setattr("sendoff.processes.health.time.monotonic", lambda: later)  # and no beat between
    assert (health.live()[0], health.ready()[0]) == (503, 503)
    await end(beating)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, None),
        ({"database_url": "postgresql://u@db/x"}, "SENDOFF_PUBLIC_URL"),
        ({"redis_url": "redis://cache:6379/0"}, "SENDOFF_PUBLIC_URL"),
        ({"database_url": "postgresql://u@db/x", "public_url": "https://api.example.com"}, None),
        ({"database_url": "postgresql://u@db/x", "storage_url": "s3://bucket/prefix"}, None),
        ({"database_url": "postgresql://u@127.0.0.1:5432/x", "redis_url": "redis://localhost"}, None),
        ({"database_url": "postgresql://u@/x?host=/run/pg"}, None),
        ({"database_url": "postgresql://u@[::1]/x"}, None),
        ({"database_url": "postgresql://u@127.0.0.1,db2:5432/x"}, "SENDOFF_PUBLIC_URL"),
    ],
)
def test_a_worker_beside_another_machines_servers_needs_the_base_of_its_links(
    settings: dict[str, str], said: str | None
) -> None:
    if said is None:
        check_public_url(load(secret_keys=KEYS, **settings))
        return
    with pytest.raises(BadSettings, match=said):
        check_public_url(load(secret_keys=KEYS, **settings))
