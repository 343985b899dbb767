"""Resolves host names to addresses.

The resolver also decides whose failure it is when the DNS does not answer for a name (SERVFAIL, timeouts). If other
names were answered since that lookup began, the name's own servers are at fault, and the endpoint is charged. If no
name was answered, the failure is local.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

from sendoff.policy.endpoints.addresses import Address
from sendoff.wire.errors import LocalFailure, NameLookupFailed, NameNotFound, NameUnanswered, WireError

_T = TypeVar("_T")
Answer = tuple[Address, ...] | NameNotFound | NameLookupFailed | LocalFailure

LONGEST_BACKOFF_SECONDS = 120.0
"""The longest time that a name without an answer is not looked up again. A higher value costs fewer lookups of broken
names, and deliveries resume that much later after an outage during which no other name was answered."""

_STREAK_SECONDS = 600.0
"""Failures of one name that are further apart than this do not belong together: the backoff starts again."""

_MOST_NAMES = 10_000
"""Answers, slow names and failing names that are remembered, of each; the oldest are forgotten beyond it."""

_MAX_ADDRESSES = 64
"""Addresses of a name that are kept, judged and dialed. A hostile answer holds 4,000, of which each costs time in the
event loop at every connection, and memory; real names have a dozen."""

_HOSTS_FILE = Path("/etc/hosts")
_NO_SUCH_NAME = {socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_FAIL, socket.EAI_ADDRFAMILY}


class Resolver(Protocol):
    """Looks host names up."""

    async def resolve(self, host: str, *, owner: str | None = None) -> Sequence[Address]:
        """All addresses of `host`, best first; raises NameNotFound, NameLookupFailed or LocalFailure.

        `owner` is the organization that the lookup is for: owners are served round-robin.
        """

    def is_queued(self, host: str) -> bool:
        """Whether the lookup of `host` has not begun because others are before it."""


def look_up(host: str) -> Answer:
    """Ask the system, in the calling thread, which may take long."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno in _NO_SUCH_NAME:
            return NameNotFound("The host name does not exist, or has no address.")
        if error.errno == socket.EAI_AGAIN:
            return NameUnanswered("The host name cannot be looked up at the moment: the resolver does not answer.")
        return LocalFailure("The host name cannot be looked up at the moment: the resolver failed on this machine.")
    texts = dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found)
    return tuple(ip_address(text) for text in islice(texts, _MAX_ADDRESSES))


def is_local_name(host: str, hosts_file: Path = _HOSTS_FILE) -> bool:
    """Whether this machine may know `host` without the DNS, so that its answer does not prove that the DNS works."""
    name = host.rstrip(".").lower()
    if "." not in name or name.endswith(".localhost"):
        return True  # container runtimes answer for single labels themselves
    try:
        lines = hosts_file.read_text(errors="replace").splitlines()
    except OSError:
        return False
    return any(name in line.partition("#")[0].lower().split()[1:] for line in lines)


class SystemResolver:
    """The system's resolver in threads of its own.

    Answers are kept for a minute, failures for a few seconds, and simultaneous lookups of one name share a thread. A
    name without an answer is looked up at growing intervals. A name whose lookup turns out slow moves to a queue of its
    own and starts there the next time. Each queue serves owners round-robin, and one owner occupies at most a quarter
    of the threads, so that names which are slow or never resolve do not delay the names of others. A lookup without an
    owner belongs to its domain.
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
        self._kept: OrderedDict[str, _KeptAnswer] = OrderedDict()
        self._failing: OrderedDict[str, _FailureStreak] = OrderedDict()
        self._slow_names: OrderedDict[str, None] = OrderedDict()
        self._lookups: dict[str, _Lookup] = {}
        self._queue = _FairQueue(threads)
        self._slow_queue = _FairQueue(slow_threads)
        self._dns_answered_at = float("-inf")

    async def resolve(self, host: str, *, owner: str | None = None) -> Sequence[Address]:
        """All addresses of `host`, best first; raises NameNotFound, NameLookupFailed or LocalFailure."""
        loop = asyncio.get_running_loop()
        kept = self._kept.get(host)
        if kept is not None and kept.until > loop.time() and not self._is_outdated(kept):
            return _unwrap(kept.answer)
        lookup = self._lookups.get(host)
        if lookup is None:
            queue = self._slow_queue if host in self._slow_names else self._queue
            lookup = self._lookups[host] = _Lookup(host, loop, queue)
        lookup.queue.add(lookup, owner or ".".join(host.split(".")[-2:]))
        lookup.interested += 1
        self._advance(lookup.queue)
        try:
            return _unwrap(await asyncio.shield(lookup.answer))
        finally:
            lookup.interested -= 1

    def is_queued(self, host: str) -> bool:
        """Whether the lookup of `host` still waits for a thread: a delay on this side and not the receiver's."""
        lookup = self._lookups.get(host)
        return lookup is not None and lookup.is_queued

    def _is_outdated(self, kept: _KeptAnswer) -> bool:
        """Whether it says that nothing resolves, and a name was answered since."""
        return isinstance(kept.answer, NameUnanswered) and self._dns_answered_at > kept.began

    def _advance(self, queue: _FairQueue) -> None:
        while (lookup := queue.next()) is not None:
            lookup.is_queued = False
            if lookup.interested:
                self._start(lookup)
            else:
                del self._lookups[lookup.host]  # every caller has given up; the next one starts a new lookup

    def _start(self, lookup: _Lookup) -> None:
        lookup.began = time.monotonic()  # finer than the loop's clock, which stands still within an iteration
        lookup.queue.occupy(lookup.owner)
        lookup.timer = lookup.loop.call_later(self._slow_after_seconds, self._demote, lookup)
        try:
            # Daemon threads, so that a resolver that hangs does not keep a process from ending.
            threading.Thread(target=self._run, args=(lookup,), name="resolver", daemon=True).start()
        except RuntimeError:
            failure = LocalFailure("The host name cannot be looked up: no thread can be started.")
            self._done(lookup, failure, is_from_dns=False)

    def _run(self, lookup: _Lookup) -> None:
        try:
            answer = self._look_up(lookup.host)
        except Exception as error:  # a lookup that never ends would occupy its thread of the queue for good
            answer = LocalFailure(f"The host name cannot be looked up: {type(error).__name__}.")
        is_from_dns = isinstance(answer, tuple) and not is_local_name(lookup.host)
        with contextlib.suppress(RuntimeError):  # the loop is closed, and no caller waits for the answer
            lookup.loop.call_soon_threadsafe(partial(self._done, lookup, answer, is_from_dns=is_from_dns))

    def _demote(self, lookup: _Lookup) -> None:
        _remember(self._slow_names, lookup.host, None)
        if lookup.queue is self._queue and self._slow_queue.can_take_over(lookup.owner):
            self._queue.vacate(lookup.owner)
            self._slow_queue.occupy(lookup.owner)
            lookup.queue = self._slow_queue
            self._advance(self._queue)

    def _done(self, lookup: _Lookup, answer: Answer, *, is_from_dns: bool) -> None:
        if lookup.timer is not None:
            lookup.timer.cancel()
        lookup.queue.vacate(lookup.owner)
        del self._lookups[lookup.host]
        if is_from_dns:
            self._dns_answered_at = time.monotonic()
        if isinstance(answer, NameUnanswered):
            answer, seconds = self._judge_failure(lookup, answer)
        else:
            self._failing.pop(lookup.host, None)
            seconds = self._keep_seconds if isinstance(answer, tuple) else self._keep_failure_seconds
        if not isinstance(answer, LocalFailure) or isinstance(answer, NameUnanswered):
            _remember(self._kept, lookup.host, _KeptAnswer(lookup.loop.time() + seconds, answer, lookup.began))
        lookup.answer.set_result(answer)
        self._advance(lookup.queue)

    def _judge_failure(self, lookup: _Lookup, answer: NameUnanswered) -> tuple[Answer, float]:
        """Whose failure it is, and for how many seconds the name is not looked up again."""
        last = self._failing.get(lookup.host)
        if last is None or lookup.began - last.began > _STREAK_SECONDS:
            last = _FailureStreak(0, lookup.began)
        _remember(self._failing, lookup.host, _FailureStreak(last.count + 1, lookup.began))
        longest = max(self._keep_failure_seconds, LONGEST_BACKOFF_SECONDS)
        seconds = min(longest, self._keep_failure_seconds * 2.0 ** min(last.count, 30))
        if self._dns_answered_at > last.began:
            charged = NameLookupFailed(
                "The host name cannot be looked up, although other names can: its name servers do not answer, or "
                "answer SERVFAIL. Correct the DNS of its domain."
            )
            return charged, seconds
        return answer, seconds


@dataclass(frozen=True, slots=True)
class _KeptAnswer:
    until: float
    answer: Answer
    began: float
    """When the lookup began, on the monotonic clock."""


@dataclass(frozen=True, slots=True)
class _FailureStreak:
    """Failed lookups of one name in a row; `began` is when the last of them began, on the monotonic clock."""

    count: int
    began: float


class _FairQueue:
    """Lookups that share a number of threads; owners are served round-robin.

    `free` falls below zero when slow lookups are moved in.
    """

    def __init__(self, threads: int) -> None:
        self._threads = self._free = threads
        self._most_per_owner = max(1, threads // 4)
        self._queues: OrderedDict[str, dict[_Lookup, None]] = OrderedDict()
        self._running: Counter[str] = Counter()

    def add(self, lookup: _Lookup, owner: str) -> None:
        """Queue it for `owner` too: it starts at the first turn of any owner that asked for it."""
        if lookup.is_queued:
            self._queues.setdefault(owner, {})[lookup] = None
            lookup.owners.add(owner)

    def next(self) -> _Lookup | None:
        """Take the lookup whose turn it is, if a thread is free for it."""
        if self._free <= 0:
            return None
        # Few owners are skipped: only those that already occupy their share of the threads.
        owner = next((name for name in self._queues if self._running[name] < self._most_per_owner), None)
        if owner is None:
            return None
        lookup = next(iter(self._queues[owner]))
        lookup.owner = owner
        for each in lookup.owners:
            del self._queues[each][lookup]
            if not self._queues[each]:
                del self._queues[each]
        if owner in self._queues:
            self._queues.move_to_end(owner)
        return lookup

    def can_take_over(self, owner: str) -> bool:
        """Whether a slow lookup may be moved in: beyond the threads, but not beyond the owner's share of them."""
        return self._free > -self._threads and self._running[owner] < self._most_per_owner

    def occupy(self, owner: str) -> None:
        self._free -= 1
        self._running[owner] += 1

    def vacate(self, owner: str) -> None:
        self._free += 1
        self._running[owner] -= 1
        if not self._running[owner]:
            del self._running[owner]


class _Lookup:
    """One name being looked up for all callers that ask for it meanwhile."""

    owner: str
    """The owner that occupies the thread."""

    def __init__(self, host: str, loop: asyncio.AbstractEventLoop, queue: _FairQueue) -> None:
        self.host = host
        self.loop = loop
        self.queue = queue
        self.owners: set[str] = set()
        self.is_queued = True
        self.began = 0.0
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
        # A new exception for each caller: an exception that is raised twice collects both tracebacks.
        raise type(answer)(*answer.args)
    return answer
