"""Operational events: what happens to endpoints and deliveries, as events for operators (Sendoff contract, section 8).

They and the alert endpoints that get them belong to an organization of their own. Nothing that happens to that
organization's endpoints and deliveries makes an operational event, so that an alert that fails causes no other.
"""

from __future__ import annotations

from enum import StrEnum

OPERATORS = "00000000-0000-7000-8000-000000000001"
"""The id of the organization that owns alert endpoints and operational events. Never change it: rows refer to it."""

OPERATORS_NAME = "Operators"
"""The name of that organization, as deliveries of alerts show it."""


class OperationalEventType(StrEnum):
    """What can happen. A closed list: alert endpoints subscribe to these names, or to patterns that match some."""

    ENDPOINT_CREATED = "endpoint.created"
    ENDPOINT_UPDATED = "endpoint.updated"
    """Its fields were changed, or it was paused or switched on."""
    ENDPOINT_DELETED = "endpoint.deleted"
    ENDPOINT_FAILING = "endpoint.failing"
    """It has half of the failures that disable it."""
    ENDPOINT_DISABLED = "endpoint.disabled"
    """It is not sent to any more: too many failures, an operator, or its receiver answered 410 Gone."""
    ENDPOINT_RECOVERED = "endpoint.recovered"
    """A delivery succeeded, the first since it was failing or disabled."""
    DELIVERY_DEAD_LETTERED = "delivery.dead_lettered"
    REPLAY_FINISHED = "replay.finished"
    SECRET_ROTATED = "secret.rotated"  # noqa: S105 - the name of an event
    DEAD_LETTERS_EXCEEDED = "dead_letters.threshold_exceeded"
    """More deliveries died within an hour than `ALERT_DEAD_LETTERS_PER_HOUR` allows."""
