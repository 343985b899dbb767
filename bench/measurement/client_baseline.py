"""The client baseline: the same POSTs sent by the bare `sendoff.wire` client in a loop, without database and queue.

python -m bench.measurement.client_baseline PORT SECONDS CONCURRENCY BODY_BYTES HOST [HOST …]      prints JSON
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from ipaddress import ip_network
from itertools import cycle

import uvloop

from sendoff.policy.endpoints.addresses import AddressPolicy, check_url
from sendoff.wire.http.client import Client
from sendoff.wire.http.message import encode_headers

_HEADERS = (
    ("Content-Type", "application/json"),
    ("User-Agent", "OptimalDial-Webhooks/1.0"),
    ("X-OptimalDial-Signature", "t=1777034096,v1=" + "0" * 64),
    ("X-OptimalDial-Event", "upload.completed"),
    ("X-OptimalDial-Event-Id", "evt_" + "0" * 24),
    ("X-OptimalDial-Delivery-Id", "0199c5a0-7b4e-7c00-8000-000000000000"),
    ("X-OptimalDial-Attempt", "1"),
    ("X-OptimalDial-Timestamp", "1777034096"),
)


@dataclass(frozen=True, slots=True)
class ClientBaseline:
    """How fast the bare client is; CPU time is this process's alone."""

    per_second: float
    cpu_us: float


async def _measure(port: int, seconds: float, concurrency: int, body_bytes: int, hosts: list[str]) -> ClientBaseline:
    policy = AddressPolicy(allow_networks=(ip_network("127.0.0.0/8"),), allow_http=True)
    targets = cycle([check_url(f"http://{host}:{port}/hook", policy) for host in hosts])
    head, body = encode_headers(_HEADERS), b"x" * body_bytes
    sent = 0

    async def send_until(deadline: float) -> None:
        nonlocal sent
        while time.monotonic() < deadline:
            await client.send(next(targets), head, body, timeout=10)
            sent += 1

    async with Client(policy) as client:
        await asyncio.gather(*(send_until(time.monotonic() + 0.2) for _ in range(concurrency)))
        sent, started, cpu = 0, time.monotonic(), time.process_time()
        await asyncio.gather(*(send_until(started + seconds) for _ in range(concurrency)))
        took, used = time.monotonic() - started, time.process_time() - cpu
    return ClientBaseline(per_second=sent / took, cpu_us=used / sent * 1e6)


if __name__ == "__main__":
    _port, _seconds, _concurrency, _body_bytes, *_hosts = sys.argv[1:]
    _floor = uvloop.run(_measure(int(_port), float(_seconds), int(_concurrency), int(_body_bytes), _hosts))
    sys.stdout.write(json.dumps(asdict(_floor)))
