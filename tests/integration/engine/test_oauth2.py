"""OAuth2 client credentials: one token for many deliveries, a new one when it is old or refused."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest
import structlog

from sendoff.authorization.oauth2_tokens import OAuth2Failed, OAuth2Tokens
from sendoff.errors import Invalid, PingFailed
from sendoff.policy.endpoints.auth import OAuth2Auth, parse_auth
from sendoff.publishing.publish import NewEvent
from sendoff.store.queries import endpoints
from sendoff.store.queries.traffic import delivery_history
from tests.support.app_fixture import AppFixture, open_app
from tests.support.authorization_server import CLIENT_SECRET, Issued, authorization_server
from tests.support.exchange import Reply
from tests.support.receiver import Receiver


@pytest.fixture
def issued(monkeypatch: pytest.MonkeyPatch) -> Iterator[Issued]:
    monkeypatch.setitem(os.environ, "AUTHLIB_INSECURE_TRANSPORT", "1")
    with authorization_server() as running:
        yield running


def oauth2(issued: Issued, **fields: str) -> OAuth2Auth:
    return OAuth2Auth(**issued.auth(**fields))


async def attempts_of(app: AppFixture, delivery_id: str) -> list[tuple[str, str | None]]:
    async with app.transaction() as tx:
        return [(one.outcome, one.error) for one in await delivery_history.attempts_of(tx, delivery_id)]


def authorizations(receiver: Receiver) -> list[str]:
    return [request.header("Authorization") for request in receiver.requests("/hook")]


async def test_the_ping_and_many_deliveries_carry_one_token(
    database_url: str, receiver: Receiver, issued: Issued
) -> None:
    async with open_app(database_url) as app:
        await app.register(receiver.url("/hook"), auth=oauth2(issued, scope="hooks:write more", audience="hooks"))
        await app.publish(*[NewEvent("upload.completed", b"{}")] * 20)
        await app.work()
    [token] = issued.tokens
    assert authorizations(receiver) == [f"Bearer {token}"] * 21
    assert issued.requests == [{"grant_type": "client_credentials", "scope": "hooks:write more", "audience": "hooks"}]


async def test_those_who_need_a_token_at_once_wait_for_one_request(sqlite_url: str, issued: Issued) -> None:
    async with open_app(sqlite_url) as app:
        tokens = OAuth2Tokens(app.context)
        got = await asyncio.gather(*(tokens.get("org", oauth2(issued), within=10) for _ in range(50)))
        assert set(got) == set(issued.tokens)
        assert len(issued.tokens) == 1
        other = await tokens.get("another organization", oauth2(issued), within=10)
        assert other != got[0]


async def test_a_token_that_is_about_to_expire_is_not_used(sqlite_url: str, receiver: Receiver, issued: Issued) -> None:
    issued.expires_in = -1
    async with open_app(sqlite_url) as app:
        await app.register(receiver.url("/hook"), auth=oauth2(issued))
        await app.publish()
        await app.work()
    assert authorizations(receiver) == [f"Bearer {token}" for token in issued.tokens]
    assert len(issued.tokens) == 2


async def test_a_token_that_the_receiver_refuses_is_fetched_anew_once(
    database_url: str, receiver: Receiver, issued: Issued
) -> None:
    async with open_app(database_url) as app:
        await app.register(receiver.url("/hook"), auth=oauth2(issued))
        receiver.forget()
        receiver.program("/hook", 401, 200, 401, 401, 200)
        [renewed] = await app.publish()
        await app.work()
        first, second = issued.tokens
        assert authorizations(receiver) == [f"Bearer {first}", f"Bearer {second}"]
        assert await attempts_of(app, renewed.delivery_ids[0]) == [("ok", None)]
        receiver.forget()
        [refused] = await app.publish()
        await app.work()
        assert len(receiver.requests("/hook")) == 2
        [(outcome, error)] = await attempts_of(app, refused.delivery_ids[0])
        assert outcome == "client_error"
        assert error == "The receiver answered 401 Unauthorized."


async def test_without_a_token_the_attempt_fails_by_a_name_of_its_own_and_is_charged_to_the_endpoint(
    database_url: str, receiver: Receiver, issued: Issued
) -> None:
    async with open_app(database_url) as app:
        issued.expires_in = -1
        registered = await app.register(receiver.url("/hook"), auth=oauth2(issued))
        receiver.forget()
        issued.method = "private_key_jwt"
        [event] = await app.publish()
        with structlog.testing.capture_logs() as logged:
            await app.work()
        assert receiver.requests("/hook") == []
        assert await attempts_of(app, event.delivery_ids[0]) == [
            ("oauth2_failed", "The token endpoint answered 401 (invalid_client).")
        ]
        async with app.transaction() as tx:
            endpoint = await endpoints.find(tx, registered.endpoint.id)
            exchange = await delivery_history.last_exchange_of(tx, event.delivery_ids[0])
        assert endpoint is not None
        assert endpoint.consecutive_failures == 1
        assert exchange is not None
        assert ["Authorization", "***"] in [list(pair) for pair in exchange.request_headers]
        said = repr(logged)
        assert "attempt_failed" in said
        assert not any(secret in said for secret in (CLIENT_SECRET, *issued.tokens))


async def test_a_server_that_wants_the_secret_in_the_body_gets_it_there(
    sqlite_url: str, receiver: Receiver, issued: Issued
) -> None:
    issued.method = "client_secret_post"
    async with open_app(sqlite_url) as app:
        await app.register(receiver.url("/hook"), auth=oauth2(issued))
    assert authorizations(receiver) == [f"Bearer {issued.tokens[0]}"]


async def test_a_ping_without_a_token_saves_nothing_and_says_why(
    sqlite_url: str, receiver: Receiver, issued: Issued
) -> None:
    async with open_app(sqlite_url) as app:
        with pytest.raises(PingFailed) as failure:
            await app.register(receiver.url("/hook"), auth=oauth2(issued, client_secret="wrong"))
        assert failure.value.underlying_error == "The token endpoint answered 401 (invalid_client)."
        assert receiver.requests() == []


@pytest.mark.parametrize("url", ["https://10.0.0.1/token", "ftp://login.example.com", "x"])
async def test_a_token_url_obeys_the_address_rules(sqlite_url: str, receiver: Receiver, url: str) -> None:
    auth = OAuth2Auth(type="oauth2", token_url=url, client_id="a", client_secret="b")
    async with open_app(sqlite_url) as app:
        with pytest.raises(Invalid) as refused:
            await app.register(receiver.url("/hook"), auth=auth)
        assert refused.value.field == "auth.token_url"
        assert receiver.requests() == []


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, "no JSON", "not the JSON of a token"),
        (200, "{}", "not the JSON of a token"),
        (200, '{"access_token": "a b"}', "printable ASCII"),
        (200, '{"access_token": "a\\r\\nX-Evil: 1"}', "printable ASCII"),
        (200, '{"access_token": "a", "token_type": "mac"}', "another type than Bearer"),
        (200, '{"access_token": "a", "expires_in": "soon"}', "not the JSON of a token"),
        (302, "", "answered 302"),
        (500, '{"error": "server_error", "error_description": "secret"}', "answered 500 (server_error)."),
        (400, '{"error": "<script>alert(1)</script>"}', "answered 400."),
    ],
)
async def test_an_answer_that_is_no_token_is_a_failure_in_words(
    sqlite_url: str, receiver: Receiver, status: int, body: str, said: str
) -> None:
    receiver.program("/token", Reply(status=status, body=body))
    auth = OAuth2Auth(type="oauth2", token_url=receiver.url("/token"), client_id="a", client_secret="b")
    async with open_app(sqlite_url) as app:
        with pytest.raises(OAuth2Failed) as failure:
            await OAuth2Tokens(app.context).get("org", auth, within=10)
    assert said in str(failure.value)


def test_sealed_values_are_read_as_they_were() -> None:
    auth = OAuth2Auth(type="oauth2", token_url="https://login.example.com", client_id="a", client_secret="b", scope="c")
    assert parse_auth(auth.model_dump_json()) == auth
