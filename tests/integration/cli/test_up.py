from __future__ import annotations

import fcntl
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sendoff.verify import verify
from tests.integration.cli.conftest import Install
from tests.integration.cli.installation import (
    LOOPBACK,
    Installation,
    assert_nothing_runs_in,
    children_of,
    read_process,
    running,
)
from tests.support.polling import eventually_blocking
from tests.support.ports import free_port
from tests.support.receiver_process import ReceiverProcess
from tests.support.shell import Shell

KEY_SCOPES = ("webhooks:manage", "events:write")


@pytest.fixture
def receiver_process() -> Iterator[ReceiverProcess]:
    with ReceiverProcess() as receiver:
        yield receiver


def register(api: httpx.Client, url: str) -> str:
    """Register a receiver and give its secret."""
    registered = api.post("/api/v1/webhooks", json={"url": url, "events": ["upload.created"]})
    assert registered.status_code == 200, registered.text
    secret: str = registered.json()["secret"]
    return secret


def publish(api: httpx.Client) -> str:
    """Publish an event and give its id."""
    accepted = api.post("/api/v1/events", json={"type": "upload.created", "data": {"n": 1}})
    assert accepted.status_code == 202, accepted.text
    event_id: str = accepted.json()["id"]
    return event_id


def wait_for_delivery(receiver: ReceiverProcess, event_id: str, secret: str) -> None:
    def look() -> bool:
        got = [one for one in receiver.requests() if one.header("X-OptimalDial-Event-Id") == event_id]
        return bool(got) and verify("optimaldial", got[0].headers, got[0].body, secret)["id"] == event_id

    eventually_blocking(look, within=20, what=f"{event_id} is delivered")


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_an_event_is_delivered_on_either_database(
    database: str, data: Path, shell: Shell, receiver_process: ReceiverProcess, request: pytest.FixtureRequest
) -> None:
    settings = dict(LOOPBACK)
    if database == "postgres":
        settings["SENDOFF_DATABASE_URL"] = request.getfixturevalue("empty_postgres_url")
    with running(data, settings, shell) as installation:
        assert (data / "sendoff.db").exists() == (database == "sqlite")
        with installation.client(installation.new_key(*KEY_SCOPES)) as api:
            secret = register(api, receiver_process.url("/hook"))
            wait_for_delivery(receiver_process, publish(api), secret)


def test_killed_processes_restart_and_no_delivery_is_lost(
    data: Path, shell: Shell, receiver_process: ReceiverProcess
) -> None:
    with running(data, LOOPBACK, shell, "--workers", "2") as installation:
        with installation.client(installation.new_key(*KEY_SCOPES)) as api:
            secret = register(api, receiver_process.url("/hook"))
            for name in ("m worker", "valkey-server", "m api"):
                killed = installation.child(name)
                os.kill(killed, signal.SIGKILL)
                event_id = eventually_blocking(lambda: publish_if_it_answers(api), within=30, what="the API answers")
                wait_for_delivery(receiver_process, event_id, secret)
                wait_for_restart(installation, name, killed)
        assert installation.process is not None
        supervisor = installation.process.pid
        eventually_blocking(lambda: len(children_of(supervisor)) == 4, what="four children")


def wait_for_restart(installation: Installation, name: str, killed: int) -> None:
    eventually_blocking(lambda: installation.child(name) not in (0, killed), what=f"{name} is back")


def publish_if_it_answers(api: httpx.Client) -> str | None:
    try:
        return publish(api)
    except httpx.TransportError:
        return None


def test_killing_up_leaves_no_process_and_up_restarts_in_the_same_directory(data: Path, install: Install) -> None:
    first, port = install({}), str(free_port())
    first.up("--port", port)
    key = first.new_key("webhooks:manage")
    first.end(signal.SIGKILL)
    second = install({})
    second.up("--port", port)
    with second.client(key) as api:
        assert api.get("/api/v1/webhooks").json() == []
    assert second.end(signal.SIGINT) == 0
    assert_nothing_runs_in(data)


def test_a_taken_port_is_refused_in_a_sentence(install: Install) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = install({}).run("up", "--port", str(port))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert re.fullmatch(rf"sendoff: Cannot listen on port {port} of 127.0.0.1 .*choose another.*\n", refused.stderr)


def test_a_directory_that_is_in_use_is_refused_in_a_sentence(data: Path, install: Install) -> None:
    data.mkdir()
    with (data / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused = install({}).run("up", "--port", "0")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "already; stop it or choose another --data" in refused.stderr


def test_it_can_be_stopped_before_it_is_ready(data: Path, install: Install) -> None:
    installation = install({})
    installation.start()
    eventually_blocking(lambda: installation.child("valkey-server"), within=30, what="Valkey runs")
    assert installation.end() == 0
    assert_nothing_runs_in(data)


def test_a_second_interrupt_does_not_wait(data: Path, install: Install) -> None:
    installation = install({})
    installation.up()
    web = installation.child("m api")
    os.kill(web, signal.SIGSTOP)  # it will not end by itself
    eventually_blocking(lambda: _is_stopped(web), what="the API stands still")
    assert installation.process is not None
    installation.process.send_signal(signal.SIGINT)
    eventually_blocking(lambda: _got_sigterm(web), what="the API gets SIGTERM")
    assert installation.end(signal.SIGINT) == 1
    assert_nothing_runs_in(data)


def _is_stopped(pid: int) -> bool:
    """Whether each of the process's threads is."""
    return all(
        "T (stopped)" in read_process(pid, f"task/{one.name}/status") for one in Path(f"/proc/{pid}/task").iterdir()
    )


def _got_sigterm(pid: int) -> bool:
    """Whether a SIGTERM waits for the process."""
    pending = re.search(r"ShdPnd:\s*([0-9a-f]+)", read_process(pid, "status"))
    return pending is not None and bool(int(pending[1], 16) & 1 << (signal.SIGTERM - 1))


def test_all_invalid_settings_are_reported_before_anything_starts(install: Install) -> None:
    wrong = install({"SENDOFF_RETRY_SCHEDULE": "soon", "SENDOFF_DATABASE_URL": "mysql://x"})
    refused = wrong.run("up", "--port", "0")
    assert refused.returncode == 1
    assert "SENDOFF_RETRY_SCHEDULE" in refused.stderr
    assert "SENDOFF_DATABASE_URL" in refused.stderr


def test_an_unreachable_database_is_reported_in_a_sentence(install: Install) -> None:
    away = install({"SENDOFF_DATABASE_URL": "postgresql+asyncpg://u:hidden@127.0.0.1:1/none"})
    for command in (("up", "--port", "0"), ("migrate",), ("orgs", "list")):
        refused = away.run(*command)
        assert refused.returncode == 3, command
        assert len(refused.stderr.splitlines()) == 1, refused.stderr
        assert "hidden" not in refused.stderr
