"""The receivers, all in one process: HTTPS, answers as `shape` draws them, and the name server.

    python -m bench.traffic.receiver PORT NAME_SERVER_PORT CERTIFICATE

Takes the commands of `bench.processes.receiver`.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from random import Random

import uvloop

from bench.processes.receiver import ANSWER, Log, Receiver, ReceiverCommands
from bench.traffic.resolver import NameServer
from bench.traffic.shape import FAILING, SEED, TIMING_OUT, answer_seconds

_FAILURE = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\nno"


class SlowReceiver(Receiver):
    """Takes its time, fails, or does not answer. Until the first scenario, pings for instance, it answers at once."""

    def __init__(self, log: Log, random: Random) -> None:
        super().__init__(log)
        self._random = random

    def answer(self, request: bytes, head_end: int) -> None:
        if not self._log.has_begun:
            super().answer(request, head_end)
            return
        drawn = self._random.random()
        if drawn >= TIMING_OUT:
            response = _FAILURE if drawn < TIMING_OUT + FAILING else ANSWER
            asyncio.get_running_loop().call_later(answer_seconds(self._random), self.send, response)


async def _serve(port: int, name_server_port: int, certificate: str) -> None:
    log, random = Log(), Random(SEED)  # noqa: S311
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(NameServer, ("127.0.0.1", name_server_port))
    await loop.create_server(lambda: SlowReceiver(log, random), "127.0.0.1", port, ssl=context, backlog=1024)
    commands = ReceiverCommands(log)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await commands.until_ended()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
