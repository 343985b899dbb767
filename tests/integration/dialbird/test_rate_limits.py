"""Rate limits: per business and client, per IP address without a token, given on every response."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.integration.api.api_fixture import open_api
from tests.integration.dialbird.client import ME, SUBSCRIPTIONS, DialbirdClient, code_of


@pytest.fixture
async def stingy(sqlite_url: str, valkey_url: str) -> AsyncIterator[DialbirdClient]:
    """Five requests a minute for a client, three for an IP address."""
    async with open_api(sqlite_url, valkey_url, client_rate_limit=5, anonymous_rate_limit=3) as api:
        yield await DialbirdClient.of(api)


async def test_every_answer_counts_down_until_one_is_a_429_and_the_minutes_end_resets_it(
    stingy: DialbirdClient,
) -> None:
    paths = (SUBSCRIPTIONS, ME, f"{SUBSCRIPTIONS}/1", f"{ME}/nothing", SUBSCRIPTIONS)
    answers = [await stingy.get(path) for path in paths]
    assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["4", "3", "2", "1", "0"]
    refused = await stingy.get()
    assert code_of(refused) == "rate_limited"
    # The app's clock stands at 12:34:56.789 UTC on 24 April 2026.
    assert (refused.headers["Retry-After"], refused.headers["X-RateLimit-Reset"]) == ("4", "1777034100")
    assert (refused.headers["X-RateLimit-Limit"], refused.headers["X-RateLimit-Remaining"]) == ("5", "0")
    stingy.api.app.clock.advance(3.3)
    assert (await stingy.get()).headers["X-RateLimit-Remaining"] == "4"


async def test_a_refused_request_does_nothing(stingy: DialbirdClient) -> None:
    for _ in range(5):
        await stingy.get()
    body = {"event_type": "call.incoming.completed", "target_url": "https://example.com/"}
    assert code_of(await stingy.post(body)) == "rate_limited"
    stingy.api.app.clock.advance(60)
    assert (await stingy.get()).json() == []


async def test_each_client_of_a_business_has_its_own_budget_and_so_has_another_business(
    stingy: DialbirdClient,
) -> None:
    stranger = await stingy.api.new_key("api:webhooks", organization_id=await stingy.api.new_organization())
    sibling = await stingy.api.new_key("api:webhooks")
    for _ in range(6):
        last = await stingy.get()
    assert last.status_code == 429
    for key in (sibling, stranger):
        assert (await stingy.get(key=key)).headers["X-RateLimit-Remaining"] == "4"


async def test_health_counts_per_ip_address_and_not_with_guessed_tokens(stingy: DialbirdClient) -> None:
    for left in ("2", "1", "0"):
        assert (await stingy.get("/health", key="")).headers["X-RateLimit-Remaining"] == left
    assert code_of(await stingy.get("/health")) == "rate_limited"
    guesses = [await stingy.get(key="od_live_" + "x" * 32) for _ in range(4)]
    assert [code_of(guess) for guess in guesses] == ["invalid_token"] * 3 + ["rate_limited"]
    assert (await stingy.get()).status_code == 200


async def test_without_redis_a_process_counts_by_itself(stingy: DialbirdClient) -> None:
    async with stingy.api.without_redis():
        answers = [await stingy.get(path) for path in (SUBSCRIPTIONS, ME, f"{SUBSCRIPTIONS}/1", ME, ME, ME)]
        assert [answer.status_code for answer in answers] == [200, 200, 404, 200, 200, 429]
        assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["4", "3", "2", "1", "0", "0"]


async def test_other_surfaces_have_their_own_limits(stingy: DialbirdClient) -> None:
    for _ in range(7):
        answer = await stingy.api.get("/api/v1/webhooks")
        assert (answer.status_code, "X-RateLimit-Limit" in answer.headers) == (200, False)
    assert (await stingy.get()).headers["X-RateLimit-Remaining"] == "4"


async def test_a_health_check_passes_when_other_clients_exhaust_the_limit_of_its_address(
    sqlite_url: str, valkey_url: str
) -> None:
    async with open_api(sqlite_url, valkey_url, anonymous_rate_limit=100) as api:

        async def ask(port: int) -> int:
            transport = httpx.ASGITransport(api.asgi, client=("192.0.2.1", port))
            async with httpx.AsyncClient(transport=transport, base_url="http://sendoff") as client:
                return (await client.get("/health")).status_code

        flood = [await ask(1) for _ in range(120)]
        assert flood == [200] * 100 + [429] * 20
        assert [await ask(2), await ask(3), await ask(3), await ask(3)] == [200, 200, 200, 429]


async def test_behind_a_trusted_proxy_each_client_has_a_limit_of_its_own(sqlite_url: str, valkey_url: str) -> None:
    settings = {"anonymous_rate_limit": 2, "trusted_proxies": "127.0.0.0/8"}
    async with open_api(sqlite_url, valkey_url, **settings) as api:

        async def ask(*addresses: str) -> int:
            headers = {"X-Forwarded-For": ", ".join(addresses)} if addresses else {}
            return (await api.get("/health", key="", headers=headers)).status_code

        assert [await ask("198.51.100.1") for _ in range(3)] == [200, 200, 429]
        assert await ask("198.51.100.2") == 200
        assert await ask("198.51.100.9", "198.51.100.1") == 429
        assert await ask() == 200
