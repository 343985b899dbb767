"""Events as the product's backend publishes them: decoded and checked; `data` stays the bytes that were sent."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import msgspec

from sendoff.errors import Invalid, TooLarge, unknown_name
from sendoff.publishing.incoming.json_limits import (
    DEEPEST_NESTING,
    BadJson,
    has_more_keys,
    is_nested_deeper,
    malformed,
    without_strings,
)
from sendoff.publishing.publish import NewEvent

MOST_EVENTS = 1_000
"""Events in one batch. A larger batch holds its transaction, and SQLite's only lock, for longer."""

MOST_KEYS = 20_000
"""Keys in one event's `data`, all of its objects together."""

SLICE_BYTES = 262_144
"""Bytes of `data` that are checked in one piece: about a millisecond of the event loop."""

LONGEST_NUMBER = 4_300
"""Digits of one number in `data`. Common JSON parsers fail on longer ones, so a receiver could not read the event."""

MOST_TAGS, LONGEST_TAG = 5, 64
"""Tags of an event, and characters of each. More would make the index of tags grow faster than the events."""

_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)  # in any time zone

_PATH = re.compile(r"(?P<problem>.*) - at `\$\.?(?P<path>[^`]*)`", re.DOTALL)
_HIGH, _LOW = rb"\\u[dD][89abAB][0-9a-fA-F]{2}", rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_LONE_SURROGATE = re.compile(rb"(?<!\\)(?:\\\\)*(?P<half>%b(?!%b)|(?<!%b)%b)" % (_HIGH, _LOW, _HIGH, _LOW))
_LONG_NUMBER = re.compile(rb"(?<![0-9.])[0-9]{%d}" % (LONGEST_NUMBER + 1))
_AS_ZEROS, _LONG_RUN = bytes.maketrans(b"123456789", b"0" * 9), b"0" * (LONGEST_NUMBER + 1)
_NAMED = re.compile(r"Object (?P<problem>missing required|contains unknown) field `(?P<name>[^`]*)`", re.DOTALL)


_DATA = msgspec.Meta(
    description="Reaches receivers as the bytes that were sent.",
    extra_json_schema={"type": "object", "additionalProperties": True},
)
_TIME = msgspec.Meta(tz=True, description="When it happened; defaults to the time of acceptance.")
_TAGS = msgspec.Meta(
    description="By which the event is found exactly, such as `order:42`.",
    extra_json_schema={"maxItems": MOST_TAGS},
)
_TAG = msgspec.Meta(extra_json_schema={"minLength": 1, "maxLength": LONGEST_TAG})
_SIZE = msgspec.Meta(extra_json_schema={"minItems": 1, "maxItems": MOST_EVENTS})


class EventBody(msgspec.Struct, forbid_unknown_fields=True):
    """An event to publish."""

    type: Annotated[str, msgspec.Meta(description="A built-in or registered event type.")]
    data: Annotated[msgspec.Raw, _DATA]
    occurred_at: Annotated[datetime, _TIME] | None = None
    tags: Annotated[list[Annotated[str, _TAG]], _TAGS] | None = None


class EventBatchBody(msgspec.Struct, forbid_unknown_fields=True):
    """Events to publish together, all or none."""

    events: Annotated[list[EventBody], _SIZE]


_EVENT_FIELDS, _BATCH_FIELDS = EventBody.__struct_fields__, EventBatchBody.__struct_fields__

Body = TypeVar("Body")
_event_decoder = msgspec.json.Decoder(EventBody)
_batch_decoder = msgspec.json.Decoder(EventBatchBody)


def read_event(body: bytes) -> NewEvent:
    """The event in the body of `POST /api/v1/events`. Raises Invalid, which names the field."""
    return check_event(decode(_event_decoder, body), "", data_limit=None)


async def read_batch(body: bytes, *, data_limit: int) -> list[NewEvent]:
    """The events in the body of `POST /api/v1/events/batch`, each `data` of at most `data_limit` bytes.

    Raises Invalid or TooLarge, which name the index. Other requests get their turn between slices of a large batch.
    """
    events = decode(_batch_decoder, body).events
    if not 1 <= len(events) <= MOST_EVENTS:
        raise Invalid(f"`events` takes 1 to {MOST_EVENTS:,} events, not {len(events):,}.", field="events")
    checked: list[NewEvent] = []
    size = 0
    for index, event in enumerate(events):
        checked.append(check_event(event, f"events[{index}].", data_limit=data_limit))
        size += len(checked[-1].data)
        if size > SLICE_BYTES:
            await asyncio.sleep(0)
            size = 0
    return checked


def decode(decoder: msgspec.json.Decoder[Body], body: bytes) -> Body:
    """What the decoder makes of the body. Raises Invalid."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _violation(str(error), in_batch=decoder is _batch_decoder) from None
    except BadJson as error:
        raise _lone_surrogate(body) or malformed(error) from None


def check_event(event: EventBody, prefix: str, *, data_limit: int | None) -> NewEvent:
    """The event, within the bounds of `data` and its time. Raises Invalid or TooLarge; `prefix` begins its fields."""
    data, occurred_at = bytes(event.data), event.occurred_at
    field = f"{prefix}data"
    if data_limit is not None and len(data) > data_limit:
        raise TooLarge(f"`{field}` is larger than {data_limit:,} bytes, the limit of one event.")
    if not data.startswith(b"{"):
        raise Invalid(f"`{field}` must be a JSON object, such as {{…}}.", field=field)
    try:
        data.decode()  # the decoder does not check the encoding of raw parts
    except UnicodeDecodeError:
        raise Invalid(f"`{field}` is not UTF-8; JSON is always sent as UTF-8.", field=field) from None
    if is_nested_deeper(data, DEEPEST_NESTING):
        raise Invalid(f"`{field}` is nested deeper than {DEEPEST_NESTING} levels; flatten it.", field=field)
    if _has_long_number(data):
        raise Invalid(
            f"`{field}` holds a number of more than {LONGEST_NUMBER:,} digits, which receivers cannot read; "
            "send it as a string.",
            field=field,
        )
    if has_more_keys(data, MOST_KEYS):
        raise Invalid(f"`{field}` has more than {MOST_KEYS:,} keys; publish it in parts.", field=field)
    if occurred_at is not None and occurred_at < _EARLIEST:
        raise Invalid(f"`{prefix}occurred_at` lies before 1970; send a later time.", field=f"{prefix}occurred_at")
    if occurred_at is not None and occurred_at > _LATEST:
        raise Invalid(
            f"`{prefix}occurred_at` lies after 9999-12-30; send an earlier time.", field=f"{prefix}occurred_at"
        )
    tags = _checked_tags(event.tags, f"{prefix}tags") if event.tags else ()
    return NewEvent(event.type, data, occurred_at, tags=tags)


def _checked_tags(tags: list[str], field: str) -> tuple[str, ...]:
    """The tags, each once. Raises Invalid, which names the field."""
    if len(tags) > MOST_TAGS:
        raise Invalid(f"`{field}` takes at most {MOST_TAGS} tags, not {len(tags)}; leave some out.", field=field)
    for index, tag in enumerate(tags):
        if not 1 <= len(tag) <= LONGEST_TAG or not tag.isprintable():
            raise Invalid(
                f"`{field}[{index}]` must be 1 to {LONGEST_TAG} printable characters; change it.",
                field=f"{field}[{index}]",
            )
    return tuple(dict.fromkeys(tags))


def _has_long_number(data: bytes) -> bool:
    # The first look costs a fiftieth of the second one, and finds hardly ever anything.
    return _LONG_RUN in data.translate(_AS_ZEROS) and bool(_LONG_NUMBER.search(without_strings(data)))


def _lone_surrogate(body: bytes) -> Invalid | None:
    """The error for text with half of a surrogate pair, if that is what the decoder stumbled over."""
    # The search takes 9 ms for 256 KB.
    found = _LONE_SURROGATE.search(body) if b"\\u" in body else None
    if found is None:
        return None
    half = found["half"].decode()
    return Invalid(
        f"The body holds `{half}` (byte {found.start('half')}), half of a surrogate pair, which is not a character; "
        "send both halves or leave it out."
    )


def _violation(message: str, *, in_batch: bool) -> Invalid:
    """The decoder's sentence in the words of our other errors: the field first, then what is wrong with it."""
    placed = _PATH.fullmatch(message)
    problem, path = (placed["problem"], placed["path"]) if placed else (message, "")
    named = _NAMED.fullmatch(problem)
    if named and named["problem"] == "missing required":
        path = f"{path}.{named['name']}" if path else named["name"]
        return Invalid(f"`{path}` is missing; add it.", field=path)
    if named:
        known = _BATCH_FIELDS if in_batch and not path else _EVENT_FIELDS
        return unknown_name(named["name"], known, path=path)
    if "RFC3339" in problem or "timezone" in problem:
        problem = "Must be a time with a UTC offset in ISO 8601, such as 2026-04-24T12:34:56.789+00:00"
    return Invalid(f"`{path}`: {problem}." if path else f"{problem}.", field=path or None)
