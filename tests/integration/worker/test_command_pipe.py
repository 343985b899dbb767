"""The connection for frequent commands: replies in order, and after any failure it works again."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.exceptions import ResponseError

from sendoff.command_pipe import CommandPipe
from sendoff.queue import connect
from sendoff.settings import load


@pytest.fixture
async def pipe(valkey_url: str) -> AsyncIterator[CommandPipe]:
    redis = connect(load(redis_url=valkey_url))
    found = CommandPipe(redis)
    yield found
    await found.close()
    await redis.aclose(close_connection_pool=True)


async def test_replies_come_in_the_order_of_the_commands(pipe: CommandPipe) -> None:
    commands = [("SET", "a", 1), ("INCR", "a"), ("GET", "a"), ("GET", "missing")]
    assert await pipe.run(commands, seconds=5) == [b"OK", 2, b"2", None]


async def test_an_error_is_raised_and_the_next_commands_work(pipe: CommandPipe) -> None:
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await pipe.run([("SET", "a", 1), ("ZCARD", "a"), ("GET", "a")], seconds=5)
    assert await pipe.run([("GET", "a")], seconds=5) == [b"1"]


async def test_a_connection_that_redis_closed_is_made_again(pipe: CommandPipe, valkey_url: str) -> None:
    [own_id] = await pipe.run([("CLIENT", "ID")], seconds=5)
    other = connect(load(redis_url=valkey_url))
    await other.execute_command("CLIENT", "KILL", "ID", own_id)  # type: ignore[no-untyped-call]
    await other.aclose(close_connection_pool=True)
    assert await pipe.run([("CLIENT", "ID")], seconds=5) != [own_id]


async def test_a_late_reply_is_not_taken_for_the_next_one(pipe: CommandPipe) -> None:
    with pytest.raises(TimeoutError, match=r"within 0\.05 s"):
        await pipe.run([("BLPOP", "nothing", 0)], seconds=0.05)
    assert await pipe.run([("RPUSH", "nothing", 1), ("ECHO", "this")], seconds=5) == [1, b"this"]


async def test_replies_that_are_waited_for_ahead_come_one_by_one(pipe: CommandPipe, valkey_url: str) -> None:
    await pipe.send([("BLPOP", "list", 5)] * 2, seconds=5)
    other = connect(load(redis_url=valkey_url))
    await other.execute_command("RPUSH", "list", 1)  # type: ignore[no-untyped-call]
    [first] = await pipe.receive(seconds=5)
    assert (first, pipe.has_unanswered) == ([b"list", b"1"], True)
    await other.execute_command("RPUSH", "list", 2)  # type: ignore[no-untyped-call]
    assert await pipe.receive(seconds=5) == [[b"list", b"2"]]
    assert not pipe.has_unanswered
    await other.aclose(close_connection_pool=True)
