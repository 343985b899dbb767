"""In which order requests of unknown senders begin."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Scope

from api.http import gate as gates
from api.http.gate import KeyGate
from api.http.server.pacing import Pacer


class Begun(list[str]):
    """The addresses whose requests began, in order."""

    async def request(self, pacer: Pacer, address: str) -> None:
        await pacer.wait(address)
        self.append(address)


async def rounds(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_requests_begin_one_in_a_round_and_addresses_take_turns() -> None:
    pacer, begun = Pacer(), Begun()
    addresses = ["flood"] * 10 + ["single", "another"]
    requests = [asyncio.create_task(begun.request(pacer, address)) for address in addresses]
    await rounds(1)
    assert begun == ["flood"]
    await asyncio.gather(*requests)
    assert begun[:4] == ["flood", "flood", "single", "another"]
    assert sorted(begun) == sorted(addresses)


async def test_a_request_that_is_cancelled_takes_no_turn() -> None:
    pacer, begun = Pacer(), Begun()
    requests = [asyncio.create_task(begun.request(pacer, address)) for address in ("first", "leaves", "stays")]
    await rounds(1)
    requests[1].cancel()
    await asyncio.gather(*requests, return_exceptions=True)
    assert begun == ["first", "stays"]
    await asyncio.wait_for(begun.request(pacer, "later"), 10)


async def test_a_key_that_was_valid_does_not_wait_for_unknown_ones() -> None:
    gate, order = KeyGate(), list[str]()

    async def request(key: str) -> None:
        await gate.refuse(scope(f"Bearer {key}" if key else ""))
        order.append(key)

    gate.note(scope("Bearer valid", is_authenticated=True), 404, matched=True)
    gate.note(scope("Bearer linked"), 200, matched=True)  # of a path that needs no key
    gate.note(scope(""), 200, matched=True)
    await asyncio.gather(*(request(key) for key in ("unknown", "", "linked", "valid")))
    assert order == ["unknown", "valid", "", "linked"]


KEYS, PAGES = "/api/v1/webhooks", "/portal"
SPELLINGS = {
    "of a key": (KEYS, "Bearer key", "bEaReR    key "),
    "of an access token": (KEYS, "Bearer head.claims.signature", "Bearer head.claims.signatur_"),
    "of a session": (PAGES, "sendoff-portal=token", "a=1; sendoff-portal=token; b=2"),
}


@pytest.mark.parametrize("way", SPELLINGS)
async def test_another_spelling_makes_no_new_sender(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "_MOST_SEEN", 2)
    path, plain, other = SPELLINGS[way]
    gate = KeyGate()
    gate.note(scope("Bearer customer", is_authenticated=True), 200, matched=True)
    for sent in (plain, other):
        gate.note(scope(sent, path, is_authenticated=True), 200, matched=True)
    assert await begin_at_once(gate, scope("Bearer customer"), scope(plain, path), scope(other, path))


async def test_the_senders_who_sent_last_stay_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "_MOST_SEEN", 2)
    gate = KeyGate()
    for key in ("regular", "once", "regular", "new"):
        gate.note(scope(f"Bearer {key}", is_authenticated=True), 202, matched=True)
    assert await begin_at_once(gate, scope("Bearer regular"), scope("Bearer new"))
    assert not await begin_at_once(gate, scope("Bearer once"))


def scope(credential: str, path: str = KEYS, *, is_authenticated: bool = False) -> Scope:
    """A request with this header: of a cookie where pages are, of a key elsewhere."""
    name = b"cookie" if path == PAGES else b"authorization"
    return {
        "type": "http",
        "scheme": "http",
        "server": ("localhost", 80),
        "path": path,
        "query_string": b"",
        "headers": [(name, credential.encode())] if credential else [],
        "client": ("192.0.2.1", 1),
        "state": {"is_authenticated": True} if is_authenticated else {},
    }


async def begin_at_once(gate: KeyGate, *requests: Scope) -> bool:
    """Whether all of them begin behind a request of an unknown sender, in the same round."""
    unknown, *others = (asyncio.create_task(gate.refuse(each)) for each in (scope("Bearer unknown"), *requests))
    await rounds(1)
    begun = unknown.done() and all(other.done() for other in others)
    await asyncio.gather(unknown, *others)
    return begun
