"""The address guard at the moment of connecting, with a resolver under the test's control."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator, Sequence
from ipaddress import ip_address, ip_network

import pytest

from sendoff.policy.endpoints.addresses import Address, AddressPolicy, check_url
from sendoff.wire.errors import ConnectFailed, LocalFailure, NameNotFound, RefusedAddress, TimedOut
from sendoff.wire.http.client import Client
from sendoff.wire.net import sockets
from tests.integration.wire.receivers import LOOPBACK, OK, FixedResolver, Peer, RawReceiver, receiving, well_behaved

BODY = b"{}"
PLAIN_HTTP = AddressPolicy(allow_http=True)
# Only one of loopback's addresses is allowed, so that a listener on 127.0.0.1 stands for a public receiver and
# every other address for one that must not be reached.
ONE_RECEIVER = AddressPolicy(allow_networks=(ip_network("127.0.0.1/32"),), allow_http=True)


def named(receiver: RawReceiver, host: str = "hooks.example") -> str:
    return f"http://{host}:{receiver.port}/"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (["127.0.0.1"], "loopback"),
        (["::1"], "loopback"),
        (["::ffff:127.0.0.1"], "ipv4_mapped"),
        (["169.254.169.254"], "metadata"),
        (["10.0.0.1"], "private"),
        (["8.8.8.8", "127.0.0.1"], "loopback"),
        (["127.0.0.1", "8.8.8.8"], "loopback"),
        (["2606:4700:4700::1111", "fd00::1"], "unique_local"),
    ],
)
async def test_one_refused_address_of_a_name_refuses_the_dial(
    answer: list[str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(addresses: object, port: object) -> None:
        pytest.fail("a socket was opened")

    monkeypatch.setattr("sendoff.wire.net.dialer.open_first", never)
    async with Client(PLAIN_HTTP, resolver=FixedResolver(hooks_example=[answer])) as client:
        with pytest.raises(RefusedAddress) as refused:
            await client.send(check_url("http://hooks.example/", PLAIN_HTTP), b"", BODY, timeout=5)

    assert refused.value.reason == reason
    assert not refused.value.is_local
    assert not any(address in str(refused.value) for address in answer)


async def test_a_name_that_is_rebound_after_its_registration_is_refused_at_the_attempt() -> None:
    resolver = FixedResolver(hooks_example=[["127.0.0.1"], ["127.0.0.2"]])

    async def closes(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")

    async with Client(ONE_RECEIVER, resolver=resolver) as client, receiving(closes) as receiver:
        target = check_url(named(receiver), ONE_RECEIVER)
        assert (await client.send(target, b"", BODY, timeout=5)).status == 200
        for _ in range(2):
            with pytest.raises(RefusedAddress):
                await client.send(target, b"", BODY, timeout=5)

    assert receiver.connections == 1
    assert resolver.asked == ["hooks.example"] * 3


async def test_the_name_is_looked_up_once_for_a_dial_and_the_checked_address_is_the_one_connected_to() -> None:
    resolver = FixedResolver(hooks_example=[["127.0.0.1"], ["127.0.0.2"]])

    async with Client(ONE_RECEIVER, resolver=resolver) as client, receiving(well_behaved) as receiver:
        response = await client.send(check_url(named(receiver), ONE_RECEIVER), b"", BODY, timeout=5)

    assert response.status == 200
    assert resolver.asked == ["hooks.example"]


async def test_a_connection_stays_with_its_host_name_when_another_name_has_the_same_address() -> None:
    resolver = FixedResolver(hooks_example=[["127.0.0.1"]], other_example=[["127.0.0.1"]])
    hosts: list[tuple[int, bytes]] = []

    async def notes(peer: Peer) -> None:
        while True:
            request = await peer.request()
            hosts.append((peer.number, request.split(b"\r\n")[1].partition(b":")[2].strip().partition(b":")[0]))
            await peer.send(OK)

    async with Client(LOOPBACK, resolver=resolver) as client, receiving(notes) as receiver:
        for host in ("hooks.example", "other.example", "hooks.example", "other.example"):
            await client.send(check_url(named(receiver, host), LOOPBACK), b"", BODY, timeout=5)

    assert hosts == [(1, b"hooks.example"), (2, b"other.example"), (1, b"hooks.example"), (2, b"other.example")]


async def test_a_literal_address_is_judged_again_at_the_dial() -> None:
    async with Client(PLAIN_HTTP) as strict, receiving(well_behaved) as receiver:
        with pytest.raises(RefusedAddress):
            await strict.send(receiver.target(), b"", BODY, timeout=5)

    assert receiver.connections == 0


@pytest.mark.parametrize("answers", [{}, {"hooks_example": [[]]}])
async def test_a_name_without_an_address_is_not_found(answers: dict[str, Sequence[Sequence[str]]]) -> None:
    async with Client(LOOPBACK, resolver=FixedResolver(**answers)) as client:
        with pytest.raises(NameNotFound) as failed:
            await client.send(check_url("http://hooks.example/", LOOPBACK), b"", BODY, timeout=5)

    assert not failed.value.is_local


async def test_a_resolver_that_hangs_costs_the_deadline() -> None:
    class Hanging:
        def is_queued(self, host: str) -> bool:
            return False

        async def resolve(self, host: str, **_options: object) -> Sequence[Address]:
            await asyncio.Event().wait()
            return []

    async with Client(LOOPBACK, resolver=Hanging()) as client:
        with pytest.raises(TimedOut) as timed_out:
            await client.send(check_url("http://hooks.example/", LOOPBACK), b"", BODY, timeout=0.1)

    assert timed_out.value.phase == "resolve"


# Several addresses


async def test_the_next_address_is_tried_when_one_refuses() -> None:
    resolver = FixedResolver(hooks_example=[["127.0.0.3", "127.0.0.2", "127.0.0.1"]])

    async with Client(LOOPBACK, resolver=resolver) as client, receiving(well_behaved) as receiver:
        response = await client.send(check_url(named(receiver), LOOPBACK), b"", BODY, timeout=5)

    assert response.status == 200


@contextlib.contextmanager
def unresponsive(address: str, port: int = 0) -> Iterator[int]:
    """A port whose queue of connections is full: it neither accepts nor refuses."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((address, port))
        listener.listen(0)
        name = listener.getsockname()
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(name)
        yield name[1]


async def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    resolver = FixedResolver(hooks_example=[["127.0.0.2", "127.0.0.1"]])

    async with Client(LOOPBACK, resolver=resolver) as client, receiving(well_behaved) as receiver:
        with unresponsive("127.0.0.2", receiver.port):
            response = await client.send(check_url(named(receiver), LOOPBACK), b"", BODY, timeout=5)

    assert response.status == 200


@pytest.mark.parametrize("addresses", [["127.0.0.2"], ["127.0.0.2", "127.0.0.2"]])
async def test_an_address_that_does_not_answer_costs_the_deadline(addresses: list[str]) -> None:
    with unresponsive("127.0.0.2") as port:
        target = check_url(f"http://hooks.example:{port}/", LOOPBACK)
        async with Client(LOOPBACK, resolver=FixedResolver(hooks_example=[addresses])) as client:
            with pytest.raises(TimedOut) as timed_out:
                await client.send(target, b"", BODY, timeout=0.4)

    assert timed_out.value.phase == "connect"


async def test_a_receiver_that_does_not_shake_hands_costs_the_deadline() -> None:
    async def silent(peer: Peer) -> None:
        await peer.gone()

    async with Client(LOOPBACK) as client, receiving(silent) as receiver:
        receiver.scheme = "https"
        with pytest.raises(TimedOut) as timed_out:
            await client.send(receiver.target(), b"", BODY, timeout=0.2)

    assert timed_out.value.phase == "tls"


# Whose failure it is


@pytest.mark.parametrize(
    ("codes", "is_local"),
    [
        ([errno.ENETUNREACH], True),
        ([errno.EMFILE], True),
        ([errno.ENFILE], True),
        ([errno.ENOBUFS], True),
        ([errno.EADDRNOTAVAIL], True),
        ([errno.ENETUNREACH, errno.EAFNOSUPPORT], True),
        ([errno.ECONNREFUSED], False),
        ([errno.EHOSTUNREACH], False),
        ([errno.ETIMEDOUT], False),
        ([errno.ECONNREFUSED, errno.ENETUNREACH], False),
        ([errno.ENETUNREACH, errno.ECONNRESET], False),
    ],
)
async def test_a_failure_to_connect_is_local_only_if_no_address_was_reached_for(
    codes: list[int], is_local: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = list(codes)

    async def fail(address: Address, port: int) -> socket.socket:
        raise OSError(left.pop(0), f"Connect call failed ('{address}', {port})")

    monkeypatch.setattr(sockets, "open_socket", fail)
    addresses = [f"127.0.0.{number + 1}" for number in range(len(codes))]
    async with Client(LOOPBACK, resolver=FixedResolver(hooks_example=[addresses])) as client:
        with pytest.raises(LocalFailure if is_local else ConnectFailed) as failed:
            await client.send(check_url("http://hooks.example/", LOOPBACK), b"", BODY, timeout=5)

    assert failed.value.is_local is is_local
    assert "127.0.0." not in str(failed.value)


async def test_losing_addresses_of_a_race_are_closed() -> None:
    async with receiving(well_behaved) as receiver:
        candidates = [ip_address(f"127.0.0.{number}") for number in (9, 8, 1)]
        winner = await sockets.open_first(candidates, receiver.port)
        assert winner.getpeername() == ("127.0.0.1", receiver.port)
        winner.close()
