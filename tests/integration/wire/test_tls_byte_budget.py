"""What a receiver sends between handshake and answer, for which HTTP has no name, is bounded too."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from sendoff.wire.errors import TlsFailed
from sendoff.wire.http.client import Client
from tests.integration.wire.receivers import LOOPBACK, OK, Behaviour, FixedResolver, receiving
from tests.integration.wire.records import ALERT, DATA, HandMade, Records
from tests.support.polling import eventually

BODY = b"{}"

FLOODS: dict[str, Callable[[Records], bytes]] = {
    "tickets": lambda records: records.ticket(1_000),
    "the smallest tickets": lambda records: b"".join(records.ticket(1) for _ in range(100)),
    "changes of keys": lambda records: records.change_of_keys(asks_back=False),
    "changes of keys that ask for ours": lambda records: records.change_of_keys(asks_back=True),
    "empty records": lambda records: b"".join(records.seal(DATA, b"") for _ in range(100)),
    "empty records of padding": lambda records: records.seal(DATA, b"", padding=16_000),
    "warnings": lambda records: records.seal(ALERT, b"\x01\x5a"),
    "padding around single bytes": lambda records: records.seal(DATA, b"x", padding=16_000),
}


@pytest.fixture
def hand_made(ca: trustme.CA, tmp_path: Path) -> HandMade:
    ca.issue_cert("hooks.example").private_key_and_cert_chain_pem.write_to_path(tmp_path / "hooks.pem")
    return HandMade(tmp_path / "hooks.pem", tmp_path)


@pytest.fixture
def client(trusting: ssl.SSLContext) -> Client:
    return Client(LOOPBACK, ssl_context=trusting, resolver=FixedResolver(hooks_example=[["127.0.0.1"]]))


async def send(client: Client, behave: Behaviour) -> bytes:
    async with client, receiving(behave) as receiver:
        receiver.scheme = "https"
        response = await client.send(receiver.target(host="hooks.example"), b"", BODY, timeout=20)
        return response.body


@pytest.mark.parametrize("name", FLOODS)
async def test_records_that_bring_no_answer_end_the_exchange_long_before_its_deadline(
    client: Client, hand_made: HandMade, name: str
) -> None:
    with pytest.raises(TlsFailed, match="encrypted connection broke"):
        await send(client, hand_made.flood(FLOODS[name]))


@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_on_an_idle_connection_closes_it(client: Client, hand_made: HandMade, name: str) -> None:
    async with client, receiving(hand_made.flood(FLOODS[name], start=OK)) as receiver:
        receiver.scheme = "https"
        assert (await client.send(receiver.target(host="hooks.example"), b"", BODY, timeout=20)).body == b"ok"
        await eventually(lambda: not client._open, what="the connection is closed")


async def test_some_tickets_padding_and_key_updates_are_tolerated(client: Client, hand_made: HandMade) -> None:
    async def answers(records: Records) -> None:
        def data(content: bytes) -> bytes:
            return records.seal(DATA, content, padding=-len(content) % 4_096)

        start = [
            records.ticket(2_000),
            records.ticket(2_000),
            data(b"HTTP/1.1 200 OK\r\nContent-Length: 15000\r\n\r\n"),
        ]
        await records.peer.send(b"".join(start))
        for _ in range(150):
            await records.peer.send(data(b"x" * 100))
            if _ % 10 == 0:
                await records.peer.send(records.change_of_keys(asks_back=True) + records.ticket(300))
            await asyncio.sleep(0)
        await records.peer.gone()

    assert await send(client, hand_made.after_the_request(answers)) == b"x" * 15_000
