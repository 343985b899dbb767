"""A process that stands still: what came in time is read before anything is judged to be late."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration.wire.receivers import OK
from tests.support.polling import eventually_blocking
from tests.support.processes import ROOT

TIMEOUT_SECONDS = 3.0

SENDER = f"""
import asyncio, sys, uvloop
from sendoff.policy.endpoints.addresses import check_url
from sendoff.wire.http.client import Client
from sendoff.wire.errors import WireError
from tests.integration.wire.receivers import LOOPBACK

async def main():
    async with Client(LOOPBACK) as client:
        target = check_url(sys.argv[1], LOOPBACK)
        try:
            print((await client.send(target, b"", b"{{}}", timeout={TIMEOUT_SECONDS})).status)
        except WireError as error:
            print(error.name)

uvloop.run(main())
"""


@pytest.mark.parametrize(("answer", "outcome"), [(OK, "200"), (OK[:20], "timed_out")], ids=["whole", "half"])
def test_an_answer_counts_that_came_while_the_process_stood_still(answer: bytes, outcome: str) -> None:
    """Setup: a process sends a request; the receiver has it.

    Timeline: the process is frozen; the receiver answers; the deadline passes; the process goes on.
    What this proves: an answer that is there counts, so that nothing is sent again that was delivered; half of one is
    late all the same.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [sys.executable, "-c", SENDER, f"http://127.0.0.1:{listener.getsockname()[1]}/"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            peer, _ = listener.accept()
            with peer:
                peer.recv(65_536)
                wait_for_state("S", process.pid)  # it has nothing to do but wait
                process.send_signal(signal.SIGSTOP)
                wait_for_state("T", process.pid)
                peer.sendall(answer)
                time.sleep(TIMEOUT_SECONDS + 0.1)  # the standstill
                process.send_signal(signal.SIGCONT)
                said, _ = process.communicate(timeout=60)
    assert said.strip() == outcome


def wait_for_state(state: str, pid: int) -> None:
    """`S` sleeps, `T` is stopped."""
    stat = Path(f"/proc/{pid}/stat")
    eventually_blocking(lambda: stat.read_text().rpartition(")")[2].split()[0] == state, what=f"state {state}")
