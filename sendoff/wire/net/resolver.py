"""From a host name to its addresses."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Protocol, TypeVar

from sendoff.policy.addresses import Address
from sendoff.wire.errors import LocalFailure, NameNotFound, WireError

_T = TypeVar("_T")
Answer = tuple[Address, ...] | NameNotFound | LocalFailure

_MOST_NAMES = 10_000
_NO_SUCH_NAME = {socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_FAIL, socket.EAI_ADDRFAMILY}


class Resolver(Protocol):
    """Looks host names up."""

    async def resolve(self, host: str) -> Sequence[Address]:
        """All addresses of `host`, best first; raises NameNotFound or LocalFailure."""

    def is_queued(self, host: str) -> bool:
        """Whether the lookup of `host` has not begun because others are before it."""


def look_up(host: str) -> Answer:
    """Ask the system, in the calling thread, which may take long."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno in _NO_SUCH_NAME:
            return NameNotFound("The host name does not exist, or has no address.")
        return LocalFailure("The host name cannot be looked up at the moment: the resolver does not answer.")
    texts = dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found)
    return tuple(ip_address(text) for text in texts)


class SystemResolver:
    """The system's resolver in threads of its own.

    Answers are kept for a minute, failures for a few seconds, and simultaneous lookups of one name share a thread.
    A name whose lookup turns out slow moves to a line of its own and starts there the next time. In each line domains
    take turns, and the names of one domain occupy a quarter of the threads at most, so that names which are slow or
    never resolve do not delay the names of others.
    """

    def __init__(
        self,
        *,
        keep_seconds: float = 60.0,
        keep_failure_seconds: float = 5.0,
        threads: int = 32,
        slow_threads: int = 8,
        slow_after_seconds: float = 1.0,
        look_up: Callable[[str], Answer] = look_up,
    ) -> None:
        self._keep_seconds = keep_seconds
        self._keep_failure_seconds = keep_failure_seconds
        self._slow_after_seconds = slow_after_seconds
        self._look_up = look_up
        self._kept: OrderedDict[str, tuple[float, Answer]] = OrderedDict()
        self._slow_names: OrderedDict[str, None] = OrderedDict()
        self._lookups: dict[str, _Lookup] = {}
        self._line = _Line(threads)
        self._slow_line = _Line(slow_threads)

    async def resolve(self, host: str) -> Sequence[Address]:
        """All addresses of `host`, best first; raises NameNotFound or LocalFailure."""
        loop = asyncio.get_running_loop()
        kept = self._kept.get(host)
        if kept is not None and kept[0] > loop.time():
            return _unwrap(kept[1])
        lookup = self._lookups.get(host)
        if lookup is None:
            lookup = self._lookups[host] = _Lookup(host, loop)
            lookup.line = self._slow_line if host in self._slow_names else self._line
            lookup.line.add(lookup)
        lookup.interested += 1
        self._advance(lookup.line)
        try:
            return _unwrap(await asyncio.shield(lookup.answer))
        finally:
            lookup.interested -= 1

    def is_queued(self, host: str) -> bool:
        """Whether the lookup of `host` still waits for a thread: a delay on this side and not the receiver's."""
        lookup = self._lookups.get(host)
        return lookup is not None and not lookup.started

    def _advance(self, line: _Line) -> None:
        while (lookup := line.next()) is not None:
            if lookup.interested:
                self._start(lookup)
            else:
                del self._lookups[lookup.host]  # every caller has given up; the next one starts a new lookup

    def _start(self, lookup: _Lookup) -> None:
        lookup.started = True
        lookup.line.occupy(lookup.domain)
        lookup.timer = lookup.loop.call_later(self._slow_after_seconds, self._demote, lookup)
        try:
            # Daemon threads, so that a resolver that hangs does not keep a process from ending.
            threading.Thread(target=self._run, args=(lookup,), name="resolver", daemon=True).start()
        except RuntimeError:
            self._done(lookup, LocalFailure("The host name cannot be looked up: no thread can be started."))

    def _run(self, lookup: _Lookup) -> None:
        try:
            answer = self._look_up(lookup.host)
        except Exception as error:  # a lookup without an answer would keep its place in the line for ever
            answer = LocalFailure(f"The host name cannot be looked up: {type(error).__name__}.")
        with contextlib.suppress(RuntimeError):  # the loop is closed, nobody waits any more
            lookup.loop.call_soon_threadsafe(self._done, lookup, answer)

    def _demote(self, lookup: _Lookup) -> None:
        _remember(self._slow_names, lookup.host, None)
        if lookup.line is self._line and self._slow_line.free > -self._slow_line.size:
            self._line.vacate(lookup.domain)
            self._slow_line.occupy(lookup.domain)
            lookup.line = self._slow_line
            self._advance(self._line)

    def _done(self, lookup: _Lookup, answer: Answer) -> None:
        if lookup.timer is not None:
            lookup.timer.cancel()
        lookup.line.vacate(lookup.domain)
        del self._lookups[lookup.host]
        if not isinstance(answer, LocalFailure):
            seconds = self._keep_seconds if isinstance(answer, tuple) else self._keep_failure_seconds
            _remember(self._kept, lookup.host, (lookup.loop.time() + seconds, answer))
        lookup.answer.set_result(answer)
        self._advance(lookup.line)


class _Line:
    """Lookups that share a number of threads, by turns of domains.

    `free` falls below zero when slow lookups are moved in.
    """

    def __init__(self, size: int) -> None:
        self.size = self.free = size
        self._most_per_domain = max(1, size // 4)
        self._queues: OrderedDict[str, deque[_Lookup]] = OrderedDict()
        self._running: Counter[str] = Counter()

    def add(self, lookup: _Lookup) -> None:
        self._queues.setdefault(lookup.domain, deque()).append(lookup)

    def next(self) -> _Lookup | None:
        """Take the lookup whose turn it is, if a thread is free for it."""
        if self.free <= 0:
            return None
        # Few domains are skipped: only those that already occupy their share of the threads.
        domain = next((name for name in self._queues if self._running[name] < self._most_per_domain), None)
        if domain is None:
            return None
        queue = self._queues.pop(domain)
        lookup = queue.popleft()
        if queue:
            self._queues[domain] = queue
        return lookup

    def occupy(self, domain: str) -> None:
        self.free -= 1
        self._running[domain] += 1

    def vacate(self, domain: str) -> None:
        self.free += 1
        self._running[domain] -= 1
        if not self._running[domain]:
            del self._running[domain]


class _Lookup:
    """One name being looked up for whoever is interested."""

    line: _Line

    def __init__(self, host: str, loop: asyncio.AbstractEventLoop) -> None:
        self.host = host
        self.domain = ".".join(host.split(".")[-2:])
        self.started = False
        self.loop = loop
        self.answer: asyncio.Future[Answer] = loop.create_future()
        self.interested = 0
        self.timer: asyncio.TimerHandle | None = None


def _remember(names: OrderedDict[str, _T], host: str, value: _T) -> None:
    names.pop(host, None)
    names[host] = value
    if len(names) > _MOST_NAMES:
        names.popitem(last=False)


def _unwrap(answer: Answer) -> tuple[Address, ...]:
    if isinstance(answer, WireError):
        # A fresh one for each: an exception that is raised twice collects both tracebacks.
        raise type(answer)(*answer.args)
    return answer
