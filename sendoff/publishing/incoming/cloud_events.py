"""CloudEvents 1.0 as they come in: structured, binary, as attributes and data, or several in a batch.

Type, data and time become those of the event, and its `traceparent` and `tracestate`, an extension, its trace context.
Source and id are its idempotency key: a sender repeats an event with the same two. Other attributes are checked and not
kept.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import Annotated

import msgspec

from sendoff.errors import Invalid, UnsupportedMediaType, unknown_name
from sendoff.observability.tracing import trace_context
from sendoff.publishing.incoming.event_bodies import MOST_EVENTS, SLICE_BYTES, EventBody, check_event, decode
from sendoff.publishing.publish import NewEvent

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
FAMILY = "application/cloudevents"
"""What the media types of CloudEvents begin with."""

_VERSION = "1.0"
_LONGEST_ATTRIBUTE = 2_000
_REQUIRED = ("specversion", "id", "source", "type")
_EXTENSIONS = ("traceparent", "tracestate")
_KNOWN = (*_REQUIRED, "time", "subject", "datacontenttype", "dataschema", "data", "data_base64", *_EXTENSIONS)
_ATTRIBUTE_NAME = re.compile(r"[a-z0-9]+")
_URI_REFERENCE = re.compile(r"[!#$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]+")
_JSON_TYPE = re.compile(r"application/([a-z0-9.-]+\+)?json|text/json")

_document = msgspec.json.Decoder(dict[str, msgspec.Raw])
_batch = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_raw = msgspec.json.Decoder(msgspec.Raw)


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """What is published, and the idempotency key that source and id make."""

    event: NewEvent
    key: str

    def within(self, trace: str | None) -> CloudEvent:
        """The same event within another trace context."""
        return replace(self, event=replace(self.event, traceparent=trace))


def read_structured(body: bytes, media_type: str = STRUCTURED) -> CloudEvent:
    """The event. Raises Invalid, which names the attribute, or UnsupportedMediaType for a batch or another format."""
    if media_type.startswith(FAMILY) and media_type != STRUCTURED:
        raise UnsupportedMediaType(
            f"A CloudEvent is taken as {STRUCTURED}, and over HTTP several as {BATCH}; send it so."
        )
    attributes, data = _take_apart(decode(_document, body))
    return _event_of(attributes, data)


async def read_cloud_batch(body: bytes, *, data_limit: int) -> list[CloudEvent]:
    """The events of a batch, each `data` of at most `data_limit` bytes. Raises Invalid or TooLarge, with the index.

    Other requests get their turn between slices of a large batch.
    """
    found = decode(_batch, body)
    if not 1 <= len(found) <= MOST_EVENTS:
        raise Invalid(f"A batch takes 1 to {MOST_EVENTS:,} CloudEvents, not {len(found):,}.")
    events: list[CloudEvent] = []
    size = 0
    for index, document in enumerate(found):
        prefix = f"events[{index}]."
        attributes, data = _take_apart(document, prefix)
        events.append(_event_of(attributes, data, prefix=prefix, data_limit=data_limit))
        size += len(data)
        if size > SLICE_BYTES:
            await asyncio.sleep(0)
            size = 0
    return events


def read_binary(attributes: Mapping[str, str], media_type: str, body: bytes) -> CloudEvent:
    """The event with these attributes, named without a prefix, and this data. Raises Invalid."""
    if "datacontenttype" in attributes:
        raise _invalid("ce-datacontenttype", "is `Content-Type` in the binary form; leave it out")
    data = bytes(decode(_raw, body)) if body else b""
    return _event_of({**attributes, "datacontenttype": media_type}, data, is_binary=True)


def _take_apart(document: dict[str, msgspec.Raw], prefix: str = "") -> tuple[dict[str, str], bytes]:
    members = {name: bytes(raw) for name, raw in document.items() if bytes(raw) != b"null"}
    for name in members:
        if name in _KNOWN or _ATTRIBUTE_NAME.fullmatch(name):
            continue
        if name.lower() in _KNOWN:
            raise unknown_name(name, _KNOWN, kind="attribute", path=prefix.removesuffix("."))
        problem = "is not the name of an attribute; CloudEvents use lower-case letters and digits"
        raise _invalid(f"{prefix}{name[:100]}", problem)
    if "data_base64" in members:
        raise _invalid(f"{prefix}data_base64", "is for data that is not JSON, which is not taken; send `data`")
    data = members.pop("data", b"")
    return {name: _text(f"{prefix}{name}", members[name]) for name in members if name in _KNOWN}, data


def _text(field: str, raw: bytes) -> str:
    try:
        return msgspec.json.decode(raw, type=str)
    except msgspec.ValidationError:
        raise _invalid(field, "must be a string") from None


def _event_of(
    attributes: Mapping[str, str],
    data: bytes,
    *,
    prefix: str = "",
    is_binary: bool = False,
    data_limit: int | None = None,
) -> CloudEvent:
    """The event; `prefix` begins the names of its fields in errors."""
    media_type_field = "Content-Type" if is_binary else f"{prefix}datacontenttype"
    prefix = "ce-" if is_binary else prefix
    for name in _REQUIRED:
        if not attributes.get(name):
            raise _invalid(prefix + name, "is missing; every CloudEvent has it")
    for name, value in attributes.items():
        if len(value) > _LONGEST_ATTRIBUTE:
            raise _invalid(prefix + name, f"has more than {_LONGEST_ATTRIBUTE:,} characters; shorten it")
    if attributes["specversion"] != _VERSION:
        raise _invalid(prefix + "specversion", f"must be {_VERSION}, the only version that is taken")
    if _URI_REFERENCE.fullmatch(attributes["source"]) is None:
        raise _invalid(prefix + "source", "must be a URI or a reference, such as /orders")
    media_type = attributes.get("datacontenttype", "").partition(";")[0].strip().lower()
    if media_type and _JSON_TYPE.fullmatch(media_type) is None:
        raise _invalid(media_type_field, "must be application/json: receivers get JSON")
    occurred_at = _time(attributes["time"], prefix) if "time" in attributes else None
    body = EventBody(attributes["type"], msgspec.Raw(data or b"{}"), occurred_at)
    identity = f"{attributes['source']}\n{attributes['id']}"
    key = f"cloudevent:{sha256(identity.encode()).hexdigest()}"
    event = check_event(body, "" if is_binary else prefix, data_limit=data_limit)
    trace = trace_context(attributes.get("traceparent"), attributes.get("tracestate"))
    return CloudEvent(replace(event, traceparent=trace), key)


def _time(text: str, prefix: str) -> datetime:
    try:
        moment: datetime = msgspec.convert(text, Annotated[datetime, msgspec.Meta(tz=True)])
    except msgspec.ValidationError:
        raise _invalid(prefix + "time", "must be a time with a UTC offset, such as 2026-04-24T12:34:56.789Z") from None
    return moment


def _invalid(name: str, problem: str) -> Invalid:
    return Invalid(f"`{name}` {problem}.", field=name)
