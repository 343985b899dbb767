"""Clients that hold connections without finishing anything cost the other clients no request."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sendoff.processes.process import raise_descriptor_limit
from tests.acceptance.fairness.connections import HEAD, WAYS, Client, clients
from tests.integration.api.test_process import serving
from tests.support.polling import eventually_blocking


def status_of_health(base: str) -> bytes:
    """The status that another client gets, on a connection of its own."""
    client = Client(base, HEAD % (b"GET", b"/health", b"Connection: close\r\n\r\n"))
    try:
        return client.read_to_end().partition(b"\r\n")[0]
    finally:
        client.close()


@pytest.fixture(scope="module")
def served_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the API of `served` writes its log."""
    return tmp_path_factory.mktemp("served") / "log"


@pytest.fixture(scope="module")
def served(_migrated_sqlite: Path, served_log: Path) -> Iterator[str]:
    """An API for the tests that leave nothing behind, with limits that they can reach; its base URL."""
    folder = served_log.parent
    shutil.copy(_migrated_sqlite, folder / "sendoff.db")
    limits = {"MAX_CONNECTIONS": "300", "MAX_CONNECTIONS_PER_ADDRESS": "250"}
    url = f"sqlite+aiosqlite:///{folder}/sendoff.db"
    with serving(url, "redis://127.0.0.1:1", served_log, **limits) as base:
        yield base


@pytest.mark.parametrize("way", WAYS)
def test_unfinished_requests_of_one_address_cost_no_other_client_a_request(way: str, served: str) -> None:
    raise_descriptor_limit()
    with clients(served, WAYS[way], 400) as held:
        for round_ in range(5):
            for client in held[round_::5]:
                client.send(b"x")
            assert status_of_health(served) == b"HTTP/1.1 200 OK"
    assert status_of_health(served) == b"HTTP/1.1 200 OK"


def test_a_thousand_anonymous_trickles_cost_no_other_client_a_request(sqlite_url: str, tmp_path: Path) -> None:
    raise_descriptor_limit()
    with (
        serving(sqlite_url, "redis://127.0.0.1:1", tmp_path / "log") as base,
        clients(base, WAYS["a body after a 401"], 1_010) as held,
    ):
        for round_ in range(10):
            for client in held[round_::10]:
                client.send(b"x")
            assert status_of_health(base) == b"HTTP/1.1 200 OK"
        assert held[-1].read_to_end().startswith(b"HTTP/1.1 401")


def test_bodies_of_refused_requests_are_not_kept_when_their_connections_are_reset(
    sqlite_url: str, tmp_path: Path
) -> None:
    unfinished = HEAD % (b"POST", b"/api/v1/events", b"Authorization: Bearer x\r\nContent-Length: 262144\r\n\r\n")
    with serving(sqlite_url, "redis://127.0.0.1:1", tmp_path / "log") as base:
        server = _listener(base)
        before = server.memory_info().rss
        for _ in range(2):
            with clients(base, unfinished + b" " * 250_000, 200) as held:
                assert held[-1].read_to_end().startswith(b"HTTP/1.1 401")
                for client in held:
                    client.reset()
        assert status_of_health(base) == b"HTTP/1.1 200 OK"
        eventually_blocking(
            lambda: server.memory_info().rss < before + 40_000_000, within=30, what="the 100 MB of bodies are freed"
        )


def test_pipelined_requests_whose_client_leaves_are_no_errors(served: str, served_log: Path) -> None:
    ask = HEAD % (b"GET", b"/api/v1/webhooks", b"Authorization: Bearer od_live_%b\r\n\r\n" % (b"x" * 32))
    for _ in range(10):
        Client(served, ask * 200).reset()
        assert status_of_health(served) == b"HTTP/1.1 200 OK"
    assert "Traceback" not in served_log.read_text()


def _listener(base: str) -> psutil.Process:
    port = int(base.rpartition(":")[2])
    processes = psutil.Process().children(recursive=True)
    return next(one for one in processes if any(each.laddr.port == port for each in one.net_connections("inet")))


@pytest.mark.parametrize("way", [way for way in WAYS if way.startswith(("a body", "chunks"))])
def test_an_early_answer_arrives_whole_and_ends_the_connection(way: str, served: str) -> None:
    with clients(served, WAYS[way], 1) as [client]:
        client.send(b"x" * 100_000)
        answer = client.read_to_end()
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b"connection: close" in head.lower()
        assert body.startswith(b"{")
        assert answer.count(b"HTTP/1.1") == 1


def test_a_complete_request_that_is_refused_keeps_its_connection(served: str) -> None:
    complete = HEAD % (b"POST", b"/api/v1/webhooks", b"Content-Length: 2\r\n\r\n{}")
    last = HEAD % (b"GET", b"/health", b"Connection: close\r\n\r\n")
    with clients(served, complete * 3 + last, 1) as [client]:
        answers = client.read_to_end()
        assert (answers.count(b"HTTP/1.1 401"), answers.count(b"HTTP/1.1 200")) == (3, 1)


def test_a_response_that_the_client_does_not_read_is_cut_off(sqlite_url: str, tmp_path: Path) -> None:
    ask = HEAD % (b"GET", b"/openapi.json", b"\r\n")
    with serving(sqlite_url, "redis://127.0.0.1:1", tmp_path / "log", WRITE_TIMEOUT_SECONDS="0.5") as base:
        with clients(base, ask * 400, 1) as [client]:
            # More than the buffers of both kernels hold; the client reads when the server has given up.
            eventually_blocking(lambda: not _is_established(client), within=30, what="the server closes the connection")
        assert status_of_health(base) == b"HTTP/1.1 200 OK"


def _is_established(client: Client) -> bool:
    tcp_established = 1
    return client._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == tcp_established


def test_idle_connections_stay_open_for_the_configured_time(sqlite_url: str, tmp_path: Path) -> None:
    ask = HEAD % (b"GET", b"/health", b"\r\n")
    for setting, is_kept in (("0.2", False), ("60", True)):
        with (
            serving(sqlite_url, "redis://127.0.0.1:1", tmp_path / "log", KEEP_ALIVE_SECONDS=setting) as base,
            clients(base, ask, 1) as [client],
        ):
            if is_kept:
                started = time.monotonic()
                while time.monotonic() - started < 1:
                    assert _is_established(client)
                    time.sleep(0.1)
            else:
                assert client.read_to_end().startswith(b"HTTP/1.1 200")
