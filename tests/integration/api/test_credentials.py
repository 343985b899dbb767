"""`headers` and `auth` of a webhook: sent with everything, and shown to nobody."""

from __future__ import annotations

import ssl
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from sendoff.maintenance.key_rotation import rotate_keys
from sendoff.store.vault import Vault
from tests.integration.api.api_fixture import ApiFixture, open_api
from tests.support.app_fixture import ACTOR, START
from tests.support.exchange import Reply
from tests.support.receiver import Receiver
from tests.support.tls import Authority

HEADERS = {"X-Api-Key": "api-key-3f9c", "X-Tenant": "caf\xe9 42"}
BASIC = {"type": "basic", "username": "ada", "password": "p\xe4ss:word"}
BEARER = {"type": "bearer", "token": "bearer-token-77aa"}
SECRETS = ("api-key-3f9c", "p\xe4ss:word", b64encode("ada:p\xe4ss:word".encode()).decode())


def pem_pair(issued: trustme.LeafCert) -> dict[str, str]:
    chain = "".join(blob.bytes().decode() for blob in issued.cert_chain_pems)
    return {"type": "mtls", "certificate": chain, "private_key": issued.private_key_pem.bytes().decode()}


def issue(**fields: Any) -> dict[str, str]:
    around = {"not_before": START - timedelta(days=1), "not_after": START + timedelta(days=30)}
    return pem_pair(trustme.CA().issue_cert("client.example", **(around | fields)))


async def test_every_request_carries_them_and_no_answer_tells_them(api: ApiFixture, receiver: Receiver) -> None:
    webhook = await api.register(receiver.url("/hook"), headers=HEADERS, auth=BASIC)
    assert webhook["headers"] == dict.fromkeys(HEADERS, "***")
    assert webhook["auth"] == {"type": "basic"}
    # A receiver that sends back what it got, and refuses.
    receiver.program(
        "/hook", Reply(status=500, body=f"You sent {' '.join(SECRETS)}", headers=(("X-Echo", SECRETS[0]),))
    )
    tried = await api.post(f"/api/v1/webhooks/{webhook['id']}/test")
    event = await api.publish()
    await api.app.work()
    for request in receiver.requests("/hook"):
        assert request.header("X-Api-Key") == HEADERS["X-Api-Key"]
        assert request.header("X-Tenant") == HEADERS["X-Tenant"]
        assert request.header("Authorization") == f"Basic {SECRETS[2]}"
    assert len(receiver.requests("/hook")) == 3
    assert tried.json()["request"]["headers"]["X-Api-Key"] == "***"
    assert tried.json()["request"]["headers"]["Authorization"] == "***"
    [delivery] = (await api.get(f"/api/v1/events/{event['id']}")).json()["deliveries"]
    detail = await api.get(f"/operator/v1/deliveries/{delivery['id']}")
    assert detail.json()["request"]["headers"]["X-Api-Key"] == "***"
    assert detail.json()["response"]["body"] == "You sent *** *** ***"
    await api.patch(f"/api/v1/webhooks/{webhook['id']}", {"auth": BEARER, "headers": None})
    said = [tried, detail, await api.get("/operator/v1/audit"), await api.get("/operator/v1/endpoints")]
    assert not [(one.url, secret) for one in said for secret in (*SECRETS, BEARER["token"]) if secret in one.text]


async def test_a_change_replaces_keeps_or_clears_them(api: ApiFixture, receiver: Receiver) -> None:
    webhook = await api.register(receiver.url("/hook"), headers=HEADERS, auth=BASIC)
    path = f"/api/v1/webhooks/{webhook['id']}"
    changed = (await api.patch(path, {"headers": {"X-Api-Key": "***", "X-New": "new"}, "auth": BEARER})).json()
    assert changed["headers"] == {"X-Api-Key": "***", "X-New": "***"}
    assert changed["auth"] == {"type": "bearer"}
    receiver.forget()
    await api.patch(path, {"url": receiver.url("/moved")})
    [ping] = receiver.requests("/moved")
    assert (ping.header("X-Api-Key"), ping.header("X-New")) == (HEADERS["X-Api-Key"], "new")
    assert ping.header("Authorization") == "Bearer bearer-token-77aa"
    with pytest.raises(KeyError):
        ping.header("X-Tenant")
    cleared = (await api.patch(path, {"headers": {}, "auth": None})).json()
    assert not {"headers", "auth"} & cleared.keys()
    masked = await api.patch(path, {"headers": {"X-Api-Key": "***"}})
    assert masked.status_code == 400
    assert "stands for the value as it is" in masked.json()["detail"]


async def test_they_stay_readable_when_the_keys_at_rest_change(api: ApiFixture, receiver: Receiver) -> None:
    await api.register(receiver.url("/hook"), headers=HEADERS, auth=BEARER)
    context = api.app.context
    vault = Vault(["n" * 32, "k" * 32])
    object.__setattr__(context, "vault", vault)
    assert (await rotate_keys(context, ACTOR)).resealed >= 3
    object.__setattr__(context, "vault", Vault(["n" * 32]))
    receiver.forget()
    await api.publish()
    await api.app.work()
    [request] = receiver.requests("/hook")
    assert (request.header("X-Api-Key"), request.header("Authorization")) == (
        HEADERS["X-Api-Key"],
        "Bearer bearer-token-77aa",
    )


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"Host": "a"}, "`Host` cannot be chosen"),
        ({"content-type": "a"}, "`content-type` cannot be chosen"),
        ({"Content-Anything": "a"}, "`Content-Anything` cannot be chosen"),
        ({"Connection": "a"}, "`Connection` cannot be chosen"),
        ({"Transfer-Encoding": "a"}, "`Transfer-Encoding` cannot be chosen"),
        ({"User-Agent": "a"}, "`User-Agent` cannot be chosen"),
        ({"webhook-signature": "a"}, "`webhook-signature` is one that a dialect signs with"),
        ({"X-OptimalDial-Signature": "a"}, "`X-OptimalDial-Signature` is one that a dialect"),
        ({"x-dialbird-event-id": "a"}, "`x-dialbird-event-id` is one that a dialect"),
        ({"X A": "a"}, "'X A' is not a header's name"),
        ({"": "a"}, "'' is not a header's name"),
        ({"X-A": "a\r\nX-B: b"}, "`X-A` holds a control character"),
        ({"X-A": "a\x7f"}, "`X-A` holds a control character"),
        ({"X-A": "a\x85"}, "`X-A` holds a control character"),
        ({"X-A": "\u20ac"}, "beyond ISO 8859-1"),
        ({"X-A": "a", "x-a": "b"}, "there twice"),
        ({f"X-{number}": "a" for number in range(21)}, "Holds 21 headers; at most 20"),
        ({"X-A": "a" * 4_094}, "4,097 bytes together; at most 4,096"),
        ({"X-A": 1}, "valid string"),
        (["X-A"], "valid dictionary"),
    ],
)
async def test_a_header_that_cannot_be_sent_is_refused(
    sqlite_api: ApiFixture, receiver: Receiver, headers: Any, said: str
) -> None:
    refused = await sqlite_api.post("/api/v1/webhooks", {"url": receiver.url("/hook"), "headers": headers})
    assert refused.status_code == 400
    assert "headers" in refused.json()["detail"]
    assert said in refused.json()["detail"]
    assert receiver.requests() == []


@pytest.mark.parametrize(
    ("auth", "said"),
    [
        ({}, "`auth.type` must be one of basic, bearer, oauth2, mtls"),
        ({"type": "digest", "password": "hunter22"}, "`auth.type` must be one of basic, bearer, oauth2, mtls"),
        ({"type": "basic", "username": "ada"}, "`auth.password` is missing"),
        ({"type": "basic", "username": "a:b", "password": "hunter22"}, "`auth.username`: Must not hold a colon"),
        ({"type": "basic", "username": "ada", "password": "hunter22\n"}, "`auth.password`: Must not hold control"),
        ({"type": "bearer", "token": "hunter 22"}, "`auth.token`: Must be printable ASCII without spaces"),
        ({"type": "bearer", "tokn": "hunter22"}, "`auth.tokn` is not a known field; the nearest one is `token`"),
        ({"type": "oauth2", "token_url": "https://a.example"}, "`auth.client_id` is missing"),
        (
            {"type": "oauth2", "token_url": "https://a.example", "client_id": "a", "client_secret": "b", "scop": "c"},
            "the nearest one is `scope`",
        ),
        ("hunter22", "auth"),
    ],
)
async def test_an_authentication_that_is_not_one_is_refused_by_its_field_without_its_secret(
    sqlite_api: ApiFixture, receiver: Receiver, auth: Any, said: str
) -> None:
    refused = await sqlite_api.post("/api/v1/webhooks", {"url": receiver.url("/hook"), "auth": auth})
    assert refused.status_code == 400
    assert said in refused.json()["detail"]
    assert "hunter" not in refused.text
    assert receiver.requests() == []


async def test_an_authorization_header_and_auth_exclude_each_other(sqlite_api: ApiFixture, receiver: Receiver) -> None:
    both = {"url": receiver.url("/hook"), "headers": {"authorization": "Digest x"}, "auth": BEARER}
    assert "exclude each other" in (await sqlite_api.post("/api/v1/webhooks", both)).json()["detail"]
    webhook = await sqlite_api.register(receiver.url("/hook"), headers={"Authorization": "Digest x"})
    assert receiver.requests("/hook")[0].header("Authorization") == "Digest x"
    refused = await sqlite_api.patch(f"/api/v1/webhooks/{webhook['id']}", {"auth": BEARER})
    assert "exclude each other" in refused.json()["detail"]


def _encrypted() -> dict[str, str]:
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    return issue() | {"private_key": pem.decode()}


def _weak() -> dict[str, str]:
    key = rsa.generate_private_key(public_exponent=65_537, key_size=1024)  # noqa: S505 - what is refused
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return issue() | {"private_key": pem.decode()}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        pytest.param(
            lambda: issue() | {"private_key": issue()["private_key"]}, "`auth.private_key` does not belong", id="pair"
        ),
        pytest.param(
            lambda: issue(not_before=START - timedelta(days=9), not_after=START - timedelta(days=1)),
            "`auth.certificate` expired at 2026-04-23 12:34 UTC; renew it",
            id="expired",
        ),
        pytest.param(
            lambda: issue(not_before=START + timedelta(days=1)),
            "`auth.certificate` is not valid before 2026-04-25",
            id="early",
        ),
        pytest.param(
            lambda: issue() | {"certificate": "x"}, "`auth.certificate` is not a certificate in PEM", id="no PEM"
        ),
        pytest.param(
            lambda: issue() | {"private_key": "x"}, "`auth.private_key` is not a private key in PEM", id="no key"
        ),
        pytest.param(_encrypted, "`auth.private_key` has a passphrase", id="encrypted"),
        pytest.param(_weak, "`auth.private_key` is RSA of 1024 bits", id="weak"),
    ],
)
async def test_a_client_certificate_is_checked_when_it_is_saved(sqlite_api: ApiFixture, make: Any, said: str) -> None:
    refused = await sqlite_api.post("/api/v1/webhooks", {"url": "https://127.0.0.1:8443/hook", "auth": make()})
    assert refused.status_code == 400
    assert said in refused.json()["detail"]


async def test_mutual_tls_needs_https(sqlite_api: ApiFixture, receiver: Receiver) -> None:
    refused = await sqlite_api.post("/api/v1/webhooks", {"url": receiver.url("/hook"), "auth": issue()})
    assert "needs an https URL" in refused.json()["detail"]


async def test_a_receiver_that_demands_a_certificate_gets_the_endpoints(
    sqlite_url: str, valkey_url: str, authority: Authority
) -> None:
    clients = trustme.CA()
    now = datetime.now(UTC)
    demanding = authority.server_context("127.0.0.1")
    clients.configure_trust(demanding)
    demanding.verify_mode = ssl.CERT_REQUIRED
    auth = pem_pair(clients.issue_cert("client.example", not_before=min(now, START) - timedelta(days=1)))
    async with (
        Receiver.start(tls=demanding) as receiver,
        open_api(sqlite_url, valkey_url, ca_file=authority.ca_file) as api,
    ):
        without = await api.post("/api/v1/webhooks", {"url": receiver.url("/hook")})
        assert without.status_code == 400
        webhook = await api.register(receiver.url("/hook"), auth=auth)
        assert webhook["auth"] == {"type": "mtls"}
        await api.publish()
        await api.app.work()
        assert (await api.post(f"/api/v1/webhooks/{webhook['id']}/test")).json()["response"]["status"] == 200
        assert len(receiver.requests("/hook")) == 3
        assert auth["private_key"] not in (await api.get("/operator/v1/audit")).text
