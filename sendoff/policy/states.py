"""The states of things: one enumeration for one column each."""

from __future__ import annotations

from enum import StrEnum


class DeliveryState(StrEnum):
    """Where a delivery stands. `pending`, `held` and `in_flight` are open: the delivery is still ours to make."""

    PENDING = "pending"
    """Waits for `next_attempt_at`."""
    HELD = "held"
    """Could be sent by its time, but its endpoint is at its cap; waits for the endpoint's turn, oldest first."""
    IN_FLIGHT = "in_flight"
    """Claimed by a worker until `next_attempt_at`; past it the claim is void and anybody may take it over."""
    DELIVERED = "delivered"
    DEAD = "dead"
    """Given up; the dead-letter store has it."""


OPEN_DELIVERY_STATES = (DeliveryState.PENDING, DeliveryState.HELD, DeliveryState.IN_FLIGHT)


class EndpointState(StrEnum):
    """Whether an endpoint is sent to. Only `active` is."""

    ACTIVE = "active"
    PAUSED = "paused"
    """Switched off by its owner."""
    DISABLED = "disabled"
    """Switched off by us or an operator, for failing; the owner may switch it on again."""
    GONE = "gone"
    """The receiver answered 410; off for good."""
    DELETED = "deleted"


class DeadLetterState(StrEnum):
    """Whether a dead letter still waits for an operator."""

    OPEN = "open"
    REPLAYED = "replayed"
    DISCARDED = "discarded"


class ReplayState(StrEnum):
    """How far a replay is."""

    RUNNING = "running"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


class ReplayItemState(StrEnum):
    """What became of one delivery of a replay."""

    WAITING = "waiting"
    SENT = "sent"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class UploadStatus(StrEnum):
    """The statuses of an upload, as the OptimalDial contract names them."""

    PENDING_MAPPING = "pending_mapping"
    VALIDATING = "validating"
    VALIDATION_FAILED = "validation_failed"
    AWAITING_CONFIRMATION = "awaiting_confirmation"
    READY_FOR_PROCESSING = "ready_for_processing"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
