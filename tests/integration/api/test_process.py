"""The API as the process that production runs: starts, serves, refuses with a sentence, ends on SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import re
import signal
import socket
import subprocess
import sys
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from api.http.server import protocol
from api.http.server.protocol import LARGEST_HEAD_BYTES, BoundedProtocol
from tests.support.polling import eventually_blocking
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.processes import ROOT, start, stop
from tests.support.shell import ForkedProcess, Shell


def environment(database_url: str, redis_url: str, **settings: str) -> dict[str, str]:
    given = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "SECRET_KEYS": "k" * 32, **settings}
    return {**os.environ, **{f"SENDOFF_{name}": value for name, value in given.items()}}


@contextmanager
def serving(
    database_url: str, redis_url: str, log: Path, shell: Shell | None = None, /, **settings: str
) -> Iterator[str]:
    """The process on a free port, forked off the shell if given; its base URL. It must end with 0 on SIGTERM."""
    port = free_port()
    program, variables = ["api", "--port", str(port)], environment(database_url, redis_url, **settings)
    process: subprocess.Popen[bytes] | ForkedProcess
    with log.open("wb") as errors:
        if shell is None:
            process = start([sys.executable, "-m", *program], cwd=ROOT, env=variables, stderr=errors)
        else:
            process = shell.start(program, variables, output=errors.fileno())
    base = f"http://127.0.0.1:{port}"

    def is_up() -> bool:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{base}/health", trust_env=False).status_code == 200
        return False

    try:
        eventually_blocking(is_up, within=30, what=log.read_text)
        yield base
        assert stop(process, signum=signal.SIGTERM, within=20) == 0, log.read_text()
    finally:
        stop(process, signum=signal.SIGKILL)


Refusal = Callable[..., str]


@pytest.fixture
def refusal(shell: Shell, tmp_path: Path) -> Refusal:
    """Starts it where it must refuse to, and gives what it says."""

    def refused(*options: str, **variables: str) -> str:
        log = tmp_path / "refusal"
        with log.open("wb") as file:
            ended = shell.start(["api", "--port", str(free_port()), *options], variables, output=file.fileno())
            assert ended.wait(60) == 1, log.read_text()
        assert "Traceback" not in log.read_text()
        return log.read_text()

    return refused


def test_it_starts_without_redis_serves_and_ends_on_sigterm(sqlite_url: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    serve = serving(sqlite_url, "redis://127.0.0.1:1", log, LOG_FORMAT="json")
    with serve as base, httpx.Client(base_url=base, trust_env=False) as client:
        health = client.get("/health", headers={"X-Request-Id": "mine"})
        assert (health.status_code, health.headers["X-Request-Id"]) == (200, "mine")
        assert "server" not in health.headers
        assert client.get("/ready").json() == {"status": "ready", "warnings": ["redis", "workers"]}
        assert client.get("/api/v1/webhooks").status_code == 401
        assert client.post("/api/v1/events", content=b"x" * 300_000).status_code == 401
    assert "api_ready" in [json.loads(line)["event"] for line in log.read_text().splitlines()]
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"SECRET_KEYS": ""}, "SENDOFF_SECRET_KEYS is empty"),
        ({"LEASE_SECONDS": "1", "LOG_FORMAT": "xml"}, "SENDOFF_LOG_FORMAT"),
        ({"DATABASE_URL": "mysql://localhost"}, "SENDOFF_DATABASE_URL"),
        ({"DATABASE_URL": "postgresql+asyncpg://nobody@127.0.0.1:1/none"}, "database cannot be reached"),
        ({"DATABASE_URL": "sqlite+aiosqlite:///{tmp}/empty.db"}, "sendoff migrate"),
        ({"DATABASE_URL": "sqlite+aiosqlite:////dev/null/none/sendoff.db"}, "folder /dev/null/none cannot be made"),
    ],
)
def test_it_refuses_to_start_with_a_sentence_and_exit_code_1(
    sqlite_url: str, tmp_path: Path, settings: dict[str, str], expected: str, refusal: Refusal
) -> None:
    settings = {name: value.format(tmp=tmp_path) for name, value in settings.items()}
    assert expected in refusal(**environment(database_url=sqlite_url, redis_url="redis://127.0.0.1:1", **settings))


def test_a_server_that_has_no_such_database_is_a_sentence_without_the_password(
    postgres_server: PostgresServer, refusal: Refusal
) -> None:
    url = postgres_server.url("none").replace("postgres@", "postgres:s3cret@")
    said = refusal(**environment(url, "redis://127.0.0.1:1"))
    assert "database cannot be reached" in said
    assert "s3cret" not in said


def test_told_to_end_it_says_that_it_is_not_ready_and_accepts_until_proxies_have_noticed(
    sqlite_url: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with log.open("wb") as errors, httpx.Client(trust_env=False) as client:
        port = free_port()
        variables = environment(sqlite_url, "redis://127.0.0.1:1", DRAIN_SECONDS="2", LOG_FORMAT="json")
        process = start([sys.executable, "-m", "api", "--port", str(port)], cwd=ROOT, env=variables, stderr=errors)
        base = f"http://127.0.0.1:{port}"

        def status(path: str) -> int | None:
            with contextlib.suppress(httpx.TransportError):
                return client.get(f"{base}{path}", headers={"Connection": "close"}).status_code
            return None

        try:
            eventually_blocking(lambda: status("/ready") == 200, within=30, what=log.read_text)
            process.send_signal(signal.SIGTERM)
            eventually_blocking(lambda: status("/ready") == 503, within=10, what="it is not ready")
            assert status("/health") == 200  # by a new connection
            eventually_blocking(lambda: process.poll() == 0, within=20, what=log.read_text)
        finally:
            stop(process, signum=signal.SIGKILL)


def test_a_port_in_use_is_a_sentence_and_exit_code_1(sqlite_url: str, refusal: Refusal) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        options = ("--port", str(taken.getsockname()[1]))
        assert "address already in use" in refusal(*options, **environment(sqlite_url, "redis://127.0.0.1:1"))


def test_sigterm_during_start_up_ends_it(tmp_path: Path) -> None:
    """By a handler of its own: as the first process of a container it has no default action."""
    with socket.create_server(("127.0.0.1", 0)) as silent, (tmp_path / "log").open("wb") as log:
        silent.settimeout(60)
        url = f"postgresql+asyncpg://nobody@127.0.0.1:{silent.getsockname()[1]}/none"
        variables = environment(url, "redis://127.0.0.1:1")
        process = start([sys.executable, "-m", "api", "--port", "0"], cwd=ROOT, env=variables, stderr=log)
        try:
            connection, _ = silent.accept()  # it waits for an answer now
            with connection:
                assert stop(process, signum=signal.SIGTERM, within=30) == 0, (tmp_path / "log").read_text()
        finally:
            stop(process, signum=signal.SIGKILL)


@pytest.mark.parametrize("kind", ["api", "worker"])
def test_the_signal_handler_is_installed_before_slow_imports(kind: str) -> None:
    program = f"import sys, {kind}.__main__; print(*{{name.partition('.')[0] for name in sys.modules}})"
    loaded = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "sendoff" in loaded.stdout.split()
    assert not set(loaded.stdout.split()) & {"uvicorn", "fastapi", "sqlalchemy", "pydantic", "structlog", "asyncio"}


async def speak(base: str, request: bytes) -> bytes:
    """What comes back on a connection of its own, up to its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(base.rpartition(":")[2]))
    writer.write(request)
    try:
        return await asyncio.wait_for(reader.read(), 20)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def speak_in_turn(base: str, requests: list[bytes]) -> list[bytes]:
    """The heads of the answers on one connection, each request sent after the answer to the one before."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(base.rpartition(":")[2]))
    heads = []
    try:
        for request in requests:
            writer.write(request)
            heads.append(await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20))
            [length] = re.findall(rb"content-length: (\d+)", heads[-1], re.IGNORECASE)
            await reader.readexactly(int(length))
    finally:
        writer.close()
    return heads


def test_malformed_http_and_large_heads_are_answered_in_the_envelope(
    sqlite_url: str, tmp_path: Path, shell: Shell
) -> None:
    endless = b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"X-A: " + b"a" * (LARGEST_HEAD_BYTES + 300_000)
    many = b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"X-A: b\r\n" * 50_000
    fine = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-A: " + b"a" * 30_000 + b"\r\n\r\n"
    with serving(sqlite_url, "redis://127.0.0.1:1", tmp_path / "log", shell) as base:
        for request, status in ((b"nonsense\r\n\r\n", b"400"), (endless, b"431"), (many, b"431"), (fine, b"200")):
            answer = asyncio.run(speak(base, request))
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 " + status), (request[:30], answer)
            assert b"x-request-id: " in head.lower()
            assert b"application/json" in head.lower()
            assert status == b"200" or list(json.loads(body)) == ["detail"]
        answer = asyncio.run(speak(base, UPGRADING % b"" + UPGRADING % b", close"))
        assert answer.count(b"HTTP/1.1 401") == 2, answer
        # A client that waits for each answer, as Java's does, offers the upgrade again on the same connection.
        answers = asyncio.run(speak_in_turn(base, [UPGRADING % b""] * 3))
        assert [answer.partition(b"\r\n")[0] for answer in answers] == [b"HTTP/1.1 401 Unauthorized"] * 3


UPGRADING = (
    b"POST /api/v1/webhooks HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings%b\r\nContent-Length: 2\r\n"
    b"HTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA\r\nUpgrade: h2c\r\n\r\n{}"
)
"""As Java's HTTP client sends it."""


def test_an_offered_upgrade_is_ignored_wherever_its_head_is_cut() -> None:
    head = b"POST / HTTP/1.1\r\nUpgrade: h2c\r\nX-Up: up\r\nUPGRADE: websocket\r\n\r\nbody\nupgrade: it"
    for cut in range(len(head) - len(b"\nupgrade: it")):
        protocol = BoundedProtocol.__new__(BoundedProtocol)
        passed = protocol._ignore_upgrade(head[:cut])
        protocol._in_head = b"\r\n\r\n" not in passed
        passed += protocol._ignore_upgrade(head[cut:]) if protocol._in_head else head[cut:]
        assert passed == head.replace(b"Upgrade:", b"X-Ignor:").replace(b"UPGRADE:", b"X-Ignor:"), cut


def test_a_malformed_request_is_answered_once_and_without_a_stack_trace(
    sqlite_url: str, tmp_path: Path, shell: Shell
) -> None:
    start = b"POST /api/v1/events HTTP/1.1\r\nHost: x\r\n"
    chunked = start + b"Authorization: Bearer od_live_%b\r\n%bTransfer-Encoding: chunked"
    head = chunked % (b"A" * 32, b"")
    bodies = [head + b"\r\n\r\n" + broken for broken in (b"zz\r\n", b"-1\r\n", b"f" * 20 + b"\r\n", b"2\r\n{}x")]
    queued = b"GET /api/v1/webhooks HTTP/1.1\r\nHost: x\r\n\r\n" * 3 + b"nonsense\r\n\r\n"
    log = tmp_path / "log"
    with serving(sqlite_url, "redis://127.0.0.1:1", log, shell) as base:
        for request in (*bodies, chunked % (b"", b"Idempotency-Key: 1\r\n") + b"\r\n\r\nzz\r\n", queued):
            answer = asyncio.run(speak(base, request))
            assert answer.startswith(b"HTTP/1.1 400"), (request, answer)
            assert answer.count(b"HTTP/1.1") == 1
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("begun", [b"", b"GET /health HTTP/1.1\r\nHost: x\r\nX-A: b"])
async def test_a_head_that_does_not_arrive_in_time_ends_the_connection(
    begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_PATIENCE_SECONDS", 0.05)
    async with listening(_never_called) as base:
        assert await speak(base, begun) == b""


async def test_an_answered_request_leaves_no_garbage_that_only_a_collection_finds() -> None:
    requests: list[weakref.ref[object]] = []

    async def answer(_scope: object, receive: Any, send: Any) -> None:
        requests.append(weakref.ref(receive.__self__))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    head = b"GET / HTTP/1.1\r\nHost: x\r\n%b\r\n"
    gc.disable()
    try:
        async with listening(answer) as base:
            said = await speak(base, head % b"" + head % b"Connection: close\r\n")
    finally:
        gc.enable()
    assert said.count(b"HTTP/1.1 204") == len(requests) == 2
    assert requests[0]() is None


@asynccontextmanager
async def listening(app: Any) -> AsyncIterator[str]:
    """The protocol alone in front of an ASGI application; the URL."""
    config = uvicorn.Config(app, http=protocol.BoundedProtocol, log_config=None)
    config.load()
    state = uvicorn.server.ServerState()
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: protocol.BoundedProtocol(config, state, {}), "127.0.0.1", 0)
    async with listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"


async def _never_called(_scope: object, _receive: object, _send: object) -> None:
    raise AssertionError("there was no request")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])
def test_outside_loopback_the_base_of_links_to_a_folder_must_be_set(host: str, refusal: Refusal) -> None:
    variables = environment("sqlite://", "redis://127.0.0.1:1", STORAGE_URL="file:///tmp/uploads")
    said = refusal("--host", host, **variables)
    assert said.startswith("The API cannot start: SENDOFF_PUBLIC_URL is missing")
