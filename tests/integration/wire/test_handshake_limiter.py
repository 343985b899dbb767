"""TLS handshakes take turns: few are under way at once, and receivers that never finish keep nobody from theirs."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

import pytest
import trustme

from sendoff.wire.errors import LocalFailure, TimedOut, TlsFailed, WireError
from sendoff.wire.http.client import Client
from sendoff.wire.http.connection import Origin
from sendoff.wire.http.message import Response
from sendoff.wire.tls import handshake_limiter as turns_module
from sendoff.wire.tls.handshake_limiter import HandshakeLimiter, HandshakePermit
from tests.integration.wire.receivers import LOOPBACK, FixedResolver, Peer, RawReceiver, receiving, well_behaved
from tests.support.polling import eventually

BODY = b"{}"
NAMES = {f"{name}_example": [["127.0.0.1"]] for name in ("stalls", "hooks")}


def origin(name: str) -> Origin:
    return ("https", f"{name}.example", 443)


async def in_line(turns: HandshakeLimiter, *names: str) -> tuple[list[str], list[asyncio.Task[None]]]:
    """Everybody in `names` waits, in this order; the list tells who has had a turn, which each ends at once."""
    served: list[str] = []

    async def takes_a_turn(name: str) -> None:
        turn = await turns.take(origin(name))
        served.append(name)
        await asyncio.sleep(0)
        turn.end()

    tasks = [asyncio.create_task(takes_a_turn(name)) for name in names]
    await asyncio.sleep(0)
    return served, tasks


async def test_the_number_of_handshakes_is_limited() -> None:
    turns = HandshakeLimiter(2)
    first, _second = await turns.take(origin("a")), await turns.take(origin("a"))
    served, tasks = await in_line(turns, "b")
    await asyncio.sleep(0.05)
    assert served == []
    first.end()
    await asyncio.gather(*tasks)
    assert served == ["b"]
    assert turns._free == 1


async def test_hosts_are_served_round_robin() -> None:
    turns = HandshakeLimiter(1)
    turn = await turns.take(origin("a"))
    served, tasks = await in_line(turns, "a", "a", "a", "b", "c", "b")
    turn.end()
    await asyncio.gather(*tasks)
    assert served == ["a", "b", "c", "a", "b", "a"]
    assert turns._free == 1


@pytest.mark.parametrize("ends_first", [True, False], ids=["just as it was its turn", "while it waited"])
async def test_a_cancelled_waiter_takes_no_permit(*, ends_first: bool) -> None:
    turns = HandshakeLimiter(1)
    turn = await turns.take(origin("a"))
    served, (leaves, stays) = await in_line(turns, "b", "c")
    if ends_first:
        turn.end()
        leaves.cancel()
    else:
        leaves.cancel()
        await asyncio.wait([leaves])
        turn.end()
    await stays
    assert served == ["c"]
    assert (turns._free, not turns._waiting) == (1, True)


async def test_a_late_handshake_is_evicted_only_when_another_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns_module, "_PATIENCE_SECONDS", 0.05)
    turns, evicted = HandshakeLimiter(3), list[int]()

    def evicts(number: int, turn: HandshakePermit) -> Callable[[], None]:
        def evict() -> None:
            evicted.append(number)
            turn.end()

        return evict

    for number in range(3):
        turn = await turns.take(origin("a"))
        turn.evict = evicts(number, turn)
    await asyncio.sleep(0.2)
    assert evicted == []
    served, tasks = await in_line(turns, "b")
    await asyncio.gather(*tasks)
    assert (served, evicted) == (["b"], [0])


@pytest.fixture
def client(trusting: ssl.SSLContext) -> Client:
    client = Client(LOOPBACK, ssl_context=trusting, resolver=FixedResolver(**NAMES))
    client._dialer._turns = HandshakeLimiter(2)
    return client


async def stalls(peer: Peer) -> None:
    await peer.gone()


def stalled(client: Client, receiver: RawReceiver, *, seconds: float) -> asyncio.Task[Response]:
    receiver.scheme = "https"
    target = receiver.target(host="stalls.example")
    return asyncio.create_task(client.send(target, b"", BODY, timeout=seconds))


async def test_receivers_that_never_shake_hands_keep_no_other_from_its_delivery(
    client: Client, ca: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns_module, "_PATIENCE_SECONDS", 1.0)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("hooks.example").configure_cert(context)
    async with client, receiving(stalls) as staller, receiving(well_behaved, tls=context) as healthy:
        sending = [stalled(client, staller, seconds=60) for _ in range(20)]
        await eventually(lambda: staller.connections == 20, what="they are all connected")
        response = await client.send(healthy.target(host="hooks.example"), b"", BODY, timeout=30)
        assert response.status == 200
        assert not all(task.done() for task in sending)
        first = await next(asyncio.as_completed([_outcome(task) for task in sending]))
        for task in sending:
            task.cancel()
        await asyncio.wait(sending)
        assert client._dialer._turns._free == 2
    assert isinstance(first, TlsFailed)
    assert "too long" in str(first)


async def _outcome(task: asyncio.Task[Response]) -> Response | WireError:
    try:
        return await task
    except WireError as error:
        return error


async def test_a_handshake_without_a_permit_is_not_charged_to_the_receiver(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns_module, "_PATIENCE_SECONDS", 60)
    gone: list[int] = []

    async def watches(peer: Peer) -> None:
        await peer.gone()
        gone.append(peer.number)

    async with client, receiving(watches) as receiver:
        under_way = [stalled(client, receiver, seconds=4) for _ in range(2)]
        await eventually(lambda: client._dialer._turns._free == 0, what="all turns are taken")
        with pytest.raises(LocalFailure, match="nothing was sent"):
            await stalled(client, receiver, seconds=1)
        for task in under_way:
            with pytest.raises(TimedOut):
                await task
        await eventually(lambda: len(gone) == 3, what="all connections are closed")
        assert client._dialer._turns._free == 2
