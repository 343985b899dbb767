"""Listening: what an organization's endpoints would get, shown to a client that asks for it and can be behind any NAT.

A listener is a view and not an endpoint: it has no row, it makes no deliveries, and its answers change nothing.
It asks again and again with the cursor of its last answer. The cursor alone says what it has seen, so that nothing is
shown twice and nothing is left out, whichever process answers and however often it restarts.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sendoff.authorization.requests import NO_CREDENTIALS, SignedRequest, sign_request
from sendoff.dialects.base import EventData
from sendoff.endpoints.manage import get_endpoint
from sendoff.endpoints.trial import Trial, render_trial
from sendoff.errors import Invalid, NotFound, RateLimited, Unavailable
from sendoff.ids import is_event_id, new_event_id
from sendoff.policy.endpoints.matching import matches
from sendoff.publishing.evaluation import input_of
from sendoff.store.queries.traffic import events

if TYPE_CHECKING:
    from sendoff.context import Context
    from sendoff.store.engine.database import Transaction
    from sendoff.store.tables import Event

MOST_OF_AN_ORGANIZATION = 5
"""Listeners of one organization that a process lets wait at once. Each holds a connection."""

MOST_OF_A_PROCESS = 100
"""Listeners of all organizations that a process lets wait at once. More would take connections from publishers."""

LONGEST_WAIT_SECONDS = 30.0
"""Seconds for which an answer may wait until there is an event. Proxies often close what is silent for 60 s."""

MOST_EVENTS = 50
"""Events in one answer to a listener. With more, one answer takes longer to render and holds more memory."""

MOST_BYTES = 512 * 1024
"""Events in one answer, and characters of their data together, except that one event is always shown. Both bound what a
listener takes in memory, and how long the event loop takes to sign and write the answer."""

LOOK_EVERY_SECONDS = 0.5
"""Seconds between two looks for new events, one for all listeners of a process. Shorter shows events sooner and costs
the database a statement each time, while anybody listens."""

OVERLAP_SECONDS = 6.0
"""Events are looked for from this long before the newest that was shown: one that was accepted earlier may be committed
later. Publishing ends within five seconds."""

MOST_SEEN = 150
"""Events within the overlap that a cursor names. Where more are accepted, the overlap is as much shorter."""

LOOK_BACK_SECONDS = 3600.0
"""A listener that was away for longer is shown the events of this last time alone, and the number of the others."""

_TOO_MANY = 10_000
_PREFIX = "evt_"
_ID_BYTES = 12


@dataclass(frozen=True, slots=True)
class Cursor:
    """What a listener has been shown: everything below the id `floor`, and from there on those of `seen`."""

    floor: str
    seen: tuple[str, ...] = ()

    @classmethod
    def ago(cls, seconds: float) -> Cursor:
        """The cursor of one that has seen what was accepted until then, by the clock that ids are made with."""
        now = int(new_event_id().removeprefix(_PREFIX)[:12], 16)
        return cls(f"{_PREFIX}{now - int(seconds * 1000):012x}{'0' * 12}")

    @classmethod
    def read(cls, text: str) -> Cursor:
        """Raises Invalid (field `cursor`) for a text that `write` did not make."""
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        ids = [f"{_PREFIX}{raw[at : at + _ID_BYTES].hex()}" for at in range(0, len(raw), _ID_BYTES)]
        if not 1 <= len(ids) <= 1 + MOST_SEEN or not is_event_id(ids[-1]):
            raise Invalid(
                "`cursor` is invalid; use the one of the answer before, or none to begin now.", field="cursor"
            )
        return cls(ids[0], tuple(ids[1:]))

    def write(self) -> str:
        """The text for a client, of four characters for three bytes."""
        raw = b"".join(bytes.fromhex(one.removeprefix(_PREFIX)) for one in (self.floor, *self.seen))
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    def after(self, shown: Sequence[str], settled: Cursor) -> Cursor:
        """The cursor after these were shown as well, and all that is below `settled`."""
        seen = sorted({*self.seen, *shown})[-MOST_SEEN:]
        trimmed = seen[0] if len(seen) == MOST_SEEN else self.floor
        floor = max(self.floor, settled.floor, trimmed)
        return Cursor(floor, tuple(one for one in seen if one >= floor))


@dataclass(frozen=True, slots=True)
class Window:
    """Which events are shown, signed as for `endpoint_id`, or with `secret` in the default dialect."""

    organization_id: str
    secret: str
    event_types: tuple[str, ...] = ("*",)
    endpoint_id: str | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """An event as an endpoint would get it; `request` is None, and `because` says why, if its transform fails."""

    event: Event
    request: SignedRequest | None
    because: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What there is to show. `skipped` events were accepted too long ago to be shown."""

    shown: list[Shown]
    cursor: Cursor
    skipped: int = 0


def listener_secret(seed: str) -> str:
    """The secret that listeners of one key verify with: always the same for a `seed`, which it does not betray."""
    digest = hmac.digest(seed.encode(), b"sendoff listener", hashlib.sha256)
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


async def listen(context: Context, window: Window, cursor: Cursor | None, *, wait_seconds: float) -> Answer:
    """What the window shows after the cursor, without one from now on; waits for it, at most `wait_seconds`.

    Raises NotFound for an endpoint that is not the organization's, RateLimited and Unavailable when too many wait.
    """
    if window.endpoint_id is not None:
        await get_endpoint(context, window.organization_id, window.endpoint_id)
    if cursor is None:
        return Answer([], Cursor.ago(0))
    cursor, skipped = await _skip_old(context, window, cursor)
    deadline = context.clock.monotonic() + min(wait_seconds, LONGEST_WAIT_SECONDS)
    feed = context.service(EventFeed)
    async with feed.joined(window.organization_id):
        while True:
            answer = await _show_next(context, window, cursor, skipped)
            cursor, left = answer.cursor, deadline - context.clock.monotonic()
            if answer.shown or skipped or left <= 0 or feed.is_closed:
                return answer
            await feed.wait(window.organization_id, seconds=left)


async def show_again(context: Context, window: Window, event_id: str) -> Shown:
    """One event of the organization, signed again. Raises NotFound; Invalid when the window does not show it."""
    async with context.database.read() as tx:
        event = await events.find(tx, event_id) if is_event_id(event_id) else None
    if event is None or event.organization_id != window.organization_id:
        raise NotFound("There is no such event.")
    shown = await _render(context, replace(window, event_types=("*",)), event)
    if shown is None:
        raise Invalid("This endpoint does not get the event: its subscription or its filter leaves it out.")
    return shown


async def _show_next(context: Context, window: Window, cursor: Cursor, skipped: int) -> Answer:
    settled = Cursor.ago(OVERLAP_SECONDS)
    new, is_cut = await _find_new(context, window.organization_id, cursor)
    shown = [one for one in [await _render(context, window, event) for event in new] if one is not None]
    if is_cut:  # what is left may be of any age
        settled = cursor
    return Answer(shown, cursor.after([event.id for event in new], settled), skipped)


async def _find_new(context: Context, organization_id: str, cursor: Cursor) -> tuple[list[Event], bool]:
    """The events after the cursor that fit into one answer, and whether there may be more."""
    seen, chosen, size = set(cursor.seen), list[str](), 0
    async with context.database.read(owner=organization_id) as tx:
        found = await events.newer_of_organization(
            tx, organization_id, cursor.floor, limit=MOST_EVENTS + len(cursor.seen)
        )
        for event_id, length in found:
            if event_id in seen:
                continue
            size += length
            if chosen and (size > MOST_BYTES or len(chosen) == MOST_EVENTS):
                return await _in_order(tx, chosen), True
            chosen.append(event_id)
        return await _in_order(tx, chosen), len(chosen) == MOST_EVENTS


async def _in_order(tx: Transaction, ids: Sequence[str]) -> list[Event]:
    found = await events.find_many(tx, ids)
    return [found[event_id] for event_id in ids if event_id in found]


async def _render(context: Context, window: Window, event: Event) -> Shown | None:
    """The event as the window shows it; None if it does not."""
    if not matches(window.event_types, event.type):
        return None
    source = input_of(event)
    if window.endpoint_id is not None:
        endpoint = await get_endpoint(context, window.organization_id, window.endpoint_id)
        trial: Trial = await render_trial(context, endpoint, source)
        return Shown(event, trial.request, trial.because) if trial.matched else None
    data = EventData(event.id, event.type, event.organization_id, event.occurred_at, source.data)
    dialect = context.dialects.default.name
    request = sign_request(context, data, dialect=dialect, url="", secrets=[window.secret], credentials=NO_CREDENTIALS)
    return Shown(event, request)


async def _skip_old(context: Context, window: Window, cursor: Cursor) -> tuple[Cursor, int]:
    """The cursor, moved to what may still be shown, and the number of events that it is moved past."""
    oldest = Cursor.ago(LOOK_BACK_SECONDS)
    if cursor.floor >= oldest.floor:
        return cursor, 0
    async with context.database.read(owner=window.organization_id) as tx:
        between = await events.count_between(tx, window.organization_id, cursor.floor, oldest.floor, limit=_TOO_MANY)
    return oldest, between - sum(1 for one in cursor.seen if one < oldest.floor)


class EventFeed:
    """Wakes listeners when their organization has new events: one statement for all of them, while anybody waits."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.listeners: Counter[str] = Counter()
        self._changed = asyncio.Condition()
        self._fresh: frozenset[str] = frozenset()
        self._looks = 0
        self._looking: asyncio.Task[None] | None = None
        self.is_closed = False

    @asynccontextmanager
    async def joined(self, organization_id: str) -> AsyncIterator[None]:
        """Count one more listener within the block. Raises RateLimited, Unavailable."""
        if self.listeners[organization_id] >= MOST_OF_AN_ORGANIZATION:
            raise RateLimited(
                limit=MOST_OF_AN_ORGANIZATION,
                observed=MOST_OF_AN_ORGANIZATION + 1,
                retry_after_seconds=5,
                message=f"The organization listens {MOST_OF_AN_ORGANIZATION} times already; end one of them.",
            )
        if self.listeners.total() >= MOST_OF_A_PROCESS:
            raise Unavailable("Too many clients are listening at this moment; try again later.")
        self.listeners[organization_id] += 1
        try:
            yield
        finally:
            self.listeners[organization_id] -= 1
            self.listeners += Counter()  # forgets those at zero

    async def wait(self, organization_id: str, *, seconds: float) -> None:
        """Return when the organization may have new events, after `seconds`, or when the process ends."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        looked = self._looks
        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(
                    lambda: self.is_closed or (self._looks > looked and organization_id in self._fresh)
                )
        except TimeoutError:
            return

    async def aclose(self) -> None:
        """End all waiting."""
        self.is_closed = True
        if self._looking is not None:
            self._looking.cancel()
        async with self._changed:
            self._changed.notify_all()

    async def _look(self) -> None:
        while self.listeners:
            since = Cursor.ago(OVERLAP_SECONDS).floor
            try:
                async with self._context.database.read() as tx:
                    found = await events.organizations_with_newer(tx, since)
            except Unavailable:
                found = frozenset()
            async with self._changed:
                self._fresh, self._looks = found, self._looks + 1
                self._changed.notify_all()
            await asyncio.sleep(LOOK_EVERY_SECONDS)
