"""A product's backend as a process: publishes single events at a fixed rate, whatever the answers.

`python -m tests.acceptance.hosts.load PLAN RECORDS` reads its plan (JSON: `rate`, `apis` as [host, port], `keys`) and
writes a line of JSON for each request, until SIGTERM. It repeats nothing and sends no Idempotency-Key, so that whatever
arrives twice was sent twice by the product.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections import deque
from itertools import count, cycle
from pathlib import Path
from typing import IO, Any

from tests.support.publisher import EVENT_TYPE

PATIENCE_SECONDS = 15.0
"""After this long the caller hangs up, and does not know whether the event was accepted."""

UNANSWERED = 0
"""The status of a request without an answer."""

_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Api:
    """One API process; its connections are kept and used again."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self._port = port
        self._idle: deque[_Connection] = deque()

    async def post(self, key: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer. Raises OSError, EOFError, ValueError or TimeoutError if there is none."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(self.host, self._port)
            try:
                writer.write(
                    b"POST /api/v1/events HTTP/1.1\r\nHost: api\r\nContent-Type: application/json\r\n"
                    b"Authorization: Bearer %b\r\nContent-Length: %d\r\n\r\n%b" % (key.encode(), len(body), body)
                )
                status, answer, is_kept = await _read_answer(reader)
            except BaseException:
                writer.close()
                raise
            if is_kept:
                self._idle.append((reader, writer))
            else:
                writer.close()
            return status, answer


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    fields = dict(line.split(": ", 1) for line in head.strip().split("\r\n")[1:])
    body = await reader.readexactly(int(fields["content-length"]))
    return int(head.split(" ", 2)[1]), body, fields.get("connection") != "close"


async def _publish(api: Api, key: str, record: dict[str, Any], records: IO[str]) -> None:
    body = json.dumps({"type": EVENT_TYPE, "data": {"number": record["number"]}}).encode()
    started = time.monotonic()
    record |= {"sent_at": time.time(), "api": api.host, "id": None}
    try:
        record["status"], answer = await api.post(key, body)
        if record["status"] == 202:
            record["id"] = json.loads(answer)["id"]
    except (OSError, EOFError, ValueError, TimeoutError) as error:
        record |= {"status": UNANSWERED, "error": repr(error)}
    records.write(json.dumps({**record, "seconds": time.monotonic() - started}) + "\n")


async def _run(plan: dict[str, Any], records: IO[str]) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    apis = cycle([Api(host, port) for host, port in plan["apis"]])
    keys: list[str] = plan["keys"]
    started = time.monotonic()
    under_way: set[asyncio.Task[None]] = set()
    for number in count():
        ahead = started + number / plan["rate"] - time.monotonic()
        if ahead > 0:
            await asyncio.sleep(ahead)
        if stop.is_set():
            break
        tenant = number % len(keys)
        late = time.monotonic() - started - number / plan["rate"]
        record = {"tenant": tenant, "number": number, "late": late}
        task = asyncio.create_task(_publish(next(apis), keys[tenant], record, records))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    await asyncio.gather(*under_way)


def main() -> None:
    plan, records = sys.argv[1:]
    with Path(records).open("w", buffering=1) as file:
        asyncio.run(_run(json.loads(Path(plan).read_text()), file))


if __name__ == "__main__":
    main()
