"""Work on input of organizations, in processes with limits, shared round-robin.

Input of an organization is hostile until proven otherwise, and processing it costs. Four rules hold for all of it:

1. It is bounded in bytes and in work before any library sees it. The caller of the sandbox does that.
2. It is worked on neither in the event loop nor in a thread, which would hold the interpreter's lock, nor in one queue
   for all requests: the sandbox has a few processes, one task in each, and they get none of the installation's secrets.
3. Its owner is charged: each task belongs to an organization, and organizations are served round-robin.
4. Each task has a limit of CPU time, of wall-clock time and of memory; each organization has a limit of tasks at once
   and of tasks that wait; and the sandbox's processes are the installation's limit above them.

A process stays warm between tasks: a small task costs about half a millisecond beyond its own work. A task that is
over a limit ends with its process, as does, a moment later, one whose caller is cancelled. The kernel's timers enforce
the time limits, so that they hold within a regular expression as well.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import resource
import signal
import struct
import sys
import typing
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

import msgspec

from sendoff.errors import Invalid, SendoffError, TooLarge, Unavailable, Unprocessable

if typing.TYPE_CHECKING:
    from sendoff.context import Context

PROCESSES = 4
"""Tasks that run at once in one API or worker process. Each more takes up to `MEMORY_BYTES`, and CPU time from the
event loop, in spite of its lower priority."""

SHORT_CPU_SECONDS = 1.0
"""Tasks with at most this limit of CPU seconds are short: one process is kept free for them. Others are long, and an
organization runs one long task at a time."""

MOST_WAITING = 100
"""Tasks of one organization that wait for their turn; beyond it `run` raises Unavailable."""

MEMORY_BYTES = 1024 * 1024 * 1024
"""Address space of a process, of which Python and its libraries take about a quarter. More than this raises
LimitReached in the task."""

MOST_OF_ONE_ORGANIZATION = max(2, min(PROCESSES, os.cpu_count() or 1) - 1)
"""Tasks of one organization that run at once, of which one may be long. As many as there are cores leave none to others
while an organization sends nothing but what takes long; with one, its large file would hold up its own small ones."""

RESPITE_SECONDS = 0.25
"""How long a task may go on whose caller left, before its process is killed. Starting another one takes as long; with
less, clients that leave make the sandbox start processes instead of working."""

TASKS_PER_PROCESS = 500
"""Tasks after which a process is replaced, so that its memory goes back to the system; starting one takes 0.2 s."""

IDLE_SECONDS = 60.0
"""How often one of several idle processes is ended. One stays, because starting it again takes longer than most tasks;
each more keeps 30 MB and more."""

_NICENESS = 10
_LONGEST_FRAME = 64 * 1024 * 1024
_LENGTH = struct.Struct(">I")
# The processes work on what strangers sent and need none of the installation's secrets.
_SECRET_PREFIXES = ("SENDOFF_", "AWS_")

Limit = Literal["cpu", "time", "memory"]
Progress = Callable[[int], None]
"""Called with the number of units (rows, say) that a task has worked on."""

Answer_co = TypeVar("Answer_co", covariant=True)
Answer = TypeVar("Answer")
_LIMIT_BY_SIGNAL: dict[int, Limit] = {-signal.SIGPROF: "cpu", -signal.SIGALRM: "time"}
LIMIT_NAMES: dict[Limit, str] = {"cpu": "CPU time", "time": "time", "memory": "memory"}


class LimitReached(Unprocessable):
    """The work took more than it may."""

    def __init__(self, limit: Limit) -> None:
        super().__init__(f"The work takes more {LIMIT_NAMES[limit]} than it may; send less at once.")
        self.limit = limit


class Task(Protocol[Answer_co]):
    """A msgspec.Struct at the top of a module. The process imports that module, and with it as little as possible."""

    def run(self, progress: Progress) -> Answer_co:
        """The work. The answer is anything that msgspec can encode and decode as the annotated type.

        May raise Invalid and TooLarge, which `run` raises again.
        """


class Sandbox:
    """A few processes that are started when they are needed. Close it in the event loop that used it."""

    def __init__(self, processes: int = PROCESSES) -> None:
        self._turns = _Turns(processes)
        self._idle: list[_SandboxProcess] = []
        """The one used last at the end, from where the next one is taken."""
        self._next_end: asyncio.TimerHandle | None = None
        self._ending: asyncio.Task[None] | None = None
        self._closed = False

    @classmethod
    def of(cls, _context: Context) -> Sandbox:
        """For `context.service(Sandbox.of)`: the one of this API or worker process."""
        return cls()

    async def run(
        self,
        task: Task[Answer],
        *,
        organization_id: str,
        cpu_seconds: float,
        seconds: float,
        progress: Progress = lambda _units: None,
    ) -> Answer:
        """The task's answer. `seconds` of wall-clock time count from the start of the work, not while it waits.

        Raises Invalid or TooLarge when the task does, LimitReached, and Unavailable when the organization has too many
        tasks waiting or the process died for another reason. A cancelled caller ends the work.
        """
        async with self._turns.taken(organization_id, is_long=cpu_seconds > SHORT_CPU_SECONDS):
            process = await self._process()
            try:
                answer = await process.run(_Request.of(task, cpu_seconds, seconds), progress)
            finally:
                if process.is_reusable and not self._closed:
                    self._idle.append(process)
                    self._end_idle_later()
                else:
                    await process.kill()
        answer_type = typing.get_type_hints(type(task).run)["return"]
        return typing.cast("Answer", msgspec.json.decode(answer, type=answer_type))

    async def aclose(self) -> None:
        """End the idle processes, and those that work as soon as their callers are cancelled."""
        self._closed = True
        if self._next_end is not None:
            self._next_end.cancel()
        if self._ending is not None:
            await self._ending
        for process in self._idle:
            await process.kill()
        self._idle.clear()

    def _end_idle_later(self) -> None:
        if self._next_end is None and len(self._idle) > 1:
            self._next_end = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._end_idle)

    def _end_idle(self) -> None:
        self._next_end = None
        if len(self._idle) > 1:
            self._ending = asyncio.create_task(self._idle.pop(0).kill())
        self._end_idle_later()

    async def _process(self) -> _SandboxProcess:
        while self._idle:
            process = self._idle.pop()
            if process.is_alive:
                return process
            await process.kill()
        return await _SandboxProcess.start()


@dataclass(slots=True)
class _Queue:
    """What one organization runs and has waiting."""

    running: int = 0
    running_long: int = 0
    waiting: dict[bool, deque[asyncio.Future[None]]] = field(default_factory=lambda: {False: deque(), True: deque()})

    @property
    def is_empty(self) -> bool:
        return not self.running and not any(self.waiting.values())


class _Turns:
    """Permits to run: round robin by organization, first come first served within one."""

    def __init__(self, permits: int) -> None:
        self._permits = permits
        self._running = 0
        self._running_long = 0
        self._queues: dict[str, _Queue] = {}

    @asynccontextmanager
    async def taken(self, organization_id: str, *, is_long: bool) -> AsyncIterator[None]:
        """A permit for the length of the block. Raises Unavailable when the organization has too many waiting."""
        queue = self._queues.setdefault(organization_id, _Queue())
        if sum(map(len, queue.waiting.values())) >= MOST_WAITING:
            raise Unavailable("Too much of this organization's work is waiting; try again in a moment.")
        permit = asyncio.get_running_loop().create_future()
        queue.waiting[is_long].append(permit)
        self._assign()
        try:
            await permit
            yield
        finally:
            if permit.done() and not permit.cancelled():
                self._count(queue, is_long=is_long, change=-1)
            else:
                queue.waiting[is_long].remove(permit)
            if queue.is_empty:
                self._queues.pop(organization_id, None)
            self._assign()

    def _assign(self) -> None:
        """Give free permits to those who wait; an organization that gets one goes to the end of the round."""
        while (found := self._next()) is not None:
            organization_id, queue, is_long = found
            self._queues[organization_id] = self._queues.pop(organization_id)
            self._count(queue, is_long=is_long, change=1)
            queue.waiting[is_long].popleft().set_result(None)

    def _next(self) -> tuple[str, _Queue, bool] | None:
        if self._running >= self._permits:
            return None
        for organization_id, queue in self._queues.items():
            for is_long in (False, True):
                if queue.waiting[is_long] and self._may_run(queue, is_long=is_long):
                    return organization_id, queue, is_long
        return None

    def _may_run(self, queue: _Queue, *, is_long: bool) -> bool:
        most = max(self._permits - 1, 1)
        if queue.running >= min(most, MOST_OF_ONE_ORGANIZATION):
            return False
        return not is_long or (not queue.running_long and self._running_long < most)

    def _count(self, queue: _Queue, *, is_long: bool, change: int) -> None:
        queue.running += change
        self._running += change
        if is_long:
            queue.running_long += change
            self._running_long += change


class _Request(msgspec.Struct, frozen=True):
    """What a process is asked to do."""

    module: str
    name: str
    task: msgspec.Raw
    cpu_seconds: float
    seconds: float

    @classmethod
    def of(cls, task: Task[Any], cpu_seconds: float, seconds: float) -> _Request:
        kind = type(task)
        return cls(kind.__module__, kind.__qualname__, msgspec.Raw(msgspec.json.encode(task)), cpu_seconds, seconds)


class _Reached(msgspec.Struct, frozen=True, tag="progress"):
    units: int


class _Done(msgspec.Struct, frozen=True, tag="answer"):
    answer: msgspec.Raw


class _Refused(msgspec.Struct, frozen=True, tag="refusal"):
    """The task raised Invalid or TooLarge."""

    message: str
    field: str | None = None
    too_large: bool = False

    def as_error(self) -> SendoffError:
        return TooLarge(self.message) if self.too_large else Invalid(self.message, field=self.field)


class _Failed(msgspec.Struct, frozen=True, tag="failure"):
    """The task raised something else: a defect, or a lack of memory."""

    error: str
    out_of_memory: bool = False

    def as_error(self) -> Exception:
        if self.out_of_memory:
            return LimitReached("memory")
        return RuntimeError(f"A task in the sandbox failed: {self.error}")


_Reply = _Reached | _Done | _Refused | _Failed


class _SandboxProcess:
    """One process: the side that asks."""

    def __init__(self, process: Process) -> None:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the process was started without pipes")
        self._process, self._input, self._output = process, process.stdin, process.stdout
        self._tasks = 0
        self._is_at_rest = True

    @classmethod
    async def start(cls) -> _SandboxProcess:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_SECRET_PREFIXES)}
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable, "-m", "sendoff.sandbox", stdin=PIPE, stdout=PIPE, env=environment
            )
        )

    @property
    def is_alive(self) -> bool:
        return self._process.returncode is None

    @property
    def is_reusable(self) -> bool:
        """Whether it waits for its next task."""
        return self.is_alive and self._is_at_rest and self._tasks < TASKS_PER_PROCESS

    async def run(self, request: _Request, progress: Progress) -> bytes:
        """The encoded answer. Work whose caller is cancelled may still end within RESPITE_SECONDS."""
        exchange = asyncio.create_task(self._exchange(request, progress))
        try:
            return await asyncio.shield(exchange)
        except asyncio.CancelledError:
            try:
                await asyncio.wait([exchange], timeout=RESPITE_SECONDS)
            finally:  # when cancelled once more, too: the process is killed next, which reads its pipe to the end
                exchange.cancel()
                await asyncio.gather(exchange, return_exceptions=True)
            raise

    async def _exchange(self, request: _Request, progress: Progress) -> bytes:
        self._tasks, self._is_at_rest = self._tasks + 1, False
        try:
            frame = msgspec.json.encode(request)
            self._input.write(_LENGTH.pack(len(frame)) + frame)
            await self._input.drain()
            while True:
                reply = await self._receive()
                if isinstance(reply, _Reached):
                    progress(reply.units)
                    continue
                # After a lack of memory the process may be in any state; it is replaced.
                self._is_at_rest = not isinstance(reply, _Failed)
                if isinstance(reply, _Done):
                    return bytes(reply.answer)
                raise reply.as_error()
        except (ConnectionError, asyncio.IncompleteReadError):
            raise await self._cause_of_death() from None

    async def kill(self) -> None:
        if self.is_alive:
            with suppress(ProcessLookupError):
                self._process.kill()
        # wait() alone would block on output that is not read.
        await asyncio.shield(self._process.communicate())

    async def _receive(self) -> _Reply:
        (length,) = _LENGTH.unpack(await self._output.readexactly(_LENGTH.size))
        if length > _LONGEST_FRAME:
            await self.kill()
            raise Unavailable("The answer of this work is too long; send less at once.")
        reply: _Reply = msgspec.json.decode(await self._output.readexactly(length), type=_Reply)
        return reply

    async def _cause_of_death(self) -> SendoffError:
        # Its output has ended, so it has. Killing it here would reap it before asyncio reads its return code.
        await self._process.wait()
        limit = _LIMIT_BY_SIGNAL.get(self._process.returncode or 0)
        if limit is not None:
            return LimitReached(limit)
        return Unavailable("The process that did this work ended unexpectedly; try again.")


def main() -> None:
    """The process: run one task after the other until standard input ends."""
    _prepare()
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a library prints must not get between the replies
    while header := source.read(_LENGTH.size):
        (length,) = _LENGTH.unpack(header)
        request = msgspec.json.decode(source.read(length), type=_Request)
        try:
            _write(sink, _run_task(request, lambda units: _write(sink, _Reached(units))))
        except BrokenPipeError:
            return  # the process that asked is gone


def _prepare() -> None:
    os.nice(_NICENESS)
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Ctrl-C goes to the whole group; the process that asks decides what ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        import ctypes  # of no use elsewhere

        die_with_parent = 1
        ctypes.CDLL(None).prctl(die_with_parent, signal.SIGKILL)


def _run_task(request: _Request, progress: Progress) -> _Reply:
    try:
        task_type = _find(request)
        task = msgspec.json.decode(request.task, type=task_type)
        with _limits(request.cpu_seconds, request.seconds):
            answer = task.run(progress)
            return _Done(msgspec.Raw(msgspec.json.encode(answer)))
    except (Invalid, TooLarge) as error:
        return _Refused(error.message, getattr(error, "field", None), isinstance(error, TooLarge))
    except MemoryError:
        return _Failed("MemoryError", out_of_memory=True)
    except BrokenPipeError:
        raise
    except Exception as error:
        return _Failed(f"{type(error).__name__}: {error}"[:500])


def _find(request: _Request) -> Any:
    found: Any = importlib.import_module(request.module)
    for part in request.name.split("."):
        found = getattr(found, part)
    return found


@contextmanager
def _limits(cpu_seconds: float, seconds: float) -> Iterator[None]:
    """Timers whose unhandled signals end this process, even within native code."""
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _write(sink: typing.BinaryIO, reply: _Reply) -> None:
    frame = msgspec.json.encode(reply)
    rest = memoryview(_LENGTH.pack(len(frame)) + frame)
    while rest:
        rest = rest[sink.write(rest) :]


if __name__ == "__main__":
    main()
