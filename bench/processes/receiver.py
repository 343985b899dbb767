"""A receiver that is never the bottleneck: answers 200 to POSTs and writes down when which event arrived.

It understands what Sendoff sends and nothing else: requests with a `Content-Length`, one after the other on
connections that are kept alive. ReceiverCommands come as lines on standard input, each is answered by a line:
`count`, `connections`, `reset`, `dump FILE`. It ends with its standard input.

    python -m bench.processes.receiver PORT HOST [HOST …]
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from array import array
from pathlib import Path
from typing import cast

import uvloop

EVENT_ID_LENGTH = 28
NO_EVENT_ID = b"-" * EVENT_ID_LENGTH

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_LENGTH = b"\r\nContent-Length: "
_EVENT_ID = b"-Event-Id: "


class Log:
    """Arrivals: ids end to end and monotonic seconds, 36 bytes for each."""

    def __init__(self) -> None:
        self._ids = bytearray()
        self._times = array("d")
        self.connections = 0
        """How many were made."""
        self.has_begun = False
        """Whether it was cleared, which is when a scenario begins."""

    def __len__(self) -> int:
        return len(self._times)

    def note(self, request: bytes, head_end: int) -> None:
        """An event's request is complete."""
        at = request.find(_EVENT_ID, 0, head_end)
        start = at + len(_EVENT_ID)
        self._ids += request[start : start + EVENT_ID_LENGTH] if at >= 0 else NO_EVENT_ID
        self._times.append(time.monotonic())

    def clear(self) -> None:
        """Forget everything."""
        self._ids.clear()
        del self._times[:]
        self.connections = 0
        self.has_begun = True

    def dump(self, path: Path) -> None:
        """Write the times, then the ids."""
        path.write_bytes(self._times.tobytes() + bytes(self._ids))


def read_arrivals(path: Path) -> list[tuple[bytes, float]]:
    """What `Log.dump` wrote: event ids with the monotonic seconds of their receipt."""
    content = path.read_bytes()
    count = len(content) // (8 + EVENT_ID_LENGTH)
    times = array("d", content[: 8 * count])
    ids = content[8 * count :]
    return [(ids[EVENT_ID_LENGTH * n : EVENT_ID_LENGTH * (n + 1)], times[n]) for n in range(count)]


class Receiver(asyncio.Protocol):
    """One connection."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._rest = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._log.connections += 1

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        while (end := data.find(b"\r\n\r\n")) >= 0:
            total = end + 4 + _content_length(data, end)
            if len(data) < total:
                break
            self._log.note(data, end)
            self.answer(data, end)
            data = data[total:]
        self._rest = data

    def answer(self, request: bytes, head_end: int) -> None:
        """Answer the request, which ends its head at `head_end`."""
        self.send(ANSWER)

    def send(self, response: bytes) -> None:
        """Write a response, unless the connection is gone."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(response)


def _content_length(request: bytes, head_end: int) -> int:
    at = request.find(_LENGTH, 0, head_end)
    if at < 0:
        return 0
    start = at + len(_LENGTH)
    return int(request[start : request.find(b"\r\n", start)])


class ReceiverCommands:
    """Lines on standard input."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), self._read)

    async def until_ended(self) -> None:
        await self._ended.wait()

    def _read(self) -> None:
        given = os.read(sys.stdin.fileno(), 65_536)
        if not given:
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self._ended.set()
        for line in given.decode().splitlines():
            sys.stdout.write(f"{self._answer(line)}\n")
            sys.stdout.flush()

    def _answer(self, line: str) -> str:
        command, _, argument = line.partition(" ")
        if command == "reset":
            self._log.clear()
        elif command == "dump":
            self._log.dump(Path(argument))
        elif command == "connections":
            return str(self._log.connections)
        return str(len(self._log))


async def _serve(port: int, hosts: list[str]) -> None:
    log = Log()
    loop = asyncio.get_running_loop()
    for host in hosts:
        await loop.create_server(lambda: Receiver(log), host, port, backlog=1024)
    commands = ReceiverCommands(log)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await commands.until_ended()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), sys.argv[2:]))
