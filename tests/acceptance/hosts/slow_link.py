"""A host between two others that keeps what it passes on for a while: `… slow_link HOST:PORT HOST:PORT SECONDS`.

It writes a line when it listens. It stands in for `tc qdisc add … netem delay`, which not every kernel has.
"""

from __future__ import annotations

import asyncio
import sys

_READ_BYTES = 65_536


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    try:
        while data := await reader.read(_READ_BYTES):
            loop.call_later(seconds, writer.write, data)
    except OSError:
        pass
    loop.call_later(seconds, writer.close)


async def _serve(listen: str, target: str, seconds: float) -> None:
    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = target.split(":")
        onward_reader, onward_writer = await asyncio.open_connection(host, int(port))
        await asyncio.gather(_pass_on(reader, onward_writer, seconds), _pass_on(onward_reader, writer, seconds))

    host, port = listen.split(":")
    async with await asyncio.start_server(connect, host, int(port)) as server:
        sys.stdout.write("listening\n")
        sys.stdout.flush()
        await server.serve_forever()


def main() -> None:
    listen, target, seconds = sys.argv[1:]
    asyncio.run(_serve(listen, target, float(seconds)))


if __name__ == "__main__":
    main()
