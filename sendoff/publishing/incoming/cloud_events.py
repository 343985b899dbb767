"""CloudEvents 1.0 as they come in: structured (`application/cloudevents+json`), or binary, as attributes and data.

Type, data and time become those of the event. Source and id are its idempotency key: a sender repeats an event with the
same two. Other attributes are checked and not kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Annotated

import msgspec

from sendoff.errors import Invalid, UnsupportedMediaType, unknown_name
from sendoff.publishing.incoming.event_bodies import EventBody, check_event, decode
from sendoff.publishing.publish import NewEvent

STRUCTURED = "application/cloudevents+json"
FAMILY = "application/cloudevents"
"""What the media types of CloudEvents begin with."""

_VERSION = "1.0"
_LONGEST_ATTRIBUTE = 2_000
_REQUIRED = ("specversion", "id", "source", "type")
_KNOWN = (*_REQUIRED, "time", "subject", "datacontenttype", "dataschema", "data", "data_base64")
_ATTRIBUTE_NAME = re.compile(r"[a-z0-9]+")
_URI_REFERENCE = re.compile(r"[!#$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]+")
_JSON_TYPE = re.compile(r"application/([a-z0-9.-]+\+)?json|text/json")

_document = msgspec.json.Decoder(dict[str, msgspec.Raw])
_raw = msgspec.json.Decoder(msgspec.Raw)


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """What is published, and the idempotency key that source and id make."""

    event: NewEvent
    key: str


def read_structured(body: bytes, media_type: str = STRUCTURED) -> CloudEvent:
    """The event. Raises Invalid, which names the attribute, or UnsupportedMediaType for a batch or another format."""
    if media_type.startswith(FAMILY) and media_type != STRUCTURED:
        raise UnsupportedMediaType(
            f"A CloudEvent is taken as {STRUCTURED}, one at a time; send each on its own, or several as "
            "`application/json` to /api/v1/events/batch."
        )
    attributes, data = _take_apart(body)
    return _event_of(attributes, data, prefix="")


def read_binary(attributes: Mapping[str, str], media_type: str, body: bytes) -> CloudEvent:
    """The event with these attributes, named without a prefix, and this data. Raises Invalid."""
    if "datacontenttype" in attributes:
        raise _invalid("ce-datacontenttype", "is `Content-Type` in the binary form; leave it out")
    data = bytes(decode(_raw, body)) if body else b""
    return _event_of({**attributes, "datacontenttype": media_type}, data, prefix="ce-")


def _take_apart(body: bytes) -> tuple[dict[str, str], bytes]:
    members = {name: bytes(raw) for name, raw in decode(_document, body).items() if bytes(raw) != b"null"}
    for name in members:
        if name in _KNOWN or _ATTRIBUTE_NAME.fullmatch(name):
            continue
        if name.lower() in _KNOWN:
            raise unknown_name(name, _KNOWN, kind="attribute")
        raise _invalid(name[:100], "is not the name of an attribute; CloudEvents use lower-case letters and digits")
    if "data_base64" in members:
        raise _invalid("data_base64", "is for data that is not JSON, which is not taken; send `data`")
    data = members.pop("data", b"")
    return {name: _text(name, members[name]) for name in members if name in _KNOWN}, data


def _text(name: str, raw: bytes) -> str:
    try:
        return msgspec.json.decode(raw, type=str)
    except msgspec.ValidationError:
        raise _invalid(name, "must be a string") from None


def _event_of(attributes: Mapping[str, str], data: bytes, *, prefix: str) -> CloudEvent:
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
        raise _invalid("Content-Type" if prefix else "datacontenttype", "must be application/json: receivers get JSON")
    occurred_at = _time(attributes["time"], prefix) if "time" in attributes else None
    body = EventBody(attributes["type"], msgspec.Raw(data or b"{}"), occurred_at)
    identity = f"{attributes['source']}\n{attributes['id']}"
    key = f"cloudevent:{sha256(identity.encode()).hexdigest()}"
    return CloudEvent(check_event(body, "", data_limit=None), key)


def _time(text: str, prefix: str) -> datetime:
    try:
        moment: datetime = msgspec.convert(text, Annotated[datetime, msgspec.Meta(tz=True)])
    except msgspec.ValidationError:
        raise _invalid(prefix + "time", "must be a time with a UTC offset, such as 2026-04-24T12:34:56.789Z") from None
    return moment


def _invalid(name: str, problem: str) -> Invalid:
    return Invalid(f"`{name}` {problem}.", field=name)
