"""OAuth access tokens: taken when they are genuine, for us and in time; refused in every other case."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest

from sendoff.accounts import organizations
from sendoff.accounts.jwks import KEPT_SECONDS, SHORTEST_PAUSE_SECONDS
from sendoff.errors import BadSettings
from sendoff.settings import load
from tests.integration.api.api_fixture import open_api
from tests.integration.dialbird.client import ME, TYPE, DialbirdClient, code_of
from tests.integration.dialbird.issuer import AUDIENCE, ISSUER, Issuer, new_key
from tests.support.app_fixture import ACTOR
from tests.support.exchange import Reply
from tests.support.receiver import Receiver

URL = "https://example.com/hook"


@asynccontextmanager
async def open_issuing(
    database_url: str, valkey_url: str, path: Path, **settings: Any
) -> AsyncIterator[tuple[DialbirdClient, Issuer]]:
    chosen = {"oauth_jwks": str(path), "oauth_issuer": ISSUER, "oauth_audience": AUDIENCE, **settings}
    async with open_api(database_url, valkey_url, **chosen) as api:
        issuer = Issuer(path, api.app.clock.now(), api.app.principal.organization_id)
        issuer.add_key("1")
        issuer.publish()
        yield await DialbirdClient.of(api), issuer


@pytest.fixture
async def issuing(sqlite_url: str, valkey_url: str, tmp_path: Path) -> AsyncIterator[tuple[DialbirdClient, Issuer]]:
    async with open_issuing(sqlite_url, valkey_url, tmp_path / "jwks.json") as opened:
        yield opened


Issuing = tuple[DialbirdClient, Issuer]


async def test_me_answers_the_business_user_client_and_scopes_of_an_access_token(issuing: Issuing) -> None:
    dialbird, issuer = issuing
    assert (await dialbird.get(ME, key=issuer.issue())).json() == {
        "business": {"id": issuer.business, "name": "Acme"},
        "user": {"id": "auth0|ada", "email": None},
        "client": {"id": "crm"},
        "scopes": ["api:webhooks", "openid"],
    }


async def test_me_answers_them_of_an_api_key_too(issuing: Issuing) -> None:
    dialbird, issuer = issuing
    me = (await dialbird.get(ME)).json()
    assert me["business"] == {"id": issuer.business, "name": "Acme"}
    assert me["user"]["email"] == "dev@example.com"
    assert me["scopes"] == ["api:webhooks"]
    keys = await organizations.list_keys(dialbird.api.app.context, issuer.business)
    assert me["client"]["id"] in {listed.key.id for listed in keys}


async def test_an_access_token_subscribes_and_its_client_stands_in_the_audit_log(issuing: Issuing) -> None:
    dialbird, issuer = issuing
    made = await dialbird.subscribe(URL, key=issuer.issue())
    assert [one["id"] for one in (await dialbird.get()).json()] == [made["id"]]
    [entry] = (await dialbird.api.get("/operator/v1/audit", params={"target_id": made["id"]})).json()["data"]
    assert entry["actor"] == "oauth:crm"


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_each_configured_algorithm_is_taken(issuing: Issuing, algorithm: str) -> None:
    dialbird, issuer = issuing
    issuer.add_key("new", algorithm)
    issuer.publish()
    assert (await dialbird.get(key=issuer.issue("new"))).status_code == 200


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({"scope": "a b"}, ["a", "b"]),
        ({"scope": None, "scp": ["a", "b"]}, ["a", "b"]),
        ({"scope": None, "scp": "b a"}, ["a", "b"]),
        ({"scope": None}, []),
        ({"scope": 7}, []),
    ],
)
async def test_scopes_are_read_from_scope_or_scp(issuing: Issuing, claims: dict[str, Any], scopes: list[str]) -> None:
    dialbird, issuer = issuing
    token = issuer.issue(**claims)
    assert (await dialbird.get(ME, key=token)).json()["scopes"] == scopes
    assert code_of(await dialbird.get(key=token)) == "insufficient_scope"


async def test_a_token_works_until_its_expiry_and_not_a_second_longer(issuing: Issuing) -> None:
    dialbird, issuer = issuing
    token = issuer.issue(exp=issuer.now.timestamp() + 10)
    dialbird.api.app.clock.advance(9.9)
    assert (await dialbird.get(key=token)).status_code == 200
    dialbird.api.app.clock.advance(0.1)
    assert code_of(await dialbird.get(key=token)) == "expired_token"


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://login.example.com"},
        {"iss": None},
        {"aud": "https://other.example.com"},
        {"aud": None},
        {"aud": []},
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": float("nan")},
        {"exp": 1, "aud": "https://other.example.com"},
        {"nbf": 4_102_444_800},
        {"business_id": None},
        {"business_id": 7},
        {"client_id": None, "sub": None},
    ],
    ids=str,
)
async def test_a_genuine_token_with_claims_that_are_not_for_us_is_invalid(
    issuing: Issuing, claims: dict[str, Any]
) -> None:
    dialbird, issuer = issuing
    assert code_of(await dialbird.get(key=issuer.issue(**claims))) == "invalid_token"


async def test_one_of_several_audiences_may_be_us_and_a_client_may_stand_in_azp(issuing: Issuing) -> None:
    dialbird, issuer = issuing
    token = issuer.issue(aud=["https://other.example.com", AUDIENCE], client_id=None, azp="spa")
    assert (await dialbird.get(ME, key=token)).json()["client"] == {"id": "spa"}


def forgeries(issuer: Issuer) -> Iterator[str]:
    head, body, mark = issuer.issue().split(".")
    yield f"{head}.{body}."
    yield f"{head}.{body}.{mark[:-4]}AAAA"
    yield f"{head}.{body[:-4]}AAAA.{mark}"
    yield f"{_encode({'alg': 'none', 'kid': '1'})}.{body}."
    yield f"{head}.{_encode({'iss': ISSUER})}.{mark}"
    for text in ("", "a", "a.b", "a.b.c", "..", "é.é.é", "a.b.c.d", f"{_encode([])}.{body}.{mark}"):
        yield text or "x"
    claims = jwt.decode(issuer.issue(), options={"verify_signature": False})
    yield jwt.encode(claims, new_key("ES256"), algorithm="ES256", headers={"kid": "1"})
    yield jwt.encode(claims, new_key("ES256"), algorithm="ES256", headers={"kid": "2"})
    yield jwt.encode(claims, new_key("ES256"), algorithm="ES256")
    yield jwt.encode(claims, new_key("RS256"), algorithm="RS256", headers={"kid": "1"})
    yield jwt.encode(claims, new_key("RS256"), algorithm="PS256", headers={"kid": "1"})
    # The public key, taken for a shared secret.
    signed = f"{_encode({'alg': 'HS256', 'kid': '1'})}.{body}"
    for shared in (issuer.document(), json.dumps(json.loads(issuer.document())["keys"][0])):
        yield f"{signed}.{_base64(hmac.digest(shared.encode(), signed.encode(), 'sha256'))}"


def _encode(value: Any) -> str:
    return _base64(json.dumps(value).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


async def test_forged_tokens_are_invalid(issuing: Issuing) -> None:
    dialbird, issuer = issuing
    for token in forgeries(issuer):
        answer = await dialbird.get(key="", headers={"Authorization": f"Bearer {token}".encode()})
        assert code_of(answer) == "invalid_token", token


async def test_an_algorithm_that_is_not_configured_is_refused_though_its_key_is_published(
    sqlite_url: str, valkey_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "jwks.json"
    async with open_issuing(sqlite_url, valkey_url, path, oauth_algorithms="RS256") as (dialbird, issuer):
        issuer.add_key("rsa", "RS256")
        issuer.publish()
        assert code_of(await dialbird.get(key=issuer.issue("1"))) == "invalid_token"
        assert (await dialbird.get(key=issuer.issue("rsa"))).status_code == 200


async def test_a_genuine_token_of_a_business_that_is_unknown_here_is_forbidden(issuing: Issuing) -> None:
    dialbird, issuer = issuing
    for business in ("biz_123", "0199c1f2-6f1e-7c3a-8f43-1f0c2f6d9a11", "%00", ""):
        assert code_of(await dialbird.get(key=issuer.issue(business_id=business))) == "forbidden"


async def test_a_user_of_ours_must_still_belong_to_the_business(issuing: Issuing) -> None:
    dialbird, issuer = issuing
    user_id = dialbird.api.app.principal.user_id
    token = issuer.issue(sub=user_id)
    assert (await dialbird.get(ME, key=token)).json()["user"] == {"id": user_id, "email": "dev@example.com"}
    await organizations.remove_member(
        dialbird.api.app.context, ACTOR, organization_id=issuer.business, email="dev@example.com"
    )
    assert code_of(await dialbird.get(key=token)) == "forbidden"


async def test_a_token_of_a_suspended_business_is_refused(issuing: Issuing) -> None:
    dialbird, issuer = issuing
    context = dialbird.api.app.context
    await organizations.suspend_organization(context, ACTOR, issuer.business, suspended=True)
    assert code_of(await dialbird.get(key=issuer.issue())) == "business_suspended"
    assert code_of(await dialbird.get(ME, key=issuer.issue(scope=""))) == "business_suspended"
    await organizations.suspend_organization(context, ACTOR, issuer.business, suspended=False)
    assert (await dialbird.get(key=issuer.issue())).status_code == 200


async def test_access_tokens_open_no_other_surface(issuing: Issuing) -> None:
    dialbird, issuer = issuing
    token = issuer.issue(scope="operator webhooks:manage events:write uploads:read")
    for path in ("/operator/v1/endpoints", "/api/v1/webhooks", "/api/v1/uploads"):
        assert (await dialbird.api.get(path, key=token)).status_code == 401


async def test_without_a_configured_issuer_access_tokens_are_invalid(
    small_dialbird: DialbirdClient, tmp_path: Path
) -> None:
    app = small_dialbird.api.app
    issuer = Issuer(tmp_path / "jwks.json", app.clock.now(), app.principal.organization_id)
    issuer.add_key("1")
    assert code_of(await small_dialbird.get(key=issuer.issue())) == "invalid_token"


async def test_keys_are_read_again_for_a_token_that_names_a_new_one_and_after_a_while(issuing: Issuing) -> None:
    dialbird, issuer = issuing
    clock = dialbird.api.app.clock
    assert (await dialbird.get(key=issuer.issue(exp=issuer.now.timestamp() + 9999))).status_code == 200
    issuer.add_key("2")
    issuer.publish()
    token = issuer.issue("2", exp=issuer.now.timestamp() + 9999)
    assert code_of(await dialbird.get(key=token)) == "invalid_token"  # asked a moment ago
    clock.advance(SHORTEST_PAUSE_SECONDS)
    assert (await dialbird.get(key=token)).status_code == 200
    old = issuer.issue("1", exp=issuer.now.timestamp() + 9999)
    del issuer.keys["1"]
    issuer.publish()
    assert (await dialbird.get(key=old)).status_code == 200
    clock.advance(KEPT_SECONDS)
    assert code_of(await dialbird.get(key=old)) == "invalid_token"


async def test_keys_that_cannot_be_read_again_go_on_to_count_and_without_any_it_is_a_503(issuing: Issuing) -> None:
    dialbird, issuer = issuing
    clock = dialbird.api.app.clock
    for text in (None, "no JSON", "[]", '{"keys": 1}'):
        issuer.path.unlink() if text is None else issuer.path.write_text(text)
        assert (await dialbird.get(key=issuer.issue())).status_code == 503
        clock.advance(SHORTEST_PAUSE_SECONDS)
    issuer.publish()
    assert (await dialbird.get(key=issuer.issue())).status_code == 200
    issuer.path.unlink()
    clock.advance(KEPT_SECONDS)
    assert (await dialbird.get(key=issuer.issue(exp=clock.now().timestamp() + 1))).status_code == 200
    assert (await dialbird.get()).status_code == 200  # an API key needs none of this


async def test_keys_are_fetched_from_a_url_by_the_guarded_way_out(
    sqlite_url: str, valkey_url: str, tmp_path: Path, receiver: Receiver
) -> None:
    source = receiver.url("/jwks")
    async with open_issuing(sqlite_url, valkey_url, tmp_path / "unused", oauth_jwks=source) as (dialbird, issuer):
        for number in range(200):  # larger than what is kept of a receiver's answer
            issuer.add_key(f"other-{number}", "EdDSA")
        assert len(issuer.document()) > 16_384
        receiver.program("/jwks", Reply(body=issuer.document()))
        assert (await dialbird.get(key=issuer.issue())).status_code == 200
        assert (await dialbird.get(key=issuer.issue())).status_code == 200
    [request] = receiver.requests("/jwks")
    assert (request.method, request.body) == ("GET", b"")


async def test_an_address_that_is_not_public_is_not_asked_for_keys(
    sqlite_url: str, valkey_url: str, tmp_path: Path, receiver: Receiver
) -> None:
    settings = {"oauth_jwks": receiver.url("/jwks"), "dangerously_allow_networks": ""}
    async with open_issuing(sqlite_url, valkey_url, tmp_path / "unused", **settings) as (dialbird, issuer):
        assert (await dialbird.get(key=issuer.issue())).status_code == 503
    assert receiver.requests() == []


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"oauth_jwks": "jwks.json"}, "SENDOFF_OAUTH_ISSUER and SENDOFF_OAUTH_AUDIENCE"),
        ({"oauth_jwks": "jwks.json", "oauth_issuer": "a"}, "SENDOFF_OAUTH_AUDIENCE"),
        ({"oauth_jwks": "http://a/jwks", "oauth_issuer": "a", "oauth_audience": "b"}, "https://"),
        ({"oauth_algorithms": "HS256"}, "SENDOFF_OAUTH_ALGORITHMS"),
        ({"oauth_algorithms": "RS256,none"}, "SENDOFF_OAUTH_ALGORITHMS"),
        ({"oauth_algorithms": ""}, "SENDOFF_OAUTH_ALGORITHMS"),
    ],
)
def test_settings_that_would_take_anybodys_tokens_are_refused(settings: dict[str, str], problem: str) -> None:
    with pytest.raises(BadSettings, match=problem):
        load(**settings)


async def test_two_clients_of_a_business_have_a_budget_each(issuing: Issuing) -> None:
    dialbird, issuer = issuing
    first = await dialbird.get(key=issuer.issue())
    second = await dialbird.get(key=issuer.issue(client_id="erp"))
    again = await dialbird.post({"event_type": TYPE, "target_url": URL}, key=issuer.issue(sub="auth0|bob"))
    left = [int(answer.headers["X-RateLimit-Remaining"]) for answer in (first, second, again)]
    assert left == [599, 599, 598]
