"""The load generator: POSTs prebuilt requests over connections that are kept alive, and notes when each was answered.

Closed loop: each connection sends its next request when the last one is answered. Fixed rate: a request is sent when
it is sent on schedule regardless of the others, and its time counts from then, so that a stalled server cannot hide.

    python -m bench.processes.load_generator PLAN.json      the outcome goes to standard output as JSON
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict
from itertools import cycle
from pathlib import Path
from threading import Thread
from typing import cast

import uvloop

from bench.plan import Answers, LoadPlan, LoadResult

_LENGTH = b"ength: "  # of Content-Length, in any case
_PATIENCE_SECONDS = 120


class Load:
    """The requests, the connections that are free, and the outcome so far."""

    def __init__(self, plan: LoadPlan) -> None:
        self.outcome = LoadResult()
        self.answers = Answers() if plan.answers else None
        self.done = asyncio.get_running_loop().create_future()
        self._plan = plan
        self._expected = str(plan.expect).encode()
        self._heads = cycle([head.encode() for head in plan.heads])
        self._bodies = cycle([body.encode() for body in plan.bodies])
        self._total = min(plan.most, round(plan.rate * plan.seconds)) if plan.rate else plan.most
        self._left = self._total
        self._under_way = 0
        self._due: deque[float] = deque()
        self._free: list[LoadConnection] = []
        self._deadline = 0.0

    def start(self, connections: list[LoadConnection]) -> None:
        self.outcome.started = time.monotonic()
        self._deadline = self.outcome.started + self._plan.seconds
        if self._plan.rate:
            self._free = connections
            Thread(target=self._keep_time, args=(asyncio.get_running_loop(),), daemon=True).start()
            return
        for connection in list(connections):
            self._next(connection)

    def answered(self, connection: LoadConnection, response: bytes, sent: float) -> None:
        now = time.monotonic()
        self._under_way -= 1
        if response[9:12] == self._expected:
            self.outcome.answered += 1
            if self.answers is not None:
                self.answers.note(response, sent, now)
        else:
            self.refuse(response.decode("latin-1"))
        self.outcome.ended = now
        if self._plan.rate:
            self._free.append(connection)
            self._send_due()
            if not self._left and not self._under_way:
                self._finish()
        else:
            self._next(connection, now)

    def refuse(self, reason: str) -> None:
        self.outcome.refused += 1
        self.outcome.refusal = self.outcome.refusal or reason

    def lost(self, connection: LoadConnection) -> None:
        if connection in self._free:  # idle for longer than the server keeps connections
            self._free.remove(connection)
            return
        self.refuse("the server closed a connection")
        self._finish()

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def _next(self, connection: LoadConnection, now: float = 0.0) -> None:
        if self._left and now < self._deadline:
            self._send(connection, now or time.monotonic())
        elif not self._under_way:
            self._finish()

    def _send(self, connection: LoadConnection, sent: float) -> None:
        self._left -= 1
        self._under_way += 1
        connection.send((next(self._heads), next(self._bodies)), sent)

    def _keep_time(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say when each request is due, in a thread: the event loop's timers are late by half a millisecond or more."""
        for number in range(self._total):
            due = self.outcome.started + number / self._plan.rate
            time.sleep(max(0.0, due - time.monotonic()))
            if self.done.done():  # a connection was lost
                return
            loop.call_soon_threadsafe(self._fall_due, due)

    def _fall_due(self, due: float) -> None:
        self._due.append(due)
        self._send_due()

    def _send_due(self) -> None:
        while self._due and self._free:
            self._send(self._free.pop(), self._due.popleft())


class LoadConnection(asyncio.Protocol):
    """One connection with at most one request under way."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._rest = b""
        self._sent = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None
        if not self._load.done.done():
            self._load.lost(self)

    def send(self, request: Sequence[bytes], sent: float) -> None:
        self._sent = sent
        if self._transport is not None:
            self._transport.writelines(request)

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        end = data.find(b"\r\n\r\n")
        if end < 0 or len(data) < end + 4 + _content_length(data, end):
            self._rest = data
            return
        self._rest = b""
        self._load.answered(self, data, self._sent)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _content_length(response: bytes, head_end: int) -> int:
    start = response.find(_LENGTH, 0, head_end) + len(_LENGTH)
    return int(response[start : response.find(b"\r\n", start)])


async def run_plan(plan: LoadPlan) -> LoadResult:
    """Send what is planned, with all connections made before."""
    load = Load(plan)
    loop = asyncio.get_running_loop()
    connections = []
    for _ in range(plan.connections):
        _, connection = await loop.create_connection(lambda: LoadConnection(load), plan.host, plan.port)
        connections.append(connection)
    cpu = time.process_time()
    load.start(connections[:])
    async with asyncio.timeout(plan.seconds + _PATIENCE_SECONDS):
        await load.done
    load.outcome.cpu_seconds = time.process_time() - cpu
    for connection in connections:
        connection.close()
    if load.answers is not None and plan.answers is not None:
        load.answers.dump(Path(plan.answers))
    return load.outcome


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(uvloop.run(run_plan(LoadPlan.load(Path(sys.argv[1])))))))
