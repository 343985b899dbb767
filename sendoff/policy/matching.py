"""Event types: their names, the built-in ones, and which endpoints get an event."""

from __future__ import annotations

import re
from collections.abc import Collection

PING = "webhook.ping"
"""Sent by registration and URL changes only; it can be neither subscribed to nor published."""

OPTIMALDIAL_TYPES = ("upload.created", "upload.completed", "upload.failed")
DIALBIRD_TYPES = (
    "message.incoming.received",
    "message.outgoing.delivered",
    "call.incoming.completed",
    "call.outgoing.completed",
)
BUILT_IN_TYPES = OPTIMALDIAL_TYPES + DIALBIRD_TYPES

OPERATIONAL_TYPES = (
    "endpoint.created",
    "endpoint.updated",
    "endpoint.deleted",
    "endpoint.failing",
    "endpoint.disabled",
    "endpoint.recovered",
    "delivery.dead_lettered",
    "replay.finished",
    "secret.rotated",
)
"""Changes of endpoints and deliveries, as events for operators (Sendoff contract, "Operational events")."""

DEFAULT_SUBSCRIPTION = ("upload.completed", "upload.failed")
"""The subscription of an endpoint that was registered without a list (OptimalDial contract, "Webhook endpoints")."""

LONGEST_NAME = 128

_NAME = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*")


def is_event_type_name(text: str) -> bool:
    """Whether `text` can name an event type: words of `a-z`, `0-9` and `_`, joined by dots, 128 at most."""
    return len(text) <= LONGEST_NAME and _NAME.fullmatch(text) is not None


def is_reserved(event_type: str) -> bool:
    """Whether only Sendoff itself sends events of this type."""
    return event_type == PING


def is_reserved_name(name: str) -> bool:
    """Whether the name is reserved for Sendoff's own events, now or later, and cannot be registered."""
    return name.startswith("webhook.") or name in OPERATIONAL_TYPES


def matches(subscribed: Collection[str], event_type: str) -> bool:
    """Whether an endpoint with these subscriptions gets events of `event_type`: exact names, no patterns."""
    return event_type in subscribed and not is_reserved(event_type)


def first_unknown(wanted: Collection[str], known: Collection[str]) -> str | None:
    """The first of `wanted` that cannot be subscribed to or published, given the `known` types, or None."""
    return next((name for name in wanted if is_reserved(name) or name not in known), None)
