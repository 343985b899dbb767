"""Nobody is reached through us: a thousand hostile URLs are registered, and not one connection is opened."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sendoff.policy.endpoints.addresses import Address
from sendoff.wire.net import sockets
from tests.integration.api.api_fixture import ApiFixture, open_api
from tests.integration.api.hostile_urls import FAMILIES, INTERNAL, INTERNAL_V6, RESOLVED
from tests.integration.wire.receivers import FixedResolver
from tests.support.exchange import Reply
from tests.support.receiver import Receiver
from tests.support.tls import Authority

PUBLIC = "93.184.215.14"
STRICT = {"dangerously_allow_networks": [], "dangerously_allow_http": False}


@dataclass
class Network:
    """Between us and the api: notes every attempt to connect, and lets only what leads to `PUBLIC` through, to
    loopback, where the tests' own receiver stands for a public one.
    """

    attempts: list[tuple[Address, int]] = field(default_factory=list)

    async def open_socket(self, address: Address, port: int) -> socket.socket:
        self.attempts.append((address, port))
        if str(address) != PUBLIC:
            raise OSError(111, "Connection refused")
        sock = socket.socket()
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        return sock


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    noted = Network()
    monkeypatch.setattr(sockets, "open_socket", noted.open_socket)
    return noted


@pytest.fixture
async def strict(sqlite_url: str, valkey_url: str, network: Network) -> AsyncIterator[ApiFixture]:
    """An API with the settings that production has: nothing dangerous is allowed."""
    async with open_api(sqlite_url, valkey_url, **STRICT) as api:
        yield api


def resolve(api: ApiFixture, names: Mapping[str, Sequence[Sequence[str]]]) -> FixedResolver:
    """The given names resolve, all others do not."""
    resolver = FixedResolver(**{name.replace(".", "_"): answers for name, answers in names.items()})
    api.app.context.wire._dialer._resolver = resolver
    return resolver


async def register(api: ApiFixture, url: str) -> Any:
    """The answer's detail; the status must be the contract's 400."""
    api.app.clock.advance(60)  # away from the rate limits
    answer = await api.post("/api/v1/webhooks", {"url": url})
    assert answer.status_code == 400, (url, answer.status_code, answer.text)
    return answer.json()["detail"]


async def refused(api: ApiFixture, urls: Iterable[str]) -> int:
    """How many there were; each refused with a sentence."""
    count = 0
    for count, url in enumerate(urls, start=1):  # noqa: B007 - the count is what is asked for
        detail = await register(api, url)
        assert isinstance(detail, str), (url, detail)
        assert len(detail) > 10, (url, detail)
    return count


@pytest.mark.parametrize("family", FAMILIES)
async def test_hostile_urls_are_refused_with_a_reason_before_anything_is_looked_up_or_dialed(
    strict: ApiFixture, network: Network, family: str
) -> None:
    resolver = resolve(strict, {"example.com": [[PUBLIC]]})
    assert await refused(strict, FAMILIES[family]()) >= 20
    assert network.attempts == []
    assert resolver.asked == []
    assert (await strict.get("/api/v1/webhooks")).json() == []


async def test_a_change_of_the_url_is_refused_with_the_same_error(
    strict: ApiFixture, network: Network, authority: Authority, tmp_path: Path
) -> None:
    # The same guard stands before a change; a sample of each family is enough to see that it does.
    async with (
        Receiver.start(tls=authority.server_context("hooks.example.com")) as receiver,
        open_api(
            strict.app.context.settings.database_url,
            strict.app.context.settings.redis_url,
            ca_file=authority.ca_file,
            **STRICT,
        ) as api,
    ):
        resolve(api, {"hooks.example.com": [[PUBLIC]]})
        webhook = await api.register(receiver.url("/hook", host="hooks.example.com"))
        before = len(network.attempts)
        for family in FAMILIES.values():
            for url in list(family())[::7]:
                api.app.clock.advance(60)
                answer = await api.patch(f"/api/v1/webhooks/{webhook['id']}", {"url": url})
                assert (answer.status_code, type(answer.json()["detail"])) == (400, str), (url, answer.text)
        assert len(network.attempts) == before
        assert (await api.get(f"/api/v1/webhooks/{webhook['id']}")).json()["url"] == webhook["url"]


async def test_a_subscription_is_refused_with_the_same_error(strict: ApiFixture, network: Network) -> None:
    names = {name: [answer] for name, answer in RESOLVED.items() if answer}
    resolve(strict, names)
    urls = [url for family in FAMILIES.values() for url in list(family())[::5]]
    for url in [*urls, *(f"https://{name}/" for name in names)]:
        strict.app.clock.advance(60)
        body = {"event_type": "call.incoming.completed", "target_url": url}
        answer = await strict.post("/api/v1/subscriptions", body)
        assert answer.status_code == 400, (url, answer.text)
        error = answer.json()["error"]
        assert (error["code"], error["field"]) == ("validation_error", "target_url"), (url, error)
    assert network.attempts == []


async def test_names_that_resolve_to_internal_addresses_are_refused_without_revealing_the_address(
    strict: ApiFixture, network: Network
) -> None:
    everything = {f"n{number}.attacker.example": [address] for number, address in enumerate(INTERNAL + INTERNAL_V6)}
    names = RESOLVED | everything
    resolve(strict, {name: [answer] for name, answer in names.items()})
    for name, addresses in names.items():
        detail = await register(strict, f"https://{name}/")
        assert detail["error"] == "ping_failed"
        assert detail["status_code"] is None
        assert not addresses or "not public" in detail["underlying_error"], detail
        assert not any(address in str(detail).replace(name, "") for address in addresses), detail
    assert network.attempts == []


async def test_a_name_that_changes_its_address_is_judged_at_each_dial(
    strict: ApiFixture, network: Network, authority: Authority
) -> None:
    """Setup: a receiver whose name resolves to a public address once or twice and to loopback from then on.

    Timeline: it is registered while the name is public; the name changes; an event is published, retried, given up.
    What this proves: neither the registration's second look nor any attempt connects to the new address.
    """
    async with Receiver.start(tls=authority.server_context("rebinding.example.com")) as receiver:
        settings = strict.app.context.settings
        async with open_api(settings.database_url, settings.redis_url, ca_file=authority.ca_file, **STRICT) as api:
            public, loopback = [PUBLIC], ["127.0.0.1"]
            url = receiver.url("/hook", host="rebinding.example.com")
            # The first look is the rate limit's, the second is the ping's own.
            resolve(api, {"rebinding.example.com": [public, loopback]})
            detail = await register(api, url)
            assert "not public (loopback)" in detail["underlying_error"]
            assert network.attempts == []

            resolve(api, {"rebinding.example.com": [public, public, loopback]})
            await api.register(url)
            await forget_connections(api)
            await api.publish()
            for wait in (0.0, *settings.retry_schedule):
                api.app.clock.advance(wait)
                await api.app.work()
            [letter] = (await api.get("/operator/v1/dead-letters")).json()["data"]
            assert letter["reason"] == "rejected_address"
            assert "127.0.0.1" not in letter["last_error"]
        assert [str(address) for address, _ in network.attempts] == [PUBLIC]
        assert [request.header("X-OptimalDial-Event") for request in receiver.requests()] == ["webhook.ping"]


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 305, 307, 308])
async def test_redirects_are_never_followed(
    strict: ApiFixture, network: Network, authority: Authority, receiver: Receiver, status: int
) -> None:
    async with Receiver.start(tls=authority.server_context("redirector.example.com")) as redirector:
        settings = strict.app.context.settings
        async with open_api(settings.database_url, settings.redis_url, ca_file=authority.ca_file, **STRICT) as api:
            resolve(api, {"redirector.example.com": [[PUBLIC]]})
            for location in (
                receiver.url("/secret"),
                "//127.0.0.1/",
                "https://[::1]/",
                "http://169.254.169.254/latest",
            ):
                redirector.program("/hook", Reply(status=status, headers=(("Location", location),)))
                detail = await register(api, redirector.url("/hook", host="redirector.example.com"))
                assert (detail["error"], detail["status_code"]) == ("ping_failed", status)
    assert receiver.requests() == []
    assert {str(address) for address, _ in network.attempts} == {PUBLIC}


async def forget_connections(api: ApiFixture) -> None:
    """As after a while: what was kept open for the ping is closed."""
    api.app.context.wire._pool.close()
