"""How requests that come at once share what there is.

Turns, by a name that is usually an organization's id: a number at a time of each, the others wait in line. Or one call
for many: what is asked while one is under way goes into the next.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Sequence

Question = TypeVar("Question")
Answer = TypeVar("Answer")


class Turns:
    """Lines of this process, one for each name that has a turn or waits for one.

    Ask for a turn before you take what others need as well, such as a connection: who waits here holds nothing.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._lines: dict[Hashable, _Line] = {}

    @asynccontextmanager
    async def taken(self, name: Hashable) -> AsyncIterator[None]:
        """A turn of `name` for the length of the block, in the order in which they were asked for."""
        line = self._lines.get(name)
        if line is None:
            line = self._lines[name] = _Line(asyncio.Semaphore(self._at_once))
        line.users += 1
        try:
            async with line.turns:
                yield
        finally:
            line.users -= 1
            if not line.users:
                del self._lines[name]

    def count(self, name: Hashable) -> int:
        """How many of `name` have a turn or wait for one."""
        line = self._lines.get(name)
        return 0 if line is None else line.users


@dataclass(slots=True)
class _Line:
    turns: asyncio.Semaphore
    users: int = 0


class Grouping(Generic[Question, Answer]):
    """Asks something for all who wait at once, so that a flood of requests holds one connection and not all of them.

    A question that comes alone is asked at once. Nothing is kept: an answer is never older than its question.
    """

    def __init__(self, call: Callable[[Sequence[Question]], Awaitable[Sequence[Answer]]], *, at_most: int) -> None:
        """`call` answers up to `at_most` questions, in their order; what it raises, all of them raise."""
        self._call = call
        self._at_most = at_most
        self._waiting: deque[tuple[Question, asyncio.Future[Answer]]] = deque()
        self._at_work: asyncio.Task[None] | None = None

    async def ask(self, asked: Question) -> Answer:
        """The answer to one question. A caller that is cancelled leaves those of the others alone."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, answer))
        if self._at_work is None or self._at_work.done():
            # Without the context of the one that asks first, whose request id would be in the log lines of all.
            self._at_work = asyncio.create_task(self._work(), context=Context())
        return await answer

    async def _work(self) -> None:
        while self._waiting:
            group = [self._waiting.popleft() for _ in range(min(self._at_most, len(self._waiting)))]
            group = [(asked, answer) for asked, answer in group if not answer.done()]
            if group:
                await self._answer(group)

    async def _answer(self, group: Sequence[tuple[Question, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._call([asked for asked, _ in group])
        except BaseException as error:
            for _, answer in group:
                if answer.done():
                    continue
                if isinstance(error, Exception):
                    answer.set_exception(error)
                else:
                    answer.cancel()
            if not isinstance(error, Exception):
                raise
            return
        for (_, answer), given in zip(group, answers, strict=True):
            if not answer.done():
                answer.set_result(given)
