"""Receivers that close idle connections just when the next request comes: no first attempt may fail by it.

Requests go out at a rate, at random moments, to as many hosts as make each get one per idle time of its receiver on
average: most connections are closed, or about to be, when their next request comes. Receivers end them in three ways:
politely, by a reset, and after a 408 that announces it.

    python -m bench.idle_closings [--write] [--seconds 20] [--rate 50] [--idle 1 5]      writes IDLE_CLOSINGS.md
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shlex
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import cast

import uvloop

from sendoff.policy.endpoints.addresses import AddressPolicy, Target, check_url
from sendoff.wire.errors import WireError
from sendoff.wire.http.client import Client
from sendoff.wire.http.message import encode_headers

RESULTS = Path(__file__).parent / "IDLE_CLOSINGS.md"
WAYS = ("politely", "reset", "408")

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_ANNOUNCED = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_HEAD = encode_headers([("Content-Type", "application/json")])
_BODY = b"{}"
_TIMEOUT_SECONDS = 10.0


@dataclass
class Closings:
    """What came of the requests to receivers that end idle connections in one way."""

    way: str
    idle_seconds: float
    sent: int = 0
    reused: int = 0
    """Requests that did not need a new connection."""
    failures: Counter[str] = field(default_factory=Counter)
    """First attempts that failed, by what went wrong."""


class ClosingReceiver(asyncio.Protocol):
    """A connection that its receiver ends when it was idle for a while."""

    _transport: asyncio.Transport

    def __init__(self, closings: Closings, opened: Counter[str]) -> None:
        self._closings = closings
        self._opened = opened
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._opened[self._closings.way] += 1

    def data_received(self, data: bytes) -> None:
        if self._timer is not None:
            self._timer.cancel()
        # The client writes each of its small requests in one piece.
        self._transport.write(_ANSWER * data.count(b"\r\n\r\n"))
        self._timer = asyncio.get_running_loop().call_later(self._closings.idle_seconds, self._end)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _end(self) -> None:
        if self._closings.way == "408":
            self._transport.write(_ANNOUNCED)
        if self._closings.way == "reset":
            self._transport.abort()
        else:
            self._transport.close()


async def measure(way: str, *, idle_seconds: float, rate: float, seconds: float) -> Closings:
    """Send `rate` requests a second for `seconds` to receivers that end connections after `idle_seconds`."""
    closings, opened = Closings(way, idle_seconds), Counter[str]()
    policy = AddressPolicy(allow_networks=(ip_network("127.0.0.0/8"),), allow_http=True)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: ClosingReceiver(closings, opened), "0.0.0.0", 0)  # noqa: S104 - all of 127.0.0.0/8
    port = server.sockets[0].getsockname()[1]
    targets = [
        check_url(f"http://127.0.{number // 250 + 1}.{number % 250 + 1}:{port}/hook", policy)
        for number in range(max(1, round(rate * idle_seconds)))
    ]
    moments = random.Random(20260424)  # noqa: S311 - the same moments every time
    async with Client(policy) as client, asyncio.TaskGroup() as group:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await asyncio.sleep(moments.expovariate(rate))
            group.create_task(_send(client, moments.choice(targets), closings))
    server.close()
    await server.wait_closed()
    closings.reused = closings.sent - opened[way]
    return closings


async def _send(client: Client, target: Target, closings: Closings) -> None:
    closings.sent += 1
    try:
        response = await client.send(target, _HEAD, _BODY, timeout=_TIMEOUT_SECONDS)
    except WireError as error:
        closings.failures[type(error).__name__] += 1
    else:
        if response.status != 200:
            closings.failures[str(response.status)] += 1


def report(measured: Sequence[Closings], command: str) -> str:
    """A page of what was measured."""
    lines = [
        "# Idle closings",
        "",
        f"`{command}`",
        "",
        "Receivers close connections that were idle for a while; requests come when that is about to happen.",
        "First attempts that failed by it must be 0.",
        "",
        "| idle connections end | after | requests | on a kept connection | first attempts failed |",
        "|---|---:|---:|---:|---:|",
    ]
    for one in measured:
        failed = ", ".join(f"{name}: {count}" for name, count in one.failures.items()) or "0"
        lines.append(f"| {one.way} | {one.idle_seconds:g} s | {one.sent:,} | {one.reused:,} | {failed} |")
    return "\n".join(lines) + "\n"


async def _measure_all(options: argparse.Namespace) -> list[Closings]:
    return [
        await measure(way, idle_seconds=idle, rate=options.rate, seconds=options.seconds)
        for idle in options.idle
        for way in WAYS
    ]


def main() -> int:
    """Measure and report. 1 when a first attempt failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.idle_closings")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement")
    parser.add_argument("--rate", type=float, default=50, help="requests a second")
    parser.add_argument(
        "--idle", type=float, nargs="+", default=[1.0, 5.0], help="seconds until a connection is closed"
    )
    options = parser.parse_args()
    measured = uvloop.run(_measure_all(options))
    text = report(measured, shlex.join(["python", "-m", "bench.idle_closings", *sys.argv[1:]]))
    sys.stdout.write(text)
    if options.write:
        RESULTS.write_text(text)
    return 1 if any(one.failures for one in measured) else 0


if __name__ == "__main__":
    sys.exit(main())
