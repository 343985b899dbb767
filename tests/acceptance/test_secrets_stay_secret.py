"""A full run with real processes at log level debug; then everything it left or said is searched for its secrets.

Setup: `sendoff up` on SQLite, a receiver that fails on demand, keys of every kind, an authorization server.
What is done: register, rotate, change, publish, fail, die, replay, retry, upload, download; the same asked twice with
one Idempotency-Key; wrong keys and wrong bodies that hold right keys and access tokens; a worker killed; the keys at
rest rotated while all of it runs.
What this proves: no API key, no access token, no signing secret of now or before (ed25519 private keys among them) and
no key of `SECRET_KEYS` stands in the database's files, in the logs, in metrics, in any answer but the one that issues
it and its repetitions, or in what the command line prints later, in any spelling of tests/support/secret_encodings.py.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sendoff.clock import SystemClock
from tests.acceptance.secrecy import (
    LoggedInstallation,
    Run,
    assert_nothing_told,
    left_behind,
    search,
    stored_answers,
    unseal,
)
from tests.integration.cli.installation import LOOPBACK, Installation, read_process
from tests.integration.dialbird.issuer import AUDIENCE, ISSUER, Issuer
from tests.integration.uploads.contacts import valid_contacts
from tests.support.polling import eventually_blocking
from tests.support.ports import free_port
from tests.support.receiver_process import ReceiverProcess
from tests.support.shell import Shell

SCOPES = ["uploads:write", "uploads:read", "webhooks:manage", "events:write", "operator", "api:webhooks"]
LISTS = ["dead-letters", "replays", "deliveries", "endpoints", "audit"]


@pytest.fixture
def run(tmp_path: Path, shell: Shell) -> Iterator[Run]:
    keys = [secrets.token_urlsafe(32), secrets.token_urlsafe(32)]
    with ReceiverProcess() as receiver:
        settings = LOOPBACK | {
            "SENDOFF_SECRET_KEYS": ",".join(keys),
            "SENDOFF_RETRY_SCHEDULE": "50ms,50ms",
            "SENDOFF_LOG_LEVEL": "debug",
            "SENDOFF_WORKER_METRICS_PORT": str(free_port()),
            "SENDOFF_PING_TIMEOUT_SECONDS": "2",
            "SENDOFF_OAUTH_JWKS": str(tmp_path / "jwks.json"),
            "SENDOFF_OAUTH_ISSUER": ISSUER,
            "SENDOFF_OAUTH_AUDIENCE": AUDIENCE,
        }
        issuer = Issuer(tmp_path / "jwks.json", SystemClock().now(), business="")
        issuer.add_key("1")
        issuer.publish()
        installation = LoggedInstallation(tmp_path / "data", settings, shell)
        running = Run(installation, receiver, issuer, issued={"old key at rest": keys[0], "new key at rest": keys[1]})
        try:
            installation.up()
            yield running
        finally:
            installation.kill()
            installation.log.close()


def mint(run: Run, organization: str, name: str, *scopes: str) -> str:
    return run.issue(name, run.installation.new_key_of(organization, *scopes))


def register(run: Run, api: httpx.Client, path: str) -> str:
    """An endpoint with a secret that its owner chose, a header, and a token to authenticate with."""
    header, token = (run.issue(f"{what} of {path}", secrets.token_urlsafe(24)) for what in ("header", "token"))
    body = {
        "url": run.receiver.url(path),
        "secret": secrets.token_hex(32),
        "headers": {"X-Own": header},
        "auth": {"type": "bearer", "token": token},
    }
    answer = api.post("/api/v1/webhooks", json=body, headers={"Idempotency-Key": path})
    assert answer.status_code == 200, answer.text
    assert run.issue(f"secret of {path}", answer.json()["secret"]) == body["secret"]
    identifier: str = answer.json()["webhook"]["id"]
    return identifier


def register_standard(run: Run, api: httpx.Client) -> str:
    """An endpoint of either kind of Standard Webhooks; the id of the one whose secrets are never shown."""
    url = run.receiver.url("/standard")
    shared = api.post("/api/v1/webhooks", json={"url": url, "dialect": "standard"}).json()
    run.issue("standard secret", shared["secret"])
    rotate(run, api, shared["webhook"]["id"], "standard secret, rotated")
    asymmetric = run.record("public key", api.post("/api/v1/webhooks", json={"url": url, "dialect": "standard-v1a"}))
    identifier: str = asymmetric.json()["webhook"]["id"]
    return identifier


def rotate_private_key(run: Run, api: httpx.Client, endpoint_id: str) -> None:
    """A new private key in addition to the old one; no API shows them, so the test decrypts them itself."""
    [current] = unseal(run, endpoint_id)
    path = f"/api/v1/webhooks/{endpoint_id}"
    assert run.record("rotated public key", api.post(f"{path}/rotate-secret")).json()["secret"] is None
    assert run.record("public keys", api.get(f"{path}/public-key")).json()["previous_public_key"]
    new, previous = unseal(run, endpoint_id)
    assert previous == current
    assert {key[:5] for key in (new, previous)} == {"whsk_"}
    run.issue("private key before", previous)
    run.issue("private key", new)


def subscribe(run: Run, api: httpx.Client, path: str, token: str) -> None:
    """Twice with the same key: the second answer is the stored one, which holds the secret as well."""
    body = {"event_type": "call.incoming.completed", "target_url": run.receiver.url(path)}
    headers = {"Idempotency-Key": path, "Authorization": f"Bearer {token}"}
    answers = [api.post("/api/v1/subscriptions", json=body, headers=headers) for _ in range(2)]
    assert answers[0].json() == answers[1].json(), answers[1].text
    run.issue(f"secret of {path}", answers[0].json()["signing_secret"])


def rotate(run: Run, api: httpx.Client, endpoint_id: str, name: str) -> None:
    """Twice with the same key, as in `subscribe`."""
    path, headers = f"/api/v1/webhooks/{endpoint_id}/rotate-secret", {"Idempotency-Key": name}
    answers = [api.post(path, headers=headers) for _ in range(2)]
    assert answers[0].json() == answers[1].json(), answers[1].text
    run.issue(name, answers[0].json()["secret"])


def use_access_tokens(run: Run, api: httpx.Client) -> None:
    """Tokens of the authorization server, good ones and bad ones, where they belong and where they don't."""
    issuer, soon = run.issuer, run.issuer.now.timestamp() + 3600
    good = run.issue("access token", issuer.issue(exp=soon))
    run.record("me", api.get("/api/v1/me", headers={"Authorization": f"Bearer {good}"}))
    subscribe(run, api, "/calls", good)
    bad = {
        "expired": issuer.issue(exp=soon - 7200),
        "for nothing": issuer.issue(exp=soon, scope="openid"),
        "of another": issuer.issue(exp=soon, aud="https://another.example.com"),
        "of an unknown key": issuer.issue(exp=soon, headers={"kid": "unknown"}),
        "of no business": issuer.issue(exp=soon, business_id="unknown"),
    }
    for name, token in bad.items():
        run.issue(f"access token {name}", token)
        answer = api.get("/api/v1/subscriptions", headers={"Authorization": f"Bearer {token}"})
        assert run.record(f"access token {name}", answer).status_code in {401, 403}, (name, answer.text)
    make_mistakes(run, api, good, bad["expired"])


def publish(run: Run, api: httpx.Client, key: str | None = None) -> str:
    headers = {"Idempotency-Key": key} if key else {}
    body = {"type": "upload.completed", "data": {"upload": {"id": "1"}}}
    answer = run.record("publishing", api.post("/api/v1/events", json=body, headers=headers))
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
    bad: list[Callable[[], httpx.Response]] = [
        lambda: api.get("/api/v1/webhooks", params={"access_token": key}),
        lambda: api.get("/api/v1/subscriptions", params={"access_token": key}),
        lambda: api.post("/api/v1/webhooks", json={"url": f"https://{key}:{secret}@10.0.0.1/{secret}"}),
        lambda: api.post("/api/v1/webhooks", json={"url": run.receiver.url("/refuses"), "events": [secret, key]}),
        lambda: api.post("/api/v1/webhooks", json={key: secret, "url": [key]}),
        lambda: api.post("/api/v1/webhooks", json={"url": run.receiver.url("/refuses"), "secret": f"{secret} {key}"}),
        lambda: api.post("/api/v1/webhooks", json={"url": run.receiver.url("/refuses"), "secret": [secret]}),
        lambda: api.post("/api/v1/webhooks", content=f'{{"url": "{key}" {secret}'.encode()),
        lambda: api.post(
            "/api/v1/subscriptions", json={"event_type": key, "target_url": f"https://{secret}@a.example"}
        ),
        lambda: api.post("/api/v1/events", json={"type": key, "data": {}}),
        lambda: api.get(f"/api/v1/webhooks/{key}"),
        lambda: api.get(f"/api/v1/{secret}", headers={"X-Request-Id": "the-request"}),
        lambda: api.get("/operator/v1/audit", params={"cursor": key}),
        lambda: api.get("/operator/v1/dead-letters", headers={"Authorization": f"Token {key}"}),
        lambda: api.post("/api/v1/uploads", content=key.encode(), headers={"Content-Type": f"text/{key}"}),
    ]
    for number, call in enumerate(bad):
        answer = run.record(f"mistake {number} with {key[:8]}", call())
        assert 400 <= answer.status_code < 500, (number, answer.status_code, answer.text)


def overreach(run: Run, api: httpx.Client) -> None:
    """What a key may not do."""
    weak = mint(run, run.installation.json("orgs", "create", "Weak")["id"], "weak key", "uploads:read")
    answer = api.get("/operator/v1/dead-letters", headers={"Authorization": f"Bearer {weak}"})
    assert run.record("too weak a key", answer).status_code == 403


def upload(run: Run, api: httpx.Client) -> None:
    numbers = [contact["phone"] for contact in valid_contacts(120)]
    made = run.record("upload", api.post("/api/v1/uploads", json={"phone_numbers": numbers}))
    assert made.status_code == 200, made.text
    path = f"/api/v1/uploads/{made.json()['id']}"
    eventually_blocking(lambda: api.get(path).json()["status"] == "completed", within=30, what="the upload is done")
    link = api.get(f"{path}/download/processed").json()
    url = next(value for value in link.values() if isinstance(value, str) and "signature=" in value)
    assert httpx.get(url, trust_env=False).status_code == 200
    run.issue("download signature", url.partition("signature=")[2])


def look_at_everything(run: Run, api: httpx.Client, worker_metrics: str) -> None:
    for name in LISTS:
        page = run.record(name, api.get(f"/operator/v1/{name}", params={"limit": 100})).json()["data"]
        for row in page if name in ("dead-letters", "replays", "deliveries") else []:
            run.record(f"{name} {row['id']}", api.get(f"/operator/v1/{name}/{row['id']}"))
    for path in ("/metrics", "/openapi.json", "/ready", "/api/v1/webhooks", "/api/v1/uploads", "/api/v1/me"):
        run.record(path, api.get(path))
    run.record("subscriptions", api.get("/api/v1/subscriptions"))
    run.record("worker's metrics", httpx.get(worker_metrics, trust_env=False))
    for command in ("orgs list", "endpoints list", "deliveries list", "dead-letters list", "replays list", "audit-log"):
        run.run_command(*command.split())
        run.run_command(*command.split(), "--json")


def test_a_full_run_writes_no_secret_to_any_file_log_or_response(run: Run) -> None:
    installation, receiver = run.installation, run.receiver
    organization = installation.json("orgs", "create", "Acme", "--credits", "1000")["id"]
    key = mint(run, organization, "key", *SCOPES)
    with installation.client(key) as api:
        fine, failing = register(run, api, "/fine"), register(run, api, "/failing")
        rotate_private_key(run, api, register_standard(run, api))
        rotate(run, api, fine, "secret of /fine, rotated")
        rotate(run, api, fine, "secret of /fine, rotated again")
        rotate(run, api, failing, "secret of /failing, rotated")
        receiver.program("/refuses", 500)
        run.record("failed ping", api.patch(f"/api/v1/webhooks/{fine}", json={"url": receiver.url("/refuses")}))
        run.issuer.business = organization
        use_access_tokens(run, api)
        make_mistakes(run, api, key, run.issued["secret of /fine"])
        overreach(run, api)

        receiver.program("/failing", 500)
        publish(run, api)
        for _ in range(2):
            publish(run, api, "once")
        letter = one_dead_letter(api)
        run.record("dead letter", api.get(f"/operator/v1/dead-letters/{letter['id']}"))
        run.record("retry", api.post(f"/operator/v1/deliveries/{letter['delivery_id']}/retry"))
        run.record("replay", api.post("/operator/v1/replays", json={"filter": {}, "all": True, "rate": 100}))
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
        answers = stored_answers(run)
        for name in ("secret of /fine", "secret of /calls", "secret of /fine, rotated", "standard secret, rotated"):
            assert run.issued[name] in answers, name
        files = search(run)
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
