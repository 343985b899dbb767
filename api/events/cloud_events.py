"""CloudEvents 1.0 over HTTP, structured (`application/cloudevents+json`) or binary (`ce-…` headers), as they come in.

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
from urllib.parse import unquote

import msgspec
from starlette.datastructures import Headers

from sendoff.errors import Invalid, UnsupportedMediaType
from sendoff.publishing.publish import NewEvent

from ..http.bodies import media_type_of
from ..http.validation import unknown_name
from .decoder import EventBody, check_event, decode

STRUCTURED = "application/cloudevents+json"
_FAMILY = "application/cloudevents"
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


def is_cloud_event(headers: Headers) -> bool:
    """Whether the request is a CloudEvent in either form."""
    return "ce-specversion" in headers or media_type_of(headers).startswith(_FAMILY)


def read_cloud_event(headers: Headers, body: bytes) -> CloudEvent:
    """The event. Raises Invalid, which names the attribute, or UnsupportedMediaType for a batch."""
    declared = media_type_of(headers)
    if declared.startswith(_FAMILY):
        if declared != STRUCTURED:
            raise UnsupportedMediaType(
                f"A CloudEvent is taken as {STRUCTURED}, one in a request; send each on its own, or several as "
                "`application/json` to /api/v1/events/batch."
            )
        attributes, data = _read_structured(body)
        return _event_of(attributes, data, prefix="")
    return _event_of(_read_headers(headers), bytes(decode(_raw, body)) if body else b"", prefix="ce-")


def _read_structured(body: bytes) -> tuple[dict[str, str], bytes]:
    members = {name: bytes(raw) for name, raw in decode(_document, body).items() if bytes(raw) != b"null"}
    for name in members:
        if name in _KNOWN or _ATTRIBUTE_NAME.fullmatch(name):
            continue
        if name.lower() in _KNOWN:
            raise unknown_name(name, _KNOWN, kind="attribute")
        raise _invalid(name[:100], "is no name of an attribute; CloudEvents use lower-case letters and digits")
    if "data_base64" in members:
        raise _invalid("data_base64", "is for data that is not JSON, which is not taken; send `data`")
    data = members.pop("data", b"")
    return {name: _text(name, members[name]) for name in members if name in _KNOWN}, data


def _text(name: str, raw: bytes) -> str:
    try:
        return msgspec.json.decode(raw, type=str)
    except msgspec.ValidationError:
        raise _invalid(name, "must be a string") from None


def _read_headers(headers: Headers) -> dict[str, str]:
    """The attributes of the binary form, whose values are percent-encoded (HTTP binding, 3.1.3.2)."""
    attributes = {name[3:]: unquote(value) for name, value in headers.items() if name.startswith("ce-")}
    if "datacontenttype" in attributes:
        raise _invalid("ce-datacontenttype", "is `Content-Type` in the binary form; leave it out")
    return attributes | {"datacontenttype": media_type_of(headers)}


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
