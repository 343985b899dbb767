"""Idle connections: found by origin, bounded, and gone after a while."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sendoff.wire.http.pool import Pool
from tests.support.polling import eventually

A = ("https", "a.example", 443)
B = ("https", "b.example", 443)


class Idle:
    """As much of a connection as a pool can see."""

    def __init__(self, origin: tuple[str, str, int], *, retires_at: float = 1e12) -> None:
        self.pool_key = origin
        self.usable = True
        self.expires_at = 0.0
        self.retires_at = retires_at
        self.closed = False

    def close(self) -> None:
        self.usable = False
        self.closed = True


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture
async def pool() -> AsyncIterator[Any]:
    running = Pool(most=4, most_per_origin=2, idle_seconds=60)
    yield running
    running.close()


async def test_the_connection_used_last_is_taken_first(pool: Any) -> None:
    first, second = Idle(A), Idle(A)
    pool.put(first, now())
    pool.put(second, now())

    assert pool.take(A, now()) is second
    assert pool.take(A, now()) is first
    assert pool.take(A, now()) is None


@pytest.mark.parametrize(
    "other", [("http", "a.example", 443), ("https", "a.example", 8443), ("https", "b.example", 443)]
)
async def test_a_connection_is_given_to_its_own_origin_only(pool: Any, other: tuple[str, str, int]) -> None:
    pool.put(Idle(A), now())

    assert pool.take(other, now()) is None


async def test_the_oldest_of_an_origin_goes_when_the_origin_has_too_many(pool: Any) -> None:
    connections = [Idle(A) for _ in range(3)]
    for connection in connections:
        pool.put(connection, now())

    assert [connection.closed for connection in connections] == [True, False, False]
    assert len(pool) == 2


async def test_the_oldest_of_all_goes_when_there_are_too_many(pool: Any) -> None:
    connections = [Idle(("https", f"{number}.example", 443)) for number in range(6)]
    for connection in connections:
        pool.put(connection, now())

    assert [connection.closed for connection in connections] == [True, True, False, False, False, False]
    assert len(pool) == 4


async def test_connections_that_are_idle_for_too_long_are_closed() -> None:
    pool: Any = Pool(most=4, most_per_origin=4, idle_seconds=0.05)
    connections = [Idle(A), Idle(B)]
    for connection in connections:
        pool.put(connection, now())
        await asyncio.sleep(0.02)
    await eventually(lambda: all(connection.closed for connection in connections))

    assert len(pool) == 0
    pool.put(Idle(A), now())
    await eventually(lambda: len(pool) == 0, what="the timer works a second time")


async def test_an_expired_connection_is_not_reused_before_its_timer_closes_it(pool: Any) -> None:
    connection = Idle(A)
    pool.put(connection, now() - 61)

    assert pool.take(A, now()) is None
    assert connection.closed


async def test_a_connection_that_lived_long_enough_is_not_kept(pool: Any) -> None:
    old, ageing = Idle(A, retires_at=now() - 1), Idle(B, retires_at=now() + 10)
    pool.put(old, now())
    pool.put(ageing, now())

    assert old.closed
    assert pool.take(B, now() + 11) is None


async def test_a_connection_that_is_not_usable_is_not_kept_and_one_that_became_so_not_taken(pool: Any) -> None:
    broken, breaks = Idle(A), Idle(A)
    broken.usable = False
    pool.put(broken, now())
    pool.put(breaks, now())
    breaks.usable = False

    assert pool.take(A, now()) is None
    assert len(pool) == 0


async def test_a_connection_that_is_gone_is_forgotten(pool: Any) -> None:
    gone, stays = Idle(A), Idle(A)
    pool.put(stays, now())
    pool.put(gone, now())
    pool.discard(gone)
    pool.discard(gone)

    assert pool.take(A, now()) is stays


async def test_closing_the_pool_closes_all(pool: Any) -> None:
    connections = [Idle(A), Idle(B)]
    for connection in connections:
        pool.put(connection, now())
    pool.close()

    assert all(connection.closed for connection in connections)
    assert len(pool) == 0
