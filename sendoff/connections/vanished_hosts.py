"""Servers whose host vanishes without a word: connections to it are given up, and nobody waits for its answer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")

NEXT_SECONDS = 0.2
"""How long the next server waits for the one before it to answer. Longer delays a failover from a host that has
vanished; shorter asks servers in vain when the first is slow."""

_QUIET_SECONDS = 1  # after so long without traffic, and then each second, the kernel asks whether the other is there


async def first_answer(
    servers: Sequence[Asked],
    ask: Callable[[Asked], Coroutine[Any, Any, Answer]],
    *,
    passing: tuple[type[Exception], ...],
    next_after: float = NEXT_SECONDS,
    again: bool = False,
    drop: Callable[[Answer], object] | None = None,
) -> tuple[Asked, Answer]:
    """Which server answered first, and what: the next is asked when the one before fails or takes too long.

    `next_after`: the seconds that are too long. `again`: ask those that failed again, as long as another has not
    answered yet. `drop` closes an answer that came too late. When all fail with an error of the `passing` kinds, raises
    the last one; an error of another kind is raised at once.
    """
    to_ask, under_way = [*servers], dict[asyncio.Task[Answer], Asked]()
    error = Exception("there is no server to ask")

    def drop_late(task: asyncio.Task[Answer]) -> None:
        failed = task.cancelled() or task.exception() is not None
        if drop is not None and not failed:
            drop(task.result())

    try:
        while to_ask or under_way:
            if to_ask:
                server = to_ask.pop(0)
                under_way[asyncio.create_task(ask(server))] = server
            pause = next_after if to_ask or again else None
            done, _ = await asyncio.wait(under_way, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                server = under_way.pop(task)
                try:
                    return server, task.result()
                except passing as failure:
                    error = failure
            if again and not done and not to_ask:
                to_ask += [server for server in servers if server not in under_way.values()]
    finally:
        # Not awaited: were this call cancelled meanwhile, nobody would close the answer that it is about to return.
        for task in under_way:
            task.add_done_callback(drop_late)
            task.cancel()
    raise error


def give_up_unacknowledged(descriptor: int | None, seconds: int) -> None:
    """Have the kernel close a connection whose other side has acknowledged nothing for so long, also when it is idle.

    A server that is slow acknowledges all the same. Only Linux has the option.
    """
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        set_option(descriptor, socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, seconds * 1000)
        set_option(descriptor, socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _QUIET_SECONDS)
        set_option(descriptor, socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _QUIET_SECONDS)
        set_option(descriptor, socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def set_option(descriptor: int | None, level: int, option: int, value: int | bytes) -> None:
    """Set an option of a socket, unless there is none or it is closed."""
    if descriptor is None:
        return
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as same:
        same.setsockopt(level, option, value)


def descriptor_of(transport: Any) -> int | None:
    """The number of the transport's socket, if it is one on TCP."""
    found = transport.get_extra_info("socket")
    if found is None or found.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    return int(found.fileno())
