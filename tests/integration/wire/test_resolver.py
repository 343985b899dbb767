"""The system's resolver, with lookups that the test answers."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from sendoff.policy.endpoints.addresses import check_url
from sendoff.wire.errors import LocalFailure, NameLookupFailed, NameNotFound, NameUnanswered, TimedOut
from sendoff.wire.http.client import Client
from sendoff.wire.net.resolver import Answer, SystemResolver, is_local_name, look_up
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


async def test_slow_names_of_one_organization_leave_threads_to_other_organizations(lookups: Lookups) -> None:
    resolver = SystemResolver(look_up=lookups, threads=8, slow_threads=4, slow_after_seconds=0.05)
    names = [f"slow.hostile{number}.example{number}" for number in range(800)]
    hanging = [asyncio.create_task(resolver.resolve(name, owner="hostile")) for name in names]
    try:
        await eventually(lambda: len(lookups.asked) == 3)
        await eventually(lambda: len(resolver._slow_names) == 3, what="those under way turned out slow")
        for number in range(20):
            assert await resolver.resolve(f"quick.victim{number}.test", owner="victim") == HERE
        assert lookups.asked[3:] == [f"quick.victim{number}.test" for number in range(20)]
    finally:
        lookups.released.set()
        assert await asyncio.gather(*hanging) == [HERE] * 800


async def test_an_organization_waits_for_at_most_one_lookup_of_another(lookups: Lookups) -> None:
    resolver = SystemResolver(look_up=lookups, threads=1, slow_after_seconds=60)
    names = [*(f"slow.hostile{number}.example" for number in range(50)), "quick.shared.example"]
    asking = [asyncio.create_task(resolver.resolve(name, owner="hostile")) for name in names]
    await eventually(lambda: lookups.asked)
    asking.append(asyncio.create_task(resolver.resolve("quick.shared.example", owner="victim")))
    await asyncio.sleep(0)
    lookups.released.set()
    await asyncio.gather(*asking)

    assert lookups.asked.index("quick.shared.example") <= 2
    assert lookups.asked.count("quick.shared.example") == 1
    assert not resolver._queue._queues


async def test_domains_are_served_round_robin_when_all_threads_are_busy(lookups: Lookups) -> None:
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


async def test_a_lookup_without_waiters_is_not_started(lookups: Lookups) -> None:
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


class FailingName:
    """Every name is answered except `broken`, or none while `is_down`."""

    def __init__(self, broken: str) -> None:
        self.broken = broken
        self.is_down = False
        self.asked: list[str] = []

    def __call__(self, host: str) -> Answer:
        self.asked.append(host)
        if self.is_down or host == self.broken:
            return NameUnanswered("no answer")
        return HERE


async def test_a_name_without_an_answer_is_charged_when_others_were_answered_since() -> None:
    lookups = FailingName("broken.example")
    resolver = SystemResolver(look_up=lookups, keep_failure_seconds=60)
    with pytest.raises(LocalFailure):
        await resolver.resolve("broken.example")
    await resolver.resolve("healthy.example")
    for _ in range(5):
        with pytest.raises(NameLookupFailed, match="Correct the DNS") as failed:
            await resolver.resolve("broken.example")
        assert not failed.value.is_local

    assert lookups.asked == ["broken.example", "healthy.example", "broken.example"]


async def test_answers_from_before_the_failure_or_without_the_dns_are_not_charged() -> None:
    lookups = FailingName("broken.example")
    resolver = SystemResolver(look_up=lookups, keep_failure_seconds=0)
    await resolver.resolve("healthy.example")
    with pytest.raises(LocalFailure):
        await resolver.resolve("broken.example")
    for name in ("healthy.example", "localhost", "database", "app.localhost"):
        await resolver.resolve(name)
    with pytest.raises(LocalFailure):
        await resolver.resolve("broken.example")


async def test_an_outage_of_the_resolver_is_ours_and_ends_with_the_first_answer() -> None:
    lookups = FailingName("")
    resolver = SystemResolver(look_up=lookups, keep_failure_seconds=60)
    lookups.is_down = True
    for name in ("a.example", "b.example", "a.example", "b.example"):
        with pytest.raises(LocalFailure):
            await resolver.resolve(name)
    assert lookups.asked == ["a.example", "b.example"]
    lookups.is_down = False
    await resolver.resolve("c.example")
    assert await resolver.resolve("a.example") == HERE
    assert await resolver.resolve("b.example") == HERE


async def test_a_name_without_an_answer_is_looked_up_at_growing_intervals() -> None:
    resolver = SystemResolver(look_up=FailingName("broken.example"), keep_failure_seconds=5)
    loop = asyncio.get_running_loop()
    waits = []
    for _ in range(8):
        resolver._kept.clear()
        with pytest.raises(LocalFailure):
            await resolver.resolve("broken.example")
        waits.append(round((resolver._kept["broken.example"].until - loop.time()) / 5))
    assert waits == [1, 2, 4, 8, 16, 24, 24, 24]


def test_a_name_in_the_hosts_file_is_local(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text(
        "127.0.0.1 localhost\n10.0.0.1\tapp.internal  Other.Internal # www.example\n#10.0.0.2 old.example\n"
    )
    assert [is_local_name(name, hosts) for name in ("app.internal", "other.internal.", "single")] == [True] * 3
    assert [is_local_name(name, hosts) for name in ("www.example", "old.example", "10.0.0.1")] == [False] * 3
    assert not is_local_name("app.internal", tmp_path / "missing")


async def test_a_machine_without_threads_is_our_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    resolver = SystemResolver()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(LocalFailure):
        await resolver.resolve("a.example")
    monkeypatch.undo()

    assert ip_address("127.0.0.1") in await resolver.resolve("localhost")


async def test_a_lookup_that_raises_is_a_local_failure_and_frees_its_thread() -> None:
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
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), NameUnanswered),
        (socket.gaierror(socket.EAI_MEMORY, "Memory allocation failure"), LocalFailure),
    ],
)
def test_a_failed_lookup_says_on_which_side_the_fault_lies(
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
