"""Runs the tasks that read whole files in the sandbox, with limits that follow from the size of the file."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, overload

from sendoff.errors import Invalid, Unavailable
from sendoff.sandbox import LIMIT_NAMES, SHORT_CPU_SECONDS, LimitReached
from sendoff.uploads.files.converting import Converted
from sendoff.uploads.files.results import Written
from sendoff.uploads.files.tasks import ConvertJson, FileTask, ValidateCsv, WriteResults
from sendoff.uploads.files.validating import Counts, Progress

if TYPE_CHECKING:
    from sendoff.sandbox import Sandbox

SHORT_FILE_BYTES = 100_000
"""A file of up to this size is a short task of the sandbox, with a second of CPU time, so that it does not wait for
large ones. Ordinary ones take 0.1 s, those in which every cell needs the phone library 0.8 s."""

CPU_SECONDS, CPU_SECONDS_PER_MEGABYTE = 5.0, 5.0
"""A file of ordinary numbers takes 0.1 s per megabyte, one in which every cell needs the phone library 2 s."""

SECONDS, SECONDS_PER_CPU_SECOND = 30.0, 4.0  # wall-clock time: processes share the cores


class FileWorker:
    """Runs file tasks. Raises Invalid or TooLarge if the file is at fault or takes too long, else Unavailable."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    @overload
    async def run(self, task: ValidateCsv, *, organization_id: str, progress: Progress = ...) -> Counts: ...
    @overload
    async def run(self, task: ConvertJson, *, organization_id: str, progress: Progress = ...) -> Converted: ...
    @overload
    async def run(self, task: WriteResults, *, organization_id: str, progress: Progress = ...) -> Written: ...
    async def run(
        self, task: FileTask, *, organization_id: str, progress: Progress = lambda _rows: None
    ) -> Counts | Converted | Written:
        """The task's answer; `progress` is called with the number of rows read. A cancelled caller ends the work."""
        cpu_seconds = _cpu_limit((await asyncio.to_thread(Path(task.source).stat)).st_size)
        seconds = SECONDS + SECONDS_PER_CPU_SECOND * cpu_seconds
        try:
            return await self._sandbox.run(
                task, organization_id=organization_id, cpu_seconds=cpu_seconds, seconds=seconds, progress=progress
            )
        except LimitReached as error:
            if error.limit == "time":  # the machine is busy, which is not the file's fault
                raise Unavailable(f"The file could not be read within {seconds:.0f} s; try again.") from None
            raise Invalid(
                f"The file takes more {LIMIT_NAMES[error.limit]} to read than one of its size should; "
                "check the column, or send it in parts.",
                field="file",
            ) from None


def _cpu_limit(size: int) -> float:
    if size <= SHORT_FILE_BYTES:
        return SHORT_CPU_SECONDS
    return CPU_SECONDS + CPU_SECONDS_PER_MEGABYTE * size / 1_000_000
