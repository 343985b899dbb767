"""A product's backend that publishes at a bounded rate and remembers what it was answered."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

EVENT_TYPE = "upload.completed"
_TIMEOUT_SECONDS = 60
_PAUSE_SECONDS = 0.05


@dataclass
class Published:
    """What became of the events so far."""

    accepted: dict[str, int] = field(default_factory=dict)
    """The number in each event that was answered with 202, by the event's id."""
    accepted_at: dict[str, float] = field(default_factory=dict)
    """When each answer came, in Unix seconds; of single events alone."""
    refused: list[tuple[int, str | None]] = field(default_factory=list)
    """Status and `Retry-After` of every other answer."""
    unanswered: int = 0
    """Requests that were not answered at all: the event may have been accepted or not."""


class Publisher:
    """Publishes numbered events from a few threads over kept connections, between `start` and `stop`."""

    def __init__(self, port: int, key: str, published: Published, *, rate: float, threads: int = 4) -> None:
        self._port = port
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._published = published
        self._pause = 1 / rate
        self._numbers = count(len(published.accepted) + 1)
        self._stopped = threading.Event()
        self._started_at = time.monotonic()
        self._turns = count()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]

    @contextmanager
    def running(self) -> Iterator[Published]:
        """Publish within the block."""
        for thread in self._threads:
            thread.start()
        try:
            yield self._published
        finally:
            self._stopped.set()
            for thread in self._threads:
                thread.join()

    def _work(self) -> None:
        connection = self._connect()
        while not self._stopped.wait(max(0.0, self._started_at + next(self._turns) * self._pause - time.monotonic())):
            if not self._publish(connection):
                connection.close()
                connection = self._connect()
                self._stopped.wait(_PAUSE_SECONDS)
        connection.close()

    def _publish(self, connection: http.client.HTTPConnection) -> bool:
        number = next(self._numbers)
        try:
            body = {"type": EVENT_TYPE, "data": {"number": number}}
            status, answer, retry_after = self._ask(connection, body)
        except (OSError, http.client.HTTPException):
            self._published.unanswered += 1
            return False
        if status == 202:
            self._published.accepted_at[answer["id"]] = time.time()
            self._published.accepted[answer["id"]] = number
        else:
            self._published.refused.append((status, retry_after))
        return True

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=_TIMEOUT_SECONDS)

    def _ask(self, connection: http.client.HTTPConnection, body: Any) -> tuple[int, Any, str | None]:
        connection.request("POST", "/api/v1/events", json.dumps(body), self._headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read()), response.headers.get("Retry-After")
