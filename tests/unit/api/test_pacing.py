"""In which order requests of unknown senders begin."""

from __future__ import annotations

import asyncio

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

    def scope(key: bytes) -> dict[str, object]:
        headers = [(b"authorization", b"Bearer " + key)] if key else []
        return {"type": "http", "path": "/api/v1/webhooks", "headers": headers, "client": ("192.0.2.1", 1), "state": {}}

    async def request(key: bytes) -> None:
        await gate.refuse(scope(key))
        order.append(key.decode())

    gate.note(scope(b"valid"), 200, matched=True)
    gate.note(scope(b"refused"), 401, matched=True)
    gate.note(scope(b""), 200, matched=True)
    keys = [b"unknown", b"", b"refused", b"valid"]
    await asyncio.gather(*(request(key) for key in keys))
    assert order == ["unknown", "valid", "", "refused"]
