"""Webhooks in another dialect than the branded one, and installations under another brand."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks.webhooks import Webhook

from sendoff.errors import BadSettings
from sendoff.processes.startup import open_context
from sendoff.settings import load
from sendoff.verify import branded, verify
from tests.integration.api.api_fixture import ApiFixture, open_api
from tests.support.exchange import Received
from tests.support.receiver import Receiver

HOOKS = "/api/v1/webhooks"
FIELDS = {
    *("id", "user_id", "organization_id", "url", "description", "events", "is_active", "verified_at"),
    *("last_success_at", "last_failure_at", "consecutive_failures", "disabled_at", "created_at", "updated_at"),
}


async def create(api: ApiFixture, url: str, **fields: Any) -> dict[str, Any]:
    answer = await api.post(HOOKS, {"url": url, **fields})
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


def check_ed25519(request: Received, public_key: str, mark: str) -> None:
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key.removeprefix("whpk_")))
    signed = b".".join([request.header(f"webhook-{name}").encode() for name in ("id", "timestamp")] + [request.body])
    key.verify(base64.b64decode(mark.removeprefix("v1a,")), signed)


async def test_a_standard_webhook_is_pinged_and_delivered_to_as_the_official_library_verifies(
    api: ApiFixture, receiver: Receiver
) -> None:
    made = await create(api, receiver.url("/hook"), dialect="standard")
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]+={0,2}", made["secret"])
    assert set(made) == {"webhook", "secret"}
    assert set(made["webhook"]) == FIELDS | {"dialect"}
    event = await api.publish({"upload": {"id": "1"}})
    await api.app.work()
    ping, delivery = receiver.requests()
    for request in (ping, delivery):
        headers = dict(request.headers)
        text = request.body.decode()
        signed = Webhook(made["secret"]).sign(headers["webhook-id"], api.app.clock.now(), text)
        assert headers["webhook-signature"] == signed
        assert headers["User-Agent"] == "OptimalDial-Webhooks/1.0"
    assert delivery.header("webhook-id") == event["id"]
    assert list(delivery.event) == ["type", "timestamp", "data"]


async def test_an_asymmetric_webhook_shows_a_public_key_and_never_the_private_one(
    api: ApiFixture, receiver: Receiver
) -> None:
    made = await create(api, receiver.url("/hook"), dialect="standard-v1a")
    path = f"{HOOKS}/{made['webhook']['id']}"
    assert made["secret"] is None
    assert re.fullmatch(r"whpk_[A-Za-z0-9+/]{43}=", made["public_key"])
    shown = (await api.get(f"{path}/public-key")).json()
    assert shown == {"public_key": made["public_key"], "previous_public_key": None}
    rotated = (await api.post(f"{path}/rotate-secret")).json()
    assert (rotated["secret"], rotated["public_key"] != made["public_key"]) == (None, True)
    shown = (await api.get(f"{path}/public-key")).json()
    assert shown == {"public_key": rotated["public_key"], "previous_public_key": made["public_key"]}
    await api.publish()
    await api.app.work()
    delivery = receiver.requests()[-1]
    new, old = delivery.header("webhook-signature").split(" ")
    check_ed25519(delivery, rotated["public_key"], new)
    check_ed25519(delivery, made["public_key"], old)
    now = api.app.clock.now().timestamp()
    for key in (rotated["public_key"], made["public_key"]):
        assert verify("standard", delivery.headers, delivery.body, key, now=now)
    texts = [(await api.get(place)).text for place in (path, HOOKS, "/operator/v1/endpoints", "/operator/v1/audit")]
    assert not any("whsk_" in text for text in texts)


async def test_a_webhook_that_signs_with_a_shared_secret_has_no_public_key(
    sqlite_api: ApiFixture, receiver: Receiver
) -> None:
    for dialect in ("default", "standard"):
        made = await create(sqlite_api, receiver.url(f"/{dialect}"), dialect=dialect)
        answer = await sqlite_api.get(f"{HOOKS}/{made['webhook']['id']}/public-key")
        assert (answer.status_code, "no public key" in answer.json()["detail"]) == (404, True)


@pytest.mark.parametrize("dialect", [None, "default", "house", "optimaldial", "OptimalDial"])
async def test_the_default_dialect_keeps_the_contracts_shape_under_any_of_its_names(
    sqlite_api: ApiFixture, receiver: Receiver, dialect: str | None
) -> None:
    made = await create(sqlite_api, receiver.url("/hook"), **({"dialect": dialect} if dialect else {}))
    assert set(made["webhook"]) == FIELDS
    assert (set(made), bool(re.fullmatch("[0-9a-f]{64}", made["secret"]))) == ({"webhook", "secret"}, True)
    assert "X-OptimalDial-Signature" in dict(receiver.requests()[0].headers)


@pytest.mark.parametrize("dialect", ["dialbird", "morse", "", "HOUSE", 7, None, ["standard"]])
async def test_a_dialect_that_webhooks_cannot_use_is_a_400_and_sends_no_ping(
    sqlite_api: ApiFixture, receiver: Receiver, dialect: Any
) -> None:
    answer = await sqlite_api.post(HOOKS, {"url": receiver.url("/hook"), "dialect": dialect})
    assert (answer.status_code, isinstance(answer.json()["detail"], str)) == (400, True)
    assert receiver.requests() == []


async def test_an_installation_sends_under_the_name_that_it_has_chosen(
    sqlite_url: str, valkey_url: str, receiver: Receiver
) -> None:
    settings = {
        "brand": "Acme",
        "dialect_signature_scheme": "slack",
        "dialect_envelope": "dialbird",
        "dialect_api_version": "v7",
        "dialect_user_agent": "Acme Hooks",
    }
    async with open_api(sqlite_url, valkey_url, **settings) as api:
        made = await create(api, receiver.url("/hook"), dialect="acme")
        await api.publish()
        await api.app.work()
        now = api.app.clock.now().timestamp()
    for request in receiver.requests():
        assert request.header("User-Agent") == "Acme Hooks"
        assert request.header("X-Acme-Signature").startswith("v0=")
        assert request.event["api_version"] == "v7"
        assert verify(branded("Acme", scheme="slack"), request.headers, request.body, made["secret"], now=now)
        assert not any("optimaldial" in name.lower() for name, _ in request.headers)


@pytest.mark.parametrize(
    "settings", [{"brand": "Acme Inc"}, {"dialect_header_prefix": "X:"}, {"dialect_user_agent": "Acme\r\nX: y"}]
)
async def test_a_name_that_no_header_can_have_keeps_the_process_from_starting(
    sqlite_url: str, settings: dict[str, str]
) -> None:
    chosen = load(database_url=sqlite_url, secret_keys=["k" * 32], redis_url="redis://127.0.0.1:1", **settings)
    with pytest.raises(BadSettings, match="SENDOFF_BRAND or SENDOFF_DIALECT"):
        async with open_context(chosen):
            pass


CHOSEN = {
    "default": "a" * 32,
    "optimaldial": "whsec_" + "chosen,by+the=customer/" * 2 + "of64chars___",
    "standard": "whsec_" + base64.b64encode(bytes(range(24))).decode(),
}


@pytest.mark.parametrize("dialect", CHOSEN)
async def test_a_secret_chosen_by_the_owner_signs_the_ping_and_the_deliveries(
    sqlite_api: ApiFixture, receiver: Receiver, dialect: str
) -> None:
    made = await create(sqlite_api, receiver.url("/hook"), dialect=dialect, secret=CHOSEN[dialect])
    assert made["secret"] == CHOSEN[dialect]
    assert "secret" not in made["webhook"]
    await sqlite_api.publish()
    await sqlite_api.app.work()
    now = sqlite_api.app.clock.now().timestamp()
    for request in receiver.requests():
        assert verify(dialect, request.headers, request.body, CHOSEN[dialect], now=now)
    assert len(receiver.requests()) == 2


@pytest.mark.parametrize(
    ("dialect", "secret", "remedy"),
    [
        *(("default", secret, "32 to 64 printable ASCII characters") for secret in ("", "a" * 31, "a" * 65)),
        *(("default", "a" * 31 + other, "32 to 64 printable ASCII characters") for other in (" ", "é", "\n", "\x7f")),
        *(("standard", secret, "24 to 64 bytes") for secret in ("a" * 40, "whsec_", "whsec_" + "A" * 31, "whsec_AAAA")),
        ("standard", "whsec_" + "A" * 88, "24 to 64 bytes"),
        ("standard-v1a", "whsk_" + "A" * 43 + "=", "leave it out"),
        ("standard", "whpk_" + "A" * 43 + "=", "24 to 64 bytes"),
    ],
)
async def test_a_secret_that_cannot_be_used_is_refused_before_the_ping_and_never_repeated(
    sqlite_api: ApiFixture, receiver: Receiver, dialect: str, secret: str, remedy: str
) -> None:
    answer = await sqlite_api.post(HOOKS, {"url": receiver.url("/hook"), "dialect": dialect, "secret": secret})
    detail = answer.json()["detail"]
    assert answer.status_code == 400
    assert detail.startswith("secret ")
    assert remedy in detail
    assert len(secret) < 8 or secret not in detail
    assert receiver.requests() == []


@pytest.mark.parametrize("secret", [1, ["a" * 40], {"a": "b"}])
async def test_a_secret_that_is_not_text_is_refused_by_name(sqlite_api: ApiFixture, secret: object) -> None:
    answer = await sqlite_api.post(HOOKS, {"url": "https://hooks.example/x", "secret": secret})
    assert (answer.status_code, answer.json()["detail"].partition(" ")[0]) == (400, "`secret`:")
