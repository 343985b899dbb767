"""A full run with real processes at log level debug; then everything it left or said is searched for its secrets.

Setup: `sendoff up` on SQLite, a receiver that fails when it is told to, keys of every kind.
What is done: register, rotate, change, publish, fail, die, replay, retry, upload, download; wrong keys and wrong bodies
that hold right keys; a worker killed; the keys at rest rotated while all of it runs.
What this proves: no API key, no signing secret and no key of `SECRET_KEYS` stands in the database's files, in the logs,
in metrics, in any answer but the one that issues it, or in what the command line prints later.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import httpx
import pytest

from sendoff.store.vault import Vault
from tests.cli.installation import LOOPBACK, Installation, read_process
from tests.cli.shell import Shell
from tests.support.polling import eventually_blocking
from tests.support.processes import start
from tests.support.remote import RemoteReceiver
from tests.uploads.contacts import valid_contacts

SCOPES = ["uploads:write", "uploads:read", "webhooks:manage", "events:write", "operator", "api:webhooks"]
LISTS = ["dead-letters", "replays", "deliveries", "endpoints", "audit"]


class LoggedInstallation(Installation):
    """Writes all that its processes log to a file."""

    log: IO[bytes]

    def start(self, *arguments: str) -> None:
        command = [sys.executable, "-P", "-m", "sendoff.cli", "up", "--port", "0", *arguments, "--data", self.data]
        self.log = (self.data.parent / "log").open("wb")
        where = {"cwd": self.data.parent, "env": self.environment}
        self.process = start(command, **where, stdout=subprocess.PIPE, stderr=self.log)


@dataclass
class Run:
    """What was issued, and what was said besides."""

    installation: LoggedInstallation
    receiver: RemoteReceiver
    issued: dict[str, str] = field(default_factory=dict)
    said: dict[str, bytes] = field(default_factory=dict)

    def issue(self, name: str, secret: str) -> str:
        self.issued[name] = secret
        return secret

    def hear(self, name: str, answer: httpx.Response) -> httpx.Response:
        """An answer that must not tell a secret."""
        self.said[name] = repr(answer.headers).encode() + answer.content
        return answer

    def run_command(self, *arguments: str) -> None:
        done = self.installation.run(*arguments)
        assert done.returncode == 0, done.stderr
        self.said[f"sendoff {' '.join(arguments)}"] = (done.stdout + done.stderr).encode()


@contextmanager
def free_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    yield port


@pytest.fixture
def run(tmp_path: Path, shell: Shell) -> Iterator[Run]:
    keys = [secrets.token_urlsafe(32), secrets.token_urlsafe(32)]
    with free_port() as metrics_port, RemoteReceiver() as receiver:
        settings = LOOPBACK | {
            "SENDOFF_SECRET_KEYS": ",".join(keys),
            "SENDOFF_RETRY_SCHEDULE": "50ms,50ms",
            "SENDOFF_LOG_LEVEL": "debug",
            "SENDOFF_WORKER_METRICS_PORT": str(metrics_port),
            "SENDOFF_PING_TIMEOUT_SECONDS": "2",
        }
        installation = LoggedInstallation(tmp_path / "data", settings, shell)
        running = Run(installation, receiver, issued={"old key at rest": keys[0], "new key at rest": keys[1]})
        try:
            installation.up()
            yield running
        finally:
            installation.kill()


def mint(run: Run, organization: str, name: str, *scopes: str) -> str:
    return run.issue(name, run.installation.new_key_of(organization, *scopes))


def register(run: Run, api: httpx.Client, path: str) -> str:
    answer = api.post("/api/v1/webhooks", json={"url": run.receiver.url(path)}, headers={"Idempotency-Key": path})
    assert answer.status_code == 200, answer.text
    run.issue(f"secret of {path}", answer.json()["secret"])
    identifier: str = answer.json()["webhook"]["id"]
    return identifier


def register_standard(run: Run, api: httpx.Client) -> str:
    """An endpoint of either kind of Standard Webhooks; the id of the one whose secret nobody is ever shown."""
    url = run.receiver.url("/standard")
    shared = api.post("/api/v1/webhooks", json={"url": url, "dialect": "standard"})
    run.issue("standard secret", shared.json()["secret"])
    asymmetric = run.hear("public key", api.post("/api/v1/webhooks", json={"url": url, "dialect": "standard-v1a"}))
    identifier: str = asymmetric.json()["webhook"]["id"]
    return identifier


def unseal(run: Run, endpoint_id: str) -> str:
    """An endpoint's secret, as only its database and the keys at rest together tell it."""
    with closing(sqlite3.connect(run.installation.data / "sendoff.db")) as database:
        [(sealed,)] = database.execute("SELECT secret FROM endpoints WHERE id = ?", [endpoint_id])
    vault = Vault([run.issued["new key at rest"], run.issued["old key at rest"]])
    return vault.open(sealed, bound_to=endpoint_id)


def subscribe(run: Run, api: httpx.Client, path: str) -> None:
    """Twice with the same key: the second answer is the stored one, which holds the secret as well."""
    body = {"event_type": "call.incoming.completed", "target_url": run.receiver.url(path)}
    answers = [api.post("/api/v1/subscriptions", json=body, headers={"Idempotency-Key": path}) for _ in range(2)]
    assert answers[0].json() == answers[1].json(), answers[1].text
    run.issue(f"secret of {path}", answers[0].json()["signing_secret"])


def rotate(run: Run, api: httpx.Client, endpoint_id: str) -> None:
    answer = api.post(f"/api/v1/webhooks/{endpoint_id}/rotate-secret")
    run.issue(f"rotated secret of {endpoint_id}", answer.json()["secret"])


def publish(run: Run, api: httpx.Client, key: str | None = None) -> str:
    headers = {"Idempotency-Key": key} if key else {}
    body = {"type": "upload.completed", "data": {"upload": {"id": "1"}}}
    answer = run.hear("publishing", api.post("/api/v1/events", json=body, headers=headers))
    assert answer.status_code == 202, answer.text
    identifier: str = answer.json()["id"]
    return identifier


def one_dead_letter(api: httpx.Client) -> dict[str, Any]:
    def look() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = api.get("/operator/v1/dead-letters", params={"state": "open"}).json()["data"]
        return found

    return eventually_blocking(look, within=30, what="a dead letter")[0]


def make_mistakes(run: Run, api: httpx.Client, key: str, secret: str) -> None:
    """Requests that are wrong and hold what is right: none of it may be repeated or logged."""
    weak = mint(run, run.installation.json("orgs", "create", "Weak")["id"], "weak key", "uploads:read")
    bad: list[Callable[[], httpx.Response]] = [
        lambda: api.get("/api/v1/webhooks", params={"access_token": key}),
        lambda: api.post("/api/v1/webhooks", json={"url": f"https://{key}:{secret}@10.0.0.1/{secret}"}),
        lambda: api.post("/api/v1/webhooks", json={"url": run.receiver.url("/refuses"), "events": [secret, key]}),
        lambda: api.post("/api/v1/webhooks", json={key: secret, "url": [key]}),
        lambda: api.post("/api/v1/webhooks", content=f'{{"url": "{key}" {secret}'.encode()),
        lambda: api.post("/api/v1/events", json={"type": key, "data": {}}),
        lambda: api.get(f"/api/v1/webhooks/{key}"),
        lambda: api.get(f"/api/v1/{secret}", headers={"X-Request-Id": "the-request"}),
        lambda: api.get("/operator/v1/audit", params={"cursor": key}),
        lambda: api.get("/operator/v1/dead-letters", headers={"Authorization": f"Bearer {weak}"}),
        lambda: api.post("/api/v1/uploads", content=key.encode(), headers={"Content-Type": f"text/{key}"}),
    ]
    for number, call in enumerate(bad):
        answer = call()
        assert 400 <= answer.status_code < 500, (number, answer.status_code, answer.text)


def upload(run: Run, api: httpx.Client) -> None:
    numbers = [contact["phone"] for contact in valid_contacts(120)]
    made = run.hear("upload", api.post("/api/v1/uploads", json={"phone_numbers": numbers}))
    assert made.status_code == 200, made.text
    path = f"/api/v1/uploads/{made.json()['id']}"
    eventually_blocking(lambda: api.get(path).json()["status"] == "completed", within=30, what="the upload is done")
    link = api.get(f"{path}/download/processed").json()
    url = next(value for value in link.values() if isinstance(value, str) and "signature=" in value)
    assert httpx.get(url, trust_env=False).status_code == 200
    run.issue("download signature", url.partition("signature=")[2])


def look_at_everything(run: Run, api: httpx.Client, worker_metrics: str) -> None:
    for name in LISTS:
        page = run.hear(name, api.get(f"/operator/v1/{name}", params={"limit": 100})).json()["data"]
        for row in page if name in ("dead-letters", "replays", "deliveries") else []:
            run.hear(f"{name} {row['id']}", api.get(f"/operator/v1/{name}/{row['id']}"))
    for path in ("/metrics", "/openapi.json", "/ready", "/api/v1/webhooks", "/api/v1/uploads", "/api/v1/me"):
        run.hear(path, api.get(path))
    run.hear("subscriptions", api.get("/api/v1/subscriptions"))
    run.hear("worker's metrics", httpx.get(worker_metrics, trust_env=False))
    for command in ("orgs list", "endpoints list", "deliveries list", "dead-letters list", "replays list", "audit-log"):
        run.run_command(*command.split())
        run.run_command(*command.split(), "--json")


def spellings(secret: str) -> set[bytes]:
    """The secret as it might be written down."""
    plain = secret.encode()
    found = {plain, plain.hex().encode(), base64.b64encode(plain).rstrip(b"=")}
    core = secret.removeprefix("whsec_").removeprefix("whsk_").removeprefix("od_live_")
    found.add(core.encode())
    if len(core) == 64 and set(core) <= set("0123456789abcdef"):
        found |= {bytes.fromhex(core), core.upper().encode(), base64.b64encode(bytes.fromhex(core)).rstrip(b"=")}
    return found


def test_no_secret_is_found_in_anything_that_a_full_run_leaves_or_says(run: Run) -> None:
    installation, receiver = run.installation, run.receiver
    organization = installation.json("orgs", "create", "Acme", "--credits", "1000")["id"]
    key = mint(run, organization, "key", *SCOPES)
    with installation.client(key) as api:
        fine, failing = register(run, api, "/fine"), register(run, api, "/failing")
        subscribe(run, api, "/calls")
        asymmetric = register_standard(run, api)
        rotate(run, api, fine)
        rotate(run, api, fine)
        rotate(run, api, failing)
        receiver.program("/refuses", 500)
        run.hear("failed ping", api.patch(f"/api/v1/webhooks/{fine}", json={"url": receiver.url("/refuses")}))
        make_mistakes(run, api, key, run.issued["secret of /fine"])

        receiver.program("/failing", 500)
        publish(run, api)
        for _ in range(2):
            publish(run, api, "once")
        letter = one_dead_letter(api)
        run.hear("dead letter", api.get(f"/operator/v1/dead-letters/{letter['id']}"))
        run.hear("retry", api.post(f"/operator/v1/deliveries/{letter['delivery_id']}/retry"))
        run.hear("replay", api.post("/operator/v1/replays", json={"filter": {}, "rate": 100}))
        upload(run, api)

        worker = installation.child("m worker")
        assert core_limits(worker) == ["0", "0"]
        os.kill(worker, signal.SIGKILL)
        rotated = Installation(installation.data, turned(installation.environment), installation._shell)
        run.said["rotate-keys"] = json.dumps(rotated.json("secrets", "rotate-keys")).encode()
        assert rotated.json("secrets", "status")["keys"][1]["secrets"] == 0
        seen = len(receiver.requests("/fine"))
        publish(run, api)
        eventually_blocking(lambda: len(receiver.requests("/fine")) > seen, within=30, what="a delivery after all that")
        port = installation.environment["SENDOFF_WORKER_METRICS_PORT"]
        look_at_everything(run, api, f"http://127.0.0.1:{port}/metrics")
        files = search(run, api)
    run.issue("private key", unseal(run, asymmetric))
    assert installation.end() == 0
    installation.log.close()
    assert_nothing_told(run, files | left_behind(installation.data.parent))


def core_limits(pid: int) -> list[str]:
    """How large a file of its memory the process may leave behind: the soft and the hard limit."""
    return read_process(pid, "limits").partition("Max core file size")[2].split()[:2]


def turned(environment: dict[str, str]) -> dict[str, str]:
    """The same settings with the second key of two as the newest."""
    old, new = environment["SENDOFF_SECRET_KEYS"].split(",")
    return environment | {"SENDOFF_SECRET_KEYS": f"{new},{old}"}


def left_behind(directory: Path) -> dict[str, bytes]:
    """Every file below the directory, logs and database among them."""
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def search(run: Run, api: httpx.Client) -> dict[str, bytes]:
    """The files while the database is open, its write-ahead log among them."""
    found = {f"open {name}": content for name, content in left_behind(run.installation.data.parent).items()}
    assert any(name.endswith("-wal") and content for name, content in found.items())
    return found


def assert_nothing_told(run: Run, files: dict[str, bytes]) -> None:
    everything = files | run.said
    database = next(
        content for name, content in files.items() if name.endswith("sendoff.db") and not name.startswith("open ")
    )
    log = next(content for name, content in files.items() if name.endswith("/log"))
    # The search can find something: the key's shown beginning, and what the log says.
    assert run.issued["key"][:12].encode() in database
    assert b"api_ready" in log
    # A download link is an event's data and so in the database; it is short-lived, and no log may tell it.
    in_data = {"download signature"}
    told = [
        (name, place)
        for name, secret in run.issued.items()
        for place, content in everything.items()
        if any(spelling in content for spelling in spellings(secret))
        and not (name in in_data and "sendoff.db" in place)
    ]
    assert told == []
