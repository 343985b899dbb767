"""The system's resolver, with lookups that the test answers."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from sendoff.policy.addresses import check_url
from sendoff.wire.errors import LocalFailure, NameNotFound, TimedOut
from sendoff.wire.http.client import Client
from sendoff.wire.net.resolver import Answer, SystemResolver, look_up
from tests.integration.wire.receivers import LOOPBACK
from tests.support.polling import eventually

HERE = (ip_address("127.0.0.1"),)


class Lookups:
    """Answers at once, except for names that start with `slow`, which wait until they are released."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.released = threading.Event()
        self.answer: Answer = HERE

    def __call__(self, host: str) -> Answer:
        self.asked.append(host)
        if host.startswith("slow"):
            self.released.wait(20)
        return self.answer


@pytest.fixture
def lookups() -> Iterator[Lookups]:
    running = Lookups()
    yield running
    running.released.set()


async def test_an_answer_is_kept_for_a_while(lookups: Lookups) -> None:
    resolver = SystemResolver(look_up=lookups)

    assert [await resolver.resolve("a.example") for _ in range(3)] == [HERE] * 3
    assert lookups.asked == ["a.example"]


async def test_an_answer_is_not_kept_for_longer(lookups: Lookups) -> None:
    resolver = SystemResolver(look_up=lookups, keep_seconds=0)

    await resolver.resolve("a.example")
    lookups.answer = (ip_address("127.0.0.2"),)
    assert await resolver.resolve("a.example") == lookups.answer


async def test_simultaneous_questions_share_one_lookup(lookups: Lookups) -> None:
    resolver = SystemResolver(look_up=lookups)
    asking = [asyncio.create_task(resolver.resolve("slow.example")) for _ in range(10)]
    await eventually(lambda: lookups.asked)
    lookups.released.set()

    assert await asyncio.gather(*asking) == [HERE] * 10
    assert lookups.asked == ["slow.example"]


async def test_one_who_gives_up_does_not_spoil_it_for_the_others(lookups: Lookups) -> None:
    resolver = SystemResolver(look_up=lookups)
    impatient = asyncio.create_task(resolver.resolve("slow.example"))
    patient = asyncio.create_task(resolver.resolve("slow.example"))
    await eventually(lambda: lookups.asked)
    impatient.cancel()
    lookups.released.set()

    assert await patient == HERE


async def test_names_that_never_resolve_do_not_hold_up_the_others(lookups: Lookups) -> None:
    resolver = SystemResolver(look_up=lookups, threads=2, slow_threads=2, slow_after_seconds=0.05)
    hanging = [asyncio.create_task(resolver.resolve(f"slow{number}.example")) for number in range(4)]
    try:
        async with asyncio.timeout(5):
            for number in range(5):
                assert await resolver.resolve(f"quick{number}.example") == HERE
    finally:
        lookups.released.set()
        await asyncio.gather(*hanging)


async def test_a_name_that_was_slow_once_waits_in_the_line_of_the_slow(lookups: Lookups) -> None:
    resolver = SystemResolver(look_up=lookups, threads=1, slow_threads=1, slow_after_seconds=0.05, keep_seconds=0)
    first = asyncio.create_task(resolver.resolve("slow.example"))
    async with asyncio.timeout(5):
        await resolver.resolve("quick.example")  # possible only once the slow one has left the line
        lookups.released.set()
        await first
        lookups.released.clear()
        second = asyncio.create_task(resolver.resolve("slow.example"))
        await eventually(lambda: lookups.asked.count("slow.example") == 2)
        assert await resolver.resolve("other.example") == HERE  # on a busy machine the first may have been slow, too
        lookups.released.set()
        assert await second == HERE


async def test_slow_names_of_one_domain_leave_threads_to_the_names_of_others(lookups: Lookups) -> None:
    resolver = SystemResolver(look_up=lookups, threads=8, slow_after_seconds=60)
    hanging = [asyncio.create_task(resolver.resolve(f"slow{number}.hostile.example")) for number in range(800)]
    try:
        await eventually(lambda: len(lookups.asked) == 2)
        async with asyncio.timeout(5):
            for number in range(5):
                assert await resolver.resolve(f"quick.victim{number}.example") == HERE
        assert sum(name.startswith("slow") for name in lookups.asked) == 2
        assert resolver.is_queued("slow799.hostile.example")
        assert not resolver.is_queued("slow0.hostile.example")
    finally:
        lookups.released.set()
        assert await asyncio.gather(*hanging) == [HERE] * 800


async def test_domains_take_turns_when_all_threads_are_busy(lookups: Lookups) -> None:
    resolver = SystemResolver(look_up=lookups, threads=1, slow_after_seconds=60)
    names = [f"slow{number}.hostile.example" for number in range(50)]
    asking = [asyncio.create_task(resolver.resolve(name)) for name in [*names, "quick.victim.test"]]
    await eventually(lambda: lookups.asked)
    lookups.released.set()
    await asyncio.gather(*asking)

    assert lookups.asked.index("quick.victim.test") <= 2


async def test_a_deadline_that_passes_in_the_queue_is_a_failure_of_this_side(lookups: Lookups) -> None:
    resolver = SystemResolver(look_up=lookups, threads=1, slow_after_seconds=60)
    async with Client(LOOPBACK, resolver=resolver) as client:
        started = asyncio.create_task(client.check(check_url("http://slow1.example/", LOOPBACK), timeout=0.5))
        await eventually(lambda: lookups.asked)
        with pytest.raises(LocalFailure, match="other host names"):
            await client.check(check_url("http://slow2.example/", LOOPBACK), timeout=0.2)
        with pytest.raises(TimedOut):
            await started


async def test_a_question_that_nobody_waits_for_any_more_is_not_asked(lookups: Lookups) -> None:
    resolver = SystemResolver(look_up=lookups, threads=1, slow_after_seconds=60)
    first = asyncio.create_task(resolver.resolve("slow1.example"))
    await eventually(lambda: lookups.asked)
    abandoned = asyncio.create_task(resolver.resolve("slow2.example"))
    await asyncio.sleep(0)
    abandoned.cancel()
    await asyncio.wait([abandoned])
    lookups.released.set()
    await first

    assert await resolver.resolve("quick.example") == HERE
    assert lookups.asked == ["slow1.example", "quick.example"]


async def test_a_name_that_does_not_exist_is_remembered_and_a_resolver_that_is_down_is_not(lookups: Lookups) -> None:
    resolver = SystemResolver(look_up=lookups)
    lookups.answer = NameNotFound("no such name")
    for _ in range(2):
        with pytest.raises(NameNotFound, match="no such name"):
            await resolver.resolve("a.example")
    lookups.answer = LocalFailure("down")
    for _ in range(2):
        with pytest.raises(LocalFailure, match="down"):
            await resolver.resolve("b.example")

    assert lookups.asked == ["a.example", "b.example", "b.example"]


async def test_a_machine_without_threads_is_our_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    resolver = SystemResolver()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(LocalFailure):
        await resolver.resolve("a.example")
    monkeypatch.undo()

    assert ip_address("127.0.0.1") in await resolver.resolve("localhost")


async def test_a_lookup_that_breaks_is_our_failure_and_gives_its_place_back() -> None:
    def breaks(host: str) -> Answer:
        raise OSError(24, "Too many open files")

    resolver = SystemResolver(look_up=breaks, threads=1)
    for _ in range(3):
        with pytest.raises(LocalFailure, match="OSError"):
            await resolver.resolve("a.example")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), NameNotFound),
        (socket.gaierror(socket.EAI_NODATA, "No address associated with hostname"), NameNotFound),
        (socket.gaierror(socket.EAI_FAIL, "Non-recoverable failure in name resolution"), NameNotFound),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), LocalFailure),
        (socket.gaierror(socket.EAI_MEMORY, "Memory allocation failure"), LocalFailure),
    ],
)
def test_a_failed_lookup_says_whose_failure_it_is(
    error: Exception, expected: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert isinstance(look_up("a.example"), expected)


def test_a_lookup_gives_every_address_once_and_without_its_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(*_: object, **__: object) -> list[tuple[object, ...]]:
        sockaddrs = [("10.0.0.1", 0), ("10.0.0.1", 0), ("fe80::1%eth0", 0, 0, 2)]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", sockaddr) for sockaddr in sockaddrs]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    assert look_up("a.example") == (ip_address("10.0.0.1"), ip_address("fe80::1"))


def test_the_system_knows_its_own_name() -> None:
    answer = look_up("localhost")
    assert isinstance(answer, tuple)
    assert any(address.is_loopback for address in answer)
