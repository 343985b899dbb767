"""Every command with `--json`, on one installation that is up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sendoff.store.engine.database import migrate
from tests.integration.cli.conftest import Install
from tests.integration.cli.installation import LOOPBACK, Installation, running
from tests.support.polling import eventually_blocking
from tests.support.receiver_process import ReceiverProcess
from tests.support.shell import Shell

CUSTOMER_SCOPES = ["uploads:write", "uploads:read", "webhooks:manage"]


@pytest.fixture(scope="module")
def receiver() -> Iterator[ReceiverProcess]:
    with ReceiverProcess() as running_receiver:
        yield running_receiver


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory, shell: Shell) -> Iterator[Installation]:
    settings = LOOPBACK | {"SENDOFF_RETRY_SCHEDULE": "10ms"}
    with running(tmp_path_factory.mktemp("commands") / "data", settings, shell) as up:
        yield up


@pytest.fixture(scope="module")
def organization(installation: Installation) -> str:
    """The id of an organization."""
    identifier: str = installation.json("orgs", "create", "Acme", "--credits", "1000")["id"]
    return identifier


@pytest.fixture(scope="module")
def api(installation: Installation, organization: str) -> Iterator[httpx.Client]:
    with installation.client(installation.new_key_of(organization, "webhooks:manage", "events:write")) as client:
        yield client


def register(api: httpx.Client, url: str, *events: str) -> str:
    registered = api.post("/api/v1/webhooks", json={"url": url, "events": list(events)})
    assert registered.status_code == 200, registered.text
    identifier: str = registered.json()["webhook"]["id"]
    return identifier


def make_dead_letter(installation: Installation, api: httpx.Client, receiver: ReceiverProcess, path: str) -> Any:
    """A dead letter of a new endpoint at `path`, which goes on answering 500."""
    endpoint = register(api, receiver.url(path), "upload.failed")
    receiver.program(path, 500)
    assert api.post("/api/v1/events", json={"type": "upload.failed", "data": {"n": 1}}).status_code == 202
    chosen = ("--endpoint", endpoint, "--state", "open")
    [letter] = eventually_blocking(
        lambda: installation.json("dead-letters", "list", *chosen)["data"], within=30, what="a dead letter"
    )
    return letter


def test_organizations_are_created_listed_and_given_credits(installation: Installation) -> None:
    created = installation.json("orgs", "create", "Initech")
    assert created["name"] == "Initech"
    assert created["credits"] is None
    assert installation.json("orgs", "set-credits", created["id"], "7")["credits"] == 7
    assert installation.json("orgs", "set-credits", created["id"], "--no-subscription")["credits"] is None
    assert created["id"] in [one["id"] for one in installation.json("orgs", "list")["data"]]


def test_keys_are_minted_with_a_customers_scopes_listed_and_revoked(
    installation: Installation, organization: str
) -> None:
    minted = installation.json("keys", "create", "--org", organization, "--user", "Bob@Example.com")
    assert minted["key"].startswith("od_live_")
    assert minted["scopes"] == CUSTOMER_SCOPES
    with installation.client(minted["key"]) as api:
        assert api.get("/api/v1/webhooks").status_code == 200
        assert api.get("/operator/v1/dead-letters").status_code == 403
        assert installation.json("keys", "revoke", minted["id"]) == {"id": minted["id"], "revoked": True}
        assert api.get("/api/v1/webhooks").status_code == 401
    listed = installation.json("keys", "list", "--org", organization)["data"]
    [shown] = [one for one in listed if one["id"] == minted["id"]]
    assert shown["user"] == "bob@example.com"
    assert shown["revoked_at"] is not None
    assert minted["key"] not in json.dumps(listed)


def test_removing_a_user_revokes_the_keys_they_minted(installation: Installation, organization: str) -> None:
    owner = ("--org", organization, "--user", "carol@example.com")
    minted = installation.json("keys", "create", *owner, "--expires-in", "30d")
    assert minted["expires_at"] is not None
    assert installation.json("orgs", "remove-user", *owner)["revoked_keys"] == [minted["id"]]
    with installation.client(minted["key"]) as api:
        assert api.get("/api/v1/webhooks").status_code == 401


def test_an_event_type_is_registered_and_its_schema_holds(
    installation: Installation, api: httpx.Client, tmp_path: Path
) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object", "required": ["amount"]}')
    created = installation.json("event-types", "create", "invoice.paid", "--schema", schema)
    assert created["schema"]["required"] == ["amount"]
    listed = {one["name"]: one["built_in"] for one in installation.json("event-types", "list")["data"]}
    assert listed["invoice.paid"] is False
    assert listed["upload.created"] is True
    assert api.post("/api/v1/events", json={"type": "invoice.paid", "data": {}}).status_code == 400
    assert api.post("/api/v1/events", json={"type": "invoice.paid", "data": {"amount": 1}}).status_code == 202


def test_the_schema_of_an_event_type_is_replaced_and_the_type_removed(
    installation: Installation, api: httpx.Client, receiver: ReceiverProcess, tmp_path: Path
) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"required": ["amount"]}')
    installation.json("event-types", "create", "credit.used", "--schema", schema)
    schema.write_text('{"required": ["number"]}')
    assert installation.json("event-types", "update", "credit.used", "--schema", schema)["schema"] == {
        "required": ["number"]
    }
    assert api.post("/api/v1/events", json={"type": "credit.used", "data": {"amount": 1}}).status_code == 400
    assert installation.json("event-types", "update", "credit.used", "--no-schema")["schema"] is None
    assert installation.json("event-types", "show", "credit.used")["schema"] is None
    assert api.post("/api/v1/events", json={"type": "credit.used", "data": {}}).status_code == 202
    registered = api.post("/api/v1/webhooks", json={"url": receiver.url("/credit"), "events": ["credit.used"]})
    assert registered.status_code == 200
    assert "1 endpoints" in installation.run("event-types", "delete", "credit.used").stderr
    assert installation.json("event-types", "delete", "credit.used", "--force")["deleted"] is True
    assert api.post("/api/v1/events", json={"type": "credit.used", "data": {}}).status_code == 400


def test_a_reserved_name_and_a_schema_that_cannot_be_resolved_are_refused_with_a_sentence(
    installation: Installation, tmp_path: Path
) -> None:
    assert "reserved" in installation.run("event-types", "create", "webhook.ping").stderr
    schema = tmp_path / "schema.json"
    for text, reason in (
        ('{"$ref": "#/components/schemas/Contact"}', "not in the schema"),
        ('{"$ref": "#"}', "refers to itself"),
        ('{"not":' * 400 + "{}" + "}" * 400, "nest"),
    ):
        schema.write_text(text)
        failed = installation.run("event-types", "create", "bad.schema", "--schema", schema)
        assert failed.returncode == 1
        assert reason in failed.stderr
        assert "Traceback" not in failed.stderr


def test_a_dead_letter_is_shown_counted_replayed_and_delivered(
    installation: Installation, api: httpx.Client, receiver: ReceiverProcess
) -> None:
    letter = make_dead_letter(installation, api, receiver, "/mended")
    shown = installation.json("dead-letters", "show", letter["id"])
    assert shown["reason"] == "retries_exhausted"
    assert shown["response"]["status"] == 500
    assert shown["request"]["body"].encode() == receiver.requests("/mended")[-1].body
    assert [one["number"] for one in shown["attempts"]] == [1, 2]

    chosen = ("--endpoint", letter["endpoint_id"])
    assert installation.json("replay", "--dry-run", *chosen) == {"count": 1, "endpoints": 1}
    receiver.program("/mended", 200)
    replayed = installation.json("replay", "--yes", "--wait", "--rate", "10", *chosen)
    assert (replayed["state"], replayed["total"], replayed["succeeded"]) == ("completed", 1, 1)
    assert installation.json("replays", "show", replayed["id"])["succeeded"] == 1
    assert replayed["id"] in [one["id"] for one in installation.json("replays", "list")["data"]]
    assert installation.json("deliveries", "show", letter["delivery_id"])["state"] == "delivered"
    assert len({one.body for one in receiver.requests("/mended")[1:]}) == 1
    assert installation.run("replays", "cancel", replayed["id"]).returncode == 1


def test_a_delivery_is_retried_by_hand_and_a_dead_letter_discarded(
    installation: Installation, api: httpx.Client, receiver: ReceiverProcess
) -> None:
    letter = make_dead_letter(installation, api, receiver, "/broken")
    sent = len(receiver.requests("/broken"))
    assert installation.json("deliveries", "retry", letter["delivery_id"])["id"] == letter["delivery_id"]
    eventually_blocking(lambda: len(receiver.requests("/broken")) > sent, within=20, what="the retry")
    chosen = ("--endpoint", letter["endpoint_id"])
    [again] = eventually_blocking(
        lambda: installation.json("dead-letters", "list", *chosen, "--state", "open")["data"], within=20, what="its end"
    )
    assert installation.json("dead-letters", "discard", again["id"])["state"] == "discarded"
    assert installation.json("replay", "--dry-run", *chosen) == {"count": 0, "endpoints": 0}
    [delivery] = installation.json("deliveries", "list", *chosen, "--state", "dead")["data"]
    assert delivery["id"] == letter["delivery_id"]


def test_an_endpoint_is_disabled_and_enabled_and_the_log_says_who_did_it(
    installation: Installation, api: httpx.Client, receiver: ReceiverProcess
) -> None:
    endpoint = register(api, receiver.url("/switched"), "upload.created")
    assert installation.json("endpoints", "disable", endpoint)["is_active"] is False
    listed = installation.json("endpoints", "list", "--state", "disabled")["data"]
    assert [one["id"] for one in listed] == [endpoint]
    assert installation.json("endpoints", "enable", endpoint)["is_active"] is True
    logged = installation.json("audit-log", "--target", endpoint, "--limit", "2")
    assert [one["action"] for one in logged["data"]] == ["endpoint.enable", "endpoint.disable"]
    assert all(one["actor"].startswith("cli:") for one in logged["data"])
    below = installation.json("audit-log", "--target", endpoint, "--before", logged["next_cursor"])
    assert [one["action"] for one in below["data"]] == ["endpoint.create"]
    assert below["next_cursor"] is None


def test_an_endpoint_is_limited_and_its_limit_ended(
    installation: Installation, api: httpx.Client, receiver: ReceiverProcess
) -> None:
    endpoint = register(api, receiver.url("/limited"), "upload.created")
    assert installation.json("endpoints", "limit", endpoint, "--rate", "5")["rate_limit"] == 5
    assert api.get(f"/api/v1/webhooks/{endpoint}").json()["rate_limit"] == 5
    assert "rate_limit" not in installation.json("endpoints", "limit", endpoint)


def test_people_get_tables_and_sentences(installation: Installation, organization: str) -> None:
    listed = installation.run("orgs", "list")
    assert organization in listed.stdout
    assert "Acme" in listed.stdout
    missing = installation.run("dead-letters", "show", organization)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr == "sendoff: There is no such dead letter.\n"
    misspelt = installation.run("replay", "--yes", "--endpoint", "nonsense")
    assert misspelt.returncode == 2
    assert "nonsense" in misspelt.stderr


@pytest.mark.parametrize(
    ("revision", "said"), [("0032", "runs on the new one: yes"), ("0011", "runs on the new one: no"), (None, None)]
)
def test_the_plan_says_whether_the_old_version_runs_on_the_new_schema(
    revision: str | None, said: str | None, install: Install, tmp_path: Path
) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/old.db"
    if revision is not None:
        migrate(url, revision=revision)
    planned = install({"SENDOFF_DATABASE_URL": url}).run("migrate", "--plan")
    assert planned.returncode == 0
    assert said in planned.stdout if said else "made this schema" not in planned.stdout


def test_commands_work_while_redis_is_away_and_before_anything_was_up(install: Install) -> None:
    offline = install({})
    unmade = offline.run("orgs", "list")
    assert unmade.returncode == 1
    assert "sendoff migrate" in unmade.stderr
    assert not offline.data.exists()
    assert offline.json("migrate") == {"migrated": True}
    created = offline.json("orgs", "create", "Acme")
    assert [one["id"] for one in offline.json("orgs", "list")["data"]] == [created["id"]]
    assert offline.json("replay", "--all", "--yes")["total"] == 0
