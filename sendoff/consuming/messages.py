"""What a message holds: the event to publish, and the id by which it is accepted once.

A message is a CloudEvent, structured or binary, or the body of `POST /api/v1/events`. Its id becomes the idempotency
key of the organization: that of the CloudEvent (source and id), the header `Idempotency-Key`, the broker's message id,
or the place where the broker keeps it, whichever comes first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256

import msgspec

from sendoff.errors import Invalid, SendoffError, TooLarge
from sendoff.idempotency import LONGEST_KEY, fingerprint
from sendoff.observability.tracing import trace_context
from sendoff.publishing.incoming.cloud_events import FAMILY, CloudEvent, read_binary, read_structured
from sendoff.publishing.incoming.event_bodies import read_event
from sendoff.publishing.publish import NewEvent

ORGANIZATION_ATTRIBUTE = "sendofforganization"
"""The extension attribute of a CloudEvent that names its organization: names of attributes have no hyphens."""

_ATTRIBUTE_PREFIXES = ("ce-", "ce_", "cloudevents:", "cloudevents_")
"""Before the attributes of a binary CloudEvent: of the HTTP and NATS bindings, of Kafka's, and both of AMQP's."""


class _Probe(msgspec.Struct):
    specversion: str | None = None
    sendofforganization: str | None = None


_probe = msgspec.json.Decoder(_Probe)


@dataclass(frozen=True, slots=True)
class Message:
    """A message as any broker gives it."""

    body: bytes
    headers: Mapping[str, str]
    """By their names in lower case."""
    content_type: str = ""
    id: str | None = None
    """What its sender calls it."""
    position: str | None = None
    """Where the broker keeps it, the same each time it is delivered; RabbitMQ has no such thing."""
    is_redelivered: bool = False

    @property
    def digest(self) -> str:
        """A name for its content."""
        return sha256(self.body).hexdigest()


@dataclass(frozen=True, slots=True)
class ReadMessage:
    """The event of a message, and the identity that it is accepted once by."""

    event: NewEvent
    key: str
    fingerprint: str
    """Of what else must be equal when the key comes again."""
    is_certain: bool = True
    """False if the key is only the message's content: another message may have the same."""


def read_message(message: Message, *, body_limit: int) -> ReadMessage:
    """What the message publishes. Raises Invalid or TooLarge, with the reason why it never can be accepted."""
    if len(message.body) > body_limit:
        raise TooLarge(f"The message is larger than {body_limit:,} bytes, the limit of one event.")
    attributes = _attributes(message.headers)
    if "specversion" in attributes:
        read = _of_cloud_event(read_binary(attributes, _media_type(message), message.body))
    elif _media_type(message).startswith(FAMILY) or _is_structured(message.body):
        read = _of_cloud_event(read_structured(message.body, _media_type(message)))
    else:
        read = _of_body(message)
    trace = trace_context(message.headers.get("traceparent"), message.headers.get("tracestate"))
    return read if trace is None else replace(read, event=replace(read.event, traceparent=trace))


def organization_of(message: Message, header: str) -> str | None:
    """What the message calls its organization: in the header, or as a CloudEvent in an attribute of its own."""
    named = message.headers.get(header) or _attributes(message.headers).get(ORGANIZATION_ATTRIBUTE)
    if named:
        return named
    try:
        return _probe.decode(message.body).sendofforganization
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _of_cloud_event(read: CloudEvent) -> ReadMessage:
    return ReadMessage(read.event, read.key, fingerprint(read.key.encode()))


def _of_body(message: Message) -> ReadMessage:
    event = read_event(message.body)
    named = message.headers.get("idempotency-key") or message.id
    if named:
        # As for the same request over HTTP, so that one that comes both ways is accepted once.
        return ReadMessage(event, _as_key(named), fingerprint(b"POST", b"/api/v1/events", message.body))
    if message.position is not None:
        return ReadMessage(event, _as_key(message.position), fingerprint(message.position.encode()))
    return ReadMessage(event, f"message:{message.digest}", fingerprint(message.body), is_certain=False)


def _as_key(text: str) -> str:
    if len(text) <= LONGEST_KEY and text.isprintable():
        return text
    return f"message:{sha256(text.encode()).hexdigest()}"


def _media_type(message: Message) -> str:
    declared = message.content_type or message.headers.get("content-type", "")
    return declared.partition(";")[0].strip().lower()


def _attributes(headers: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for name, value in headers.items():
        for prefix in _ATTRIBUTE_PREFIXES:
            if name.startswith(prefix):
                found[name[len(prefix) :]] = value
    return found


def _is_structured(body: bytes) -> bool:
    """Whether a body whose sender did not say what it is, is a CloudEvent: an event's body has no `specversion`."""
    try:
        return _probe.decode(body).specversion is not None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def reason_of(error: SendoffError) -> str:
    """Why a message was rejected, with the field that is wrong if it is one."""
    field = error.field if isinstance(error, Invalid) else None
    return error.message if field is None or f"`{field}`" in error.message else f"{field}: {error.message}"
