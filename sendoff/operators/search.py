"""Search: what an operator pastes is looked up as what it looks like, from an event's id to a word in its data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from sendoff.accounts.authentication import KEY_PREFIX, hash_key
from sendoff.ids import event_time, is_event_id, is_uuid
from sendoff.store.engine.paging import PAGE_SECONDS
from sendoff.store.queries import accounts, endpoints
from sendoff.store.queries.traffic import dead_letters, delivery_history, event_lists, events, replays
from sendoff.store.queries.traffic.event_lists import EventFilter, EventPage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sendoff.context import Context
    from sendoff.store.engine.database import Transaction
    from sendoff.store.queries.accounts import ListedKey
    from sendoff.store.tables import Endpoint, Event, Organization

MOST_FOUND = 20
"""Results of one kind that are shown."""

_READ_AT_ONCE = 10_000
"""Events whose data is read between two looks at the clock."""

_EMAIL = re.compile(r"[^@\s/]+@[^@\s/]+")
_HOST = re.compile(
    r"(?:[a-z0-9-]+\.)+[a-z]{2,}(?::[0-9]+)?(?:/\S*)?|localhost(?::[0-9]+)?(?:/\S*)?|[0-9.]{7,15}:[0-9]+\S*", re.I
)


class SearchedKind(StrEnum):
    """What the searched text looks like."""

    EVENT_ID = "event_id"
    UUID = "uuid"
    REQUEST_ID = "request_id"
    EMAIL = "email"
    KEY = "key"
    URL = "url"
    TAG = "tag"
    TEXT = "text"


class Found(StrEnum):
    """What a result is."""

    EVENT = "event"
    DELIVERY = "delivery"
    DEAD_LETTER = "dead_letter"
    ENDPOINT = "endpoint"
    REPLAY = "replay"
    ORGANIZATION = "organization"
    KEY = "key"


@dataclass(frozen=True, slots=True)
class SearchResult:
    """One thing that was found; `title` is what people know it by."""

    type: Found
    id: str
    organization_id: str | None
    title: str
    accepted_at: datetime | None = None
    """When an event was accepted; None for everything else."""


@dataclass(frozen=True, slots=True)
class SearchReport:
    """What was found. `scanned` is set if the text was looked for in the data of this many events, and not in more."""

    kind: SearchedKind
    results: Sequence[SearchResult]
    scanned: int | None = None
    last_id: str | None = None
    """The last event that was read, if there are older ones: a search `before` it goes on."""

    @property
    def scanned_back_to(self) -> datetime | None:
        """When the last event that was read was accepted; None if there are no older ones."""
        return None if self.last_id is None else event_time(self.last_id)


async def search(context: Context, text: str) -> SearchReport:
    """Look the text up in all organizations, and in the data of the newest events."""
    return await _search(context, text.strip(), None)


async def search_briefly(context: Context, text: str, *, before: str | None = None) -> SearchReport:
    """As `search`, but reading events' data for PAGE_SECONDS; with `before` in events older than this id alone."""
    text, deadline = text.strip(), context.clock.monotonic() + PAGE_SECONDS
    if before is None:
        return await _search(context, text, deadline)
    async with context.database.read() as tx:
        page = await _search_data(context, tx, text, before, deadline)
    return SearchReport(SearchedKind.TEXT, [*map(_event, page.events)], page.scanned, page.last_id)


async def _search(context: Context, text: str, deadline: float | None) -> SearchReport:
    async with context.database.read() as tx:
        kind = classify(text)
        if kind is not SearchedKind.TEXT:
            return SearchReport(kind, await _LOOK_UPS[kind](tx, text))
        tagged = await event_lists.page(tx, EventFilter(tag=text), limit=MOST_FOUND)
        if tagged.events:
            return SearchReport(SearchedKind.TAG, [_event(event) for event in tagged.events])
        named = [_organization(one) for one in await accounts.named_like(tx, text, limit=MOST_FOUND)]
        named += [_endpoint(one) for one in await endpoints.described_like(tx, text, limit=MOST_FOUND)]
        page = await _search_data(context, tx, text, None, deadline)
        return SearchReport(SearchedKind.TEXT, [*named, *map(_event, page.events)], page.scanned, page.last_id)


async def _search_data(
    context: Context, tx: Transaction, text: str, before: str | None, deadline: float | None
) -> EventPage:
    """The newest events whose data contains the text, until the clock's `deadline`; None bounds their number alone."""
    chosen, read = EventFilter(q=text), 0
    if deadline is None:
        return await event_lists.page(tx, chosen, limit=MOST_FOUND, before=before)
    while True:
        page = await event_lists.page(tx, chosen, limit=MOST_FOUND, before=before, scans=_READ_AT_ONCE)
        read += page.scanned or 0
        if page.events or page.last_id is None or context.clock.monotonic() >= deadline:
            return EventPage(page.events, read if page.last_id else None, page.last_id)
        before = page.last_id


def classify(text: str) -> SearchedKind:
    """What the text looks like. Pure; that a text is a tag shows only when it is looked up."""
    if is_event_id(text):
        return SearchedKind.EVENT_ID
    if is_uuid(text):
        return SearchedKind.UUID
    if text.startswith("req_"):
        return SearchedKind.REQUEST_ID
    if text.startswith(KEY_PREFIX):
        return SearchedKind.KEY
    if "://" in text or _HOST.fullmatch(text):
        return SearchedKind.URL
    return SearchedKind.EMAIL if _EMAIL.fullmatch(text) else SearchedKind.TEXT


async def _by_event_id(tx: Transaction, text: str) -> list[SearchResult]:
    event = await events.find(tx, text)
    return [] if event is None else [_event(event)]


async def _by_uuid(tx: Transaction, text: str) -> list[SearchResult]:
    found: list[SearchResult] = []
    identifier = text.lower()
    if delivery := await delivery_history.find(tx, identifier):
        title = f"delivery of {delivery.event_id}, {delivery.state}"
        found.append(SearchResult(Found.DELIVERY, delivery.id, delivery.organization_id, title))
    if letter := await dead_letters.find(tx, identifier):
        title = f"dead letter of {letter.event_id}, {letter.reason}"
        found.append(SearchResult(Found.DEAD_LETTER, letter.id, letter.organization_id, title))
    if endpoint := await endpoints.find(tx, identifier):
        found.append(_endpoint(endpoint))
    if organization := await accounts.find_organization(tx, identifier):
        found.append(_organization(organization))
    if key := await accounts.find_key(tx, identifier):
        found.append(SearchResult(Found.KEY, key.id, key.organization_id, f"{key.prefix}…"))
    if replay := await replays.find(tx, identifier):
        found.append(SearchResult(Found.REPLAY, replay.id, None, f"replay of {replay.total}, {replay.state}"))
    return found


async def _by_request_id(tx: Transaction, text: str) -> list[SearchResult]:
    page = await event_lists.page_of_request(tx, EventFilter(request_id=text), limit=MOST_FOUND)
    return [_event(event) for event in page.events]


async def _by_email(tx: Transaction, text: str) -> list[SearchResult]:
    organizations = await accounts.organizations_of_user(tx, text, limit=MOST_FOUND)
    keys = await accounts.keys_of_user(tx, text, limit=MOST_FOUND)
    return [*map(_organization, organizations), *map(_key, keys)]


async def _by_key(tx: Transaction, text: str) -> list[SearchResult]:
    """By what lists show of a key, its first twelve characters, or by the whole key."""
    found = await accounts.keys_with_prefix(tx, text[:12], limit=MOST_FOUND)
    exact = [one for one in found if one.key.key_hash == hash_key(text)]
    return [_key(one) for one in exact or found]


async def _by_url(tx: Transaction, text: str) -> list[SearchResult]:
    return [_endpoint(one) for one in await endpoints.with_url_like(tx, text, limit=MOST_FOUND)]


_LOOK_UPS = {
    SearchedKind.EVENT_ID: _by_event_id,
    SearchedKind.UUID: _by_uuid,
    SearchedKind.REQUEST_ID: _by_request_id,
    SearchedKind.EMAIL: _by_email,
    SearchedKind.KEY: _by_key,
    SearchedKind.URL: _by_url,
}


def _event(event: Event) -> SearchResult:
    return SearchResult(Found.EVENT, event.id, event.organization_id, event.type, event.created_at)


def _endpoint(endpoint: Endpoint) -> SearchResult:
    return SearchResult(Found.ENDPOINT, endpoint.id, endpoint.organization_id, endpoint.url)


def _organization(organization: Organization) -> SearchResult:
    return SearchResult(Found.ORGANIZATION, organization.id, organization.id, organization.name)


def _key(listed: ListedKey) -> SearchResult:
    return SearchResult(Found.KEY, listed.key.id, listed.key.organization_id, f"{listed.key.prefix}… of {listed.email}")
