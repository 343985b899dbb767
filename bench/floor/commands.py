"""A connection to Valkey that writes commands together and hands every reply to a function."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

import hiredis


class RedisCommands(asyncio.Protocol):
    """One connection."""

    def __init__(self, on_reply: Callable[[Any], None]) -> None:
        self._on_reply = on_reply
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def connect(cls, path: str, on_reply: Callable[[Any], None]) -> RedisCommands:
        """Connect to the Unix socket at `path`."""
        _, commands = await asyncio.get_running_loop().create_unix_connection(lambda: cls(on_reply), path)
        return commands

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send(self, *commands: Sequence[Any]) -> None:
        """Write commands in one system call."""
        if self._transport is not None:
            self._transport.write(b"".join([hiredis.pack_command(tuple(command)) for command in commands]))

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            self._on_reply(reply)
