"""A process gives back what large requests took."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import asyncio
from sendoff.processes import memory

async def main():
    memory.RETURN_SECONDS = 0.05
    returning = asyncio.create_task(memory.return_memory_regularly())
    await asyncio.sleep(0)
    pieces = [bytes(50_000) for _ in range(2_000)]
    kept = pieces[::200]
    del pieces
    large = memory._resident_bytes()
    async with asyncio.timeout(60):
        while memory._resident_bytes() > large - 50_000_000:
            await asyncio.sleep(0.05)
    returning.cancel()
    print(len(kept))

memory.keep_arenas_few()
asyncio.run(main())
"""


def test_pages_between_what_is_kept_go_back_to_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=100, check=False)
    assert (done.stdout, done.stderr) == ("10\n", "")
