"""Event types: their names, the built-in ones, and which endpoints get an event."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache

from sendoff.policy.operational_events import OperationalEventType

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

OPERATIONAL_TYPES = tuple(str(type_) for type_ in OperationalEventType)
"""Changes of endpoints and deliveries, which alert endpoints subscribe to; organizations cannot register the names."""

DEFAULT_SUBSCRIPTION = ("upload.completed", "upload.failed")
"""The subscription of an endpoint that was registered without a list (OptimalDial contract, "Webhook endpoints")."""

LONGEST_NAME = 128
"""Characters of an event type's name, as the columns hold them."""

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


ALL_TYPES = "*"
"""The pattern that matches every event type."""


def matches(subscribed: Collection[str], event_type: str) -> bool:
    """Whether an endpoint with these subscriptions, which are names or patterns, gets events of `event_type`."""
    return not matching_subscriptions(event_type).isdisjoint(subscribed)


@lru_cache(maxsize=1_024)
def patterns_of(event_type: str) -> tuple[str, ...]:
    """Every subscription that matches the type: its name, `upload.*` for what begins with `upload.`, and `*`.

    None for a text that cannot name a type; a database could refuse it as a parameter.
    """
    if not is_event_type_name(event_type):
        return ()
    words = event_type.split(".")
    return event_type, *(".".join(words[:count]) + ".*" for count in range(len(words) - 1, 0, -1)), ALL_TYPES


@lru_cache(maxsize=1_024)
def matching_subscriptions(event_type: str) -> frozenset[str]:
    """The subscriptions of which an endpoint needs one to get events of the type; none for a reserved type."""
    return frozenset() if is_reserved(event_type) else frozenset(patterns_of(event_type))


def patterns_of_all(event_types: Iterable[str]) -> set[str]:
    """Every subscription that matches at least one of the types."""
    return {pattern for event_type in event_types for pattern in patterns_of(event_type)}


def is_pattern(text: str) -> bool:
    """Whether `text` is a subscription to several types: `*`, or a name's first words followed by `.*`."""
    return text == ALL_TYPES or (text.endswith(".*") and is_event_type_name(text.removesuffix(".*")))


def first_unknown(wanted: Collection[str], known: Collection[str]) -> str | None:
    """The first of `wanted` that cannot be subscribed to or published, given the `known` types, or None."""
    return next((name for name in wanted if is_reserved(name) or name not in known), None)
