"""Performs tasks outside the event loop: small files in a thread, larger ones in a process of their own.

A thread would hold the interpreter's lock for the seconds that a million rows take, and stall every request; a
process costs a fifth of a second to start and gives its memory back when it ends.
"""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import TypeVar, overload

import msgspec

from sendoff.errors import Unavailable
from sendoff.uploads.files.converting import Converted
from sendoff.uploads.files.results import Written
from sendoff.uploads.files.tasks import ConvertJson, Done, Line, Refused, Task, ValidateCsv, WriteResults
from sendoff.uploads.files.validating import Counts, Progress

SMALL_FILE_BYTES = 200_000

Result = TypeVar("Result")

# The process works on strangers' files and needs none of our secrets.
_KEPT_FROM_IT = ("SENDOFF_", "AWS_")


class FileWorker:
    """Runs one process at a time, so that its memory counts once; others wait for their turn."""

    def __init__(self, *, small_file_bytes: int = SMALL_FILE_BYTES) -> None:
        self._small_file_bytes = small_file_bytes
        self._turn = asyncio.Semaphore(1)

    @overload
    async def run(self, task: ValidateCsv, progress: Progress = ...) -> Counts: ...
    @overload
    async def run(self, task: ConvertJson, progress: Progress = ...) -> Converted: ...
    @overload
    async def run(self, task: WriteResults, progress: Progress = ...) -> Written: ...
    async def run(self, task: Task, progress: Progress = lambda _rows: None) -> Counts | Converted | Written:
        """The task's answer; `progress` is called with the number of rows read, in this event loop or a thread.

        Raises Invalid or TooLarge if the file is at fault, Unavailable if the process died (of lack of memory,
        say). Ends the process when the caller is cancelled.
        """
        if await asyncio.to_thread(_size_of, task.source) <= self._small_file_bytes:
            return await asyncio.to_thread(task.perform, progress)
        async with self._turn:
            return msgspec.json.decode(await _perform_in_process(task, progress), type=_answer_type(task))


def _size_of(path: str) -> int:
    return Path(path).stat().st_size


def _answer_type(task: Task) -> type[Counts | Converted | Written]:
    if isinstance(task, ValidateCsv):
        return Counts
    return Converted if isinstance(task, ConvertJson) else Written


async def _perform_in_process(task: Task, progress: Progress) -> bytes:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sendoff.uploads.files.tasks", stdin=PIPE, stdout=PIPE, env=_environment()
    )
    try:
        return await _converse(process, msgspec.json.encode(task), progress)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()  # wait() alone would wait for ever for output that nobody reads


async def _converse(process: Process, task: bytes, progress: Progress) -> bytes:
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the process was started without pipes")
    process.stdin.write(task)
    process.stdin.write_eof()
    async for line in process.stdout:
        said: Line = msgspec.json.decode(line, type=Line)
        if isinstance(said, Refused):
            raise said.as_error()
        if isinstance(said, Done):
            return bytes(said.answer)
        progress(said.rows)
    raise Unavailable("The process that reads uploads ended unexpectedly; try again.")


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(_KEPT_FROM_IT)}
