"""Commands on another machine's API, and `sendoff listen` through its restarts."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sendoff.verify import SCHEMES, verify
from tests.integration.cli.installation import LOOPBACK, Installation, environment_without_settings, running
from tests.integration.cli.listener import Listener
from tests.support.polling import eventually_blocking
from tests.support.ports import free_port
from tests.support.receiver_process import ReceiverProcess
from tests.support.shell import Shell

PATIENCE_SECONDS = 60


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory, shell: Shell, port: int) -> Iterator[Installation]:
    data = tmp_path_factory.mktemp("remote") / "data"
    with running(data, LOOPBACK, shell, "--port", str(port)) as up:
        yield up


@pytest.fixture
def receiver() -> Iterator[ReceiverProcess]:
    with ReceiverProcess() as running_receiver:
        yield running_receiver


def remote(shell: Shell, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return shell.run(list(arguments), environment_without_settings() | environment)


def publish(api: httpx.Client, number: int) -> str:
    accepted = api.post("/api/v1/events", json={"type": "upload.completed", "data": {"n": number}})
    assert accepted.status_code == 202, accepted.text
    identifier: str = accepted.json()["id"]
    return identifier


def test_a_listener_shows_each_event_once_through_a_restart_of_the_api(
    installation: Installation, shell: Shell, port: int, receiver: ReceiverProcess
) -> None:
    key = installation.new_key("webhooks:manage", "events:write")
    access = {"SENDOFF_URL": installation.url, "SENDOFF_KEY": key}
    secret = remote(shell, access, "listen", "--print-secret").stdout.strip()
    with (
        Listener(installation.url, key, "--forward-to", receiver.url("/local")) as listener,
        installation.client(key) as api,
    ):
        assert "listening on" in listener.said()
        published = [publish(api, 1)]
        first = listener.event()
        assert (first["event"]["id"], first["answer"]["status"]) == (published[0], 200)
        [request] = receiver.requests("/local")
        assert verify(SCHEMES["default"], request.headers, request.body, [secret])["data"] == {"n": 1}
        assert installation.end() == 0
        assert "Trying again" in listener.said()
        installation.up("--port", str(port))
        published += [publish(api, number) for number in (2, 3)]
        shown = [first["event"]["id"], *(listener.event()["event"]["id"] for _ in published[1:])]
        assert shown == published
        assert "connected again" in listener.said()
        resent = remote(
            shell, access, "listen", "--json", "--resend", published[0], "--forward-to", receiver.url("/local")
        )
        assert json.loads(resent.stdout)["answer"]["status"] == 200, resent.stderr
        deliveries = api.get("/api/v1/deliveries").json()["data"]
        assert deliveries == []
        assert listener.end() == (0, "", "-- 3 shown, 0 not answered with 2xx\n")


def test_commands_work_on_an_api_by_url_and_key_or_by_profile(
    installation: Installation, shell: Shell, tmp_path: Path
) -> None:
    organization = installation.json("orgs", "create", "Remote")["id"]
    key = installation.new_key_of(organization, "operator")
    own = installation.new_key_of(organization, "events:write", "webhooks:manage")
    config = {"XDG_CONFIG_HOME": str(tmp_path)}
    saved = remote(shell, config, "profiles", "set", "prod", "--url", installation.url, "--key", key)
    assert saved.returncode == 0, saved.stderr
    file = tmp_path / "sendoff" / "profiles.toml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    event = json.loads(
        remote(
            shell, {}, "trigger", "upload.completed", "--url", installation.url, "--key", own, "--data", "{}", "--json"
        ).stdout
    )
    local = installation.json("events", "explain", event["id"])
    for environment, arguments in (
        (config, ("--profile", "prod")),
        ({"SENDOFF_URL": installation.url, "SENDOFF_KEY": key}, ()),
        ({"SENDOFF_URL": "http://127.0.0.1:1"}, ("--url", installation.url, "--key", key)),
    ):
        found = remote(shell, environment, "events", "explain", event["id"], "--json", *arguments)
        assert json.loads(found.stdout) == local, found.stderr
    for command in ("top", "workers", "doctor", "health"):
        done = remote(shell, config, command, "--profile", "prod", "--json")
        assert done.returncode == 0, done.stderr + done.stdout
    assert json.loads(remote(shell, config, "workers", "--profile", "prod", "--json").stdout)["data"]
    file.chmod(0o644)
    assert "chmod 600" in remote(shell, config, "top", "--profile", "prod").stderr


def test_json_is_the_same_from_the_database_and_from_the_api(installation: Installation, shell: Shell) -> None:
    organization = installation.json("orgs", "create", "Shapes")["id"]
    key = installation.new_key_of(organization, "operator")
    access = {"SENDOFF_URL": installation.url, "SENDOFF_KEY": key}
    own = installation.new_key_of(organization, "webhooks:manage", "events:write")
    with installation.client(own) as api, ReceiverProcess() as receiver:
        registered = api.post("/api/v1/webhooks", json={"url": receiver.url("/shape"), "metadata": {"a": "b"}})
        endpoint = registered.json()["webhook"]["id"]
        event = publish(api, 1)
        eventually_blocking(lambda: receiver.requests("/shape"), within=PATIENCE_SECONDS, what="the delivery")
        delivery = eventually_blocking(
            lambda: installation.json("deliveries", "list", "--state", "delivered", "--endpoint", endpoint)["data"],
            within=PATIENCE_SECONDS,
            what="its record",
        )[0]["id"]
    changed = [
        json.loads(remote(shell, access, *arguments, "--json").stdout)
        for arguments in (
            ("event-types", "create", "order.shipped"),
            ("event-types", "update", "order.shipped", "--no-schema"),
            ("orgs", "set-credits", organization, "5"),
            ("secrets", "rotate-keys"),
        )
    ]
    assert (changed[0]["name"], changed[2]["credits"], changed[3]["unopenable"]) == ("order.shipped", 5, 0)
    for arguments in (
        ("deliveries", "list", "--endpoint", endpoint),
        ("deliveries", "show", delivery),
        ("dead-letters", "list"),
        ("endpoints", "list", "--org", organization),
        ("events", "list", "--org", organization),
        ("events", "show", event),
        ("orgs", "list"),
        ("orgs", "show", organization[-8:]),
        ("keys", "list", "--org", organization),
        ("replays", "list"),
        ("audit-log", "--org", organization),
        ("event-types", "list"),
        ("event-types", "show", "order.shipped"),
        ("secrets", "status"),
    ):
        local = installation.json(*arguments)
        done = remote(shell, access, *arguments, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == local, arguments
    deleted = remote(shell, access, "event-types", "delete", "order.shipped")
    assert (deleted.returncode, "on http" in deleted.stderr) == (0, True), deleted.stderr
    removed = remote(shell, access, "orgs", "remove-user", "--org", organization, "--user", "nobody@example.com")
    assert (removed.returncode, "not a member" in removed.stderr) == (1, True), removed.stderr


def test_an_export_is_taken_from_an_api_and_given_to_one(
    installation: Installation, shell: Shell, tmp_path: Path
) -> None:
    organization = installation.json("orgs", "create", "Moved\u2028by\u0085file")["id"]
    access = {
        "SENDOFF_URL": installation.url,
        "SENDOFF_KEY": installation.new_key_of(organization, "operator"),
        "SENDOFF_SEAL_KEY": "s" * 40,
    }
    file = tmp_path / "export.ndjson"
    exported = remote(shell, access, "export", "--org", organization, "--to", str(file), "--json")
    assert exported.returncode == 0, exported.stderr
    kinds = [json.loads(line)["kind"] for line in file.read_bytes().splitlines()]
    assert (kinds[0], json.loads(exported.stdout)["records"]) == ("sendoff_export", len(kinds) - 1)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    imported = remote(shell, access, "import", str(file), "--json")
    assert json.loads(imported.stdout)["existing"]["organization"] == 1, imported.stderr
    wrong = remote(shell, access | {"SENDOFF_SEAL_KEY": "short"}, "export")
    assert (wrong.returncode, "32 or more" in wrong.stderr, wrong.stdout) == (1, True, "")


def test_errors_of_an_api_are_told_with_their_exit_codes(installation: Installation, shell: Shell) -> None:
    key = installation.new_key("webhooks:manage")
    cases: tuple[tuple[dict[str, str], tuple[str, ...], int, str], ...] = (
        ({"SENDOFF_KEY": key}, ("top", "--url", installation.url), 1, "operator"),
        ({"SENDOFF_KEY": "od_live_" + "x" * 32}, ("top", "--url", installation.url), 1, "API key"),
        ({"SENDOFF_KEY": key}, ("top", "--url", "http://127.0.0.1:1"), 3, "cannot be reached"),
        ({}, ("top", "--url", installation.url), 2, "SENDOFF_KEY"),
        ({"SENDOFF_KEY": key}, ("reconcile", "--url", installation.url), 1, "without --url"),
        ({}, ("top", "--profile", "nowhere", "--json"), 1, "profiles set nowhere"),
    )
    for environment, arguments, code, reason in cases:
        done = remote(shell, {**environment, "XDG_CONFIG_HOME": os.devnull}, *arguments)
        assert (done.returncode, reason in done.stderr.replace("\n", " ")) == (code, True), done.stderr
