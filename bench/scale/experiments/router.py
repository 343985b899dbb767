"""The router before cells: what it adds to a request, with cells that answer at once."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from httptools import HttpRequestParser

from bench.measurement.accounting import ProcessTable
from bench.measurement.calibration import REFERENCE_MS, NoiseMeter
from bench.scale.options import ScaleOptions
from bench.table import aligned, number
from tests.support.ports import free_port
from tests.support.servers import Server

_CELLS = 8
_CONNECTIONS = (1, 8, 64)
_SIZES = {"one event of 1 KB": 1_000, "a batch of 100 KB": 100_000}
_REQUESTS_PER_SECOND_OF_LOAD = 500
_ANSWER = b'{"id":"evt_0199c5a00000","deliveries":1}'
_HEAD = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\nx-request-id: r\r\ncontent-length: %d\r\n\r\n%b"
_ACCEPTED, _KNOWN = _HEAD % (b"202 Accepted", len(_ANSWER), _ANSWER), _HEAD % (b"200 OK", 2, b"{}")
_UNKNOWN = _HEAD % (b"401 Unauthorized", 2, b"{}")


class _CellConnection(asyncio.Protocol):
    """A cell without anything behind it. One of them knows every key."""

    knows = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._parser = HttpRequestParser(self)
        self._url = b""

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._url = url

    def on_message_complete(self) -> None:
        asks = self._url == b"/api/v1/me"
        answer = (_KNOWN if self.knows else _UNKNOWN) if asks else _ACCEPTED
        self._transport.write(answer)  # type: ignore[attr-defined]


class _KnowingCellConnection(_CellConnection):
    knows = True


async def measure_router(options: ScaleOptions, directory: Path) -> str:
    """CPU time of the router's process for each request, by the size of the requests and how many come at once."""
    loop, cells = asyncio.get_running_loop(), []
    for place in range(_CELLS):
        kind = _KnowingCellConnection if place == 0 else _CellConnection
        cells.append(await loop.create_server(kind, "127.0.0.1", 0))
    urls = ",".join(f"c{place}=http://127.0.0.1:{one.sockets[0].getsockname()[1]}" for place, one in enumerate(cells))
    port = free_port()
    router = Server(["api", "--port", str(port)], {**os.environ, "SENDOFF_CELLS": urls}, directory / "router.log")
    await asyncio.to_thread(router.launch)
    await asyncio.to_thread(router.wait_until_ready)
    rows = [[f"router µs/request, before {_CELLS} cells", *(f"{count} at once" for count in _CONNECTIONS)]]
    try:
        requests = round(_REQUESTS_PER_SECOND_OF_LOAD * options.seconds)
        for name, size in _SIZES.items():
            found = [await _measure(router.pid, port, _request(size), count, requests) for count in _CONNECTIONS]
            rows += [
                [name, *(number(cpu) for cpu, _ in found)],
                [f"{name}: normalized", *(number(cpu * REFERENCE_MS / noise) for cpu, noise in found)],
            ]
    finally:
        router.stop()
        for one in cells:
            one.close()
    return aligned(rows)


async def _measure(pid: int, port: int, request: bytes, connections: int, requests: int) -> tuple[float, float]:
    """Microseconds of CPU time for each request, and how long the calibration took meanwhile."""
    each = max(20, requests // connections)
    await asyncio.gather(*(_send(port, request, 5) for _ in range(connections)))
    with NoiseMeter() as noise:
        began, before = asyncio.get_running_loop().time(), ProcessTable().own_cpu_seconds(pid)
        await asyncio.gather(*(_send(port, request, each) for _ in range(connections)))
        spent = ProcessTable().own_cpu_seconds(pid) - before
        return spent / (each * connections) * 1e6, noise.since(began)


async def _send(port: int, request: bytes, times: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(times):
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 202 " not in head[:20]:
            raise RuntimeError(f"the router answered {head!r}")
        await reader.readexactly(len(_ANSWER))
    writer.close()


def _request(size: int) -> bytes:
    head = (
        "POST /api/v1/events HTTP/1.1\r\nHost: router\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer od_live_{'x' * 32}\r\nContent-Length: {size}\r\n\r\n"
    )
    return head.encode() + b"x" * size
