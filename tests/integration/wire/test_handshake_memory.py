"""A process in which hundreds of receivers have stopped halfway through their handshakes."""

from __future__ import annotations

import asyncio
import subprocess
import sys

from tests.integration.wire.receivers import Peer, receiving
from tests.integration.wire.records import HALF_A_HANDSHAKE
from tests.support.polling import eventually
from tests.support.processes import ROOT

MOST_GROWTH_BYTES = 50_000_000
DIALS = 500  # 80 MB if each might go as far as it can

SENDER = f"""
import asyncio, sys, uvloop
from pathlib import Path
from sendoff.policy.endpoints.addresses import check_url
from sendoff.wire.http.client import Client
from sendoff.wire.errors import WireError
from tests.integration.wire.receivers import LOOPBACK

def memory(what):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what + ":"))

async def send(client, seconds):
    try:
        await client.send(check_url(sys.argv[1], LOOPBACK), b"", b"{{}}", timeout=seconds)
    except WireError as error:
        return error.name

async def main():
    async with Client(LOOPBACK) as client:
        await send(client, 2)
        before = memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
        failures = await asyncio.gather(*[send(client, 3) for _ in range({DIALS})])
        print(memory("VmHWM") - before, *sorted(set(failures)))

uvloop.run(main())
"""


async def stops_halfway(peer: Peer) -> None:
    await peer.reader.read(4_096)
    await peer.send(HALF_A_HANDSHAKE)
    await peer.gone()


def test_half_done_handshakes_take_little_memory_together() -> None:
    async def run() -> bytes:
        async with receiving(stops_halfway) as receiver:
            command = [sys.executable, "-c", SENDER, f"https://127.0.0.1:{receiver.port}/"]
            process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=subprocess.PIPE)
            said, _ = await asyncio.wait_for(process.communicate(), 60)
            await eventually(lambda: receiver.connections == DIALS + 1, what="all connections are accepted")
            return said

    said = asyncio.run(run())
    grown, *failures = said.decode().split()
    assert int(grown) < MOST_GROWTH_BYTES
    assert set(failures) <= {"timed_out", "tls_failed", "local_failure"}
