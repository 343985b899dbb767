"""The states of endpoints, deliveries, dead letters, replays and uploads, and the arrows between them.

Each enumeration is one column. An arrow is a change that may happen, with its cause; code that writes a state checks
the arrow first, or selects rows in SQL by the arrow's source. `python -m tools.state_diagrams` draws the diagrams in
ARCHITECTURE.md from these arrows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class DeliveryState(StrEnum):
    """How far a delivery is. `pending`, `held` and `in_flight` are open: the delivery is still to be made."""

    PENDING = "pending"
    """Waits until it is due."""
    HELD = "held"
    """Due, but its endpoint has no capacity; claimed as capacity is freed, oldest first."""
    IN_FLIGHT = "in_flight"
    """Claimed by a worker under a lease; when the lease has ended, another worker may claim it."""
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
    """Switched off for failing, and the owner may switch it on again; or by an operator (`disabled_by_operator`), and
    only an operator may."""
    GONE = "gone"
    """The receiver answered 410 Gone; off for good."""
    DELETED = "deleted"


class DeadLetterState(StrEnum):
    """Whether a dead letter still waits for an operator."""

    OPEN = "open"
    REPLAYED = "replayed"
    DISCARDED = "discarded"


class DeadLetterReason(StrEnum):
    """Why a delivery was given up. A closed list: operators filter by it."""

    RETRIES_EXHAUSTED = "retries_exhausted"
    ENDPOINT_DISABLED = "endpoint_disabled"
    ENDPOINT_GONE = "endpoint_gone"
    ENDPOINT_DELETED = "endpoint_deleted"
    REJECTED_ADDRESS = "rejected_address"


class ReplayState(StrEnum):
    """How far a replay is."""

    RUNNING = "running"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


class ReplayItemState(StrEnum):
    """The state of one delivery in a replay."""

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


@dataclass(frozen=True, slots=True)
class Arrow:
    """A change of state that may happen. `source` None is the creation."""

    source: StrEnum | None
    target: StrEnum
    cause: str


@dataclass(frozen=True, slots=True)
class StateMachine:
    """The states of one column, and every arrow between them."""

    name: str
    states: type[StrEnum]
    arrows: Sequence[Arrow]

    def allows(self, source: str | None, target: str) -> bool:
        """Whether there is an arrow from `source` to `target`."""
        return any((arrow.source, arrow.target) == (source, target) for arrow in self.arrows)

    def check(self, source: str | None, target: str) -> None:
        """Raise ValueError if no arrow leads from `source` to `target`: the caller missed a condition."""
        if not self.allows(source, target):
            raise ValueError(
                f"no arrow leads a {self.name} from {source} to {target}; check its state before the change"
            )

    def mermaid(self) -> str:
        """The arrows as a Mermaid state diagram."""
        causes: dict[tuple[str, str], list[str]] = {}
        for arrow in self.arrows:
            causes.setdefault((arrow.source or "[*]", arrow.target), []).append(arrow.cause)
        lines = [f"    {source} --> {target}: {', '.join(why)}" for (source, target), why in causes.items()]
        left = {arrow.source for arrow in self.arrows}
        ends = dict.fromkeys(arrow.target for arrow in self.arrows if arrow.target not in left)
        lines += [f"    {state} --> [*]" for state in ends]
        return "\n".join(["stateDiagram-v2", *lines])


ENDPOINT = StateMachine(
    "endpoint",
    EndpointState,
    (
        Arrow(None, EndpointState.ACTIVE, "registered"),
        Arrow(EndpointState.ACTIVE, EndpointState.PAUSED, "switched off by its owner"),
        Arrow(EndpointState.ACTIVE, EndpointState.DISABLED, "too many failures in a row"),
        Arrow(EndpointState.ACTIVE, EndpointState.DISABLED, "disabled by an operator"),
        Arrow(EndpointState.PAUSED, EndpointState.DISABLED, "disabled by an operator"),
        Arrow(EndpointState.PAUSED, EndpointState.ACTIVE, "switched on"),
        Arrow(EndpointState.DISABLED, EndpointState.ACTIVE, "switched on"),
        *(
            Arrow(source, EndpointState.GONE, "410 Gone")
            for source in (EndpointState.ACTIVE, EndpointState.PAUSED, EndpointState.DISABLED)
        ),
        *(
            Arrow(source, EndpointState.DELETED, "deleted")
            for source in (EndpointState.ACTIVE, EndpointState.PAUSED, EndpointState.DISABLED, EndpointState.GONE)
        ),
    ),
)

DELIVERY = StateMachine(
    "delivery",
    DeliveryState,
    (
        Arrow(None, DeliveryState.PENDING, "accepted"),
        Arrow(None, DeliveryState.HELD, "accepted beyond the endpoint's capacity"),
        Arrow(DeliveryState.PENDING, DeliveryState.IN_FLIGHT, "claimed"),
        Arrow(DeliveryState.PENDING, DeliveryState.HELD, "due without capacity"),
        Arrow(DeliveryState.HELD, DeliveryState.IN_FLIGHT, "claimed"),
        Arrow(DeliveryState.HELD, DeliveryState.PENDING, "retried by hand"),
        Arrow(DeliveryState.IN_FLIGHT, DeliveryState.IN_FLIGHT, "claimed after its lease ended"),
        Arrow(DeliveryState.IN_FLIGHT, DeliveryState.PENDING, "failed, or released"),
        Arrow(DeliveryState.IN_FLIGHT, DeliveryState.HELD, "released without capacity"),
        Arrow(DeliveryState.IN_FLIGHT, DeliveryState.DELIVERED, "2xx"),
        Arrow(DeliveryState.IN_FLIGHT, DeliveryState.DEAD, "given up"),
        Arrow(DeliveryState.PENDING, DeliveryState.DEAD, "endpoint not active"),
        Arrow(DeliveryState.HELD, DeliveryState.DEAD, "endpoint not active"),
        Arrow(DeliveryState.DEAD, DeliveryState.PENDING, "replayed, or retried by hand"),
        Arrow(DeliveryState.DELIVERED, DeliveryState.PENDING, "replayed by its id"),
    ),
)

DEAD_LETTER = StateMachine(
    "dead letter",
    DeadLetterState,
    (
        Arrow(None, DeadLetterState.OPEN, "given up"),
        Arrow(DeadLetterState.OPEN, DeadLetterState.REPLAYED, "replayed, or retried by hand"),
        Arrow(DeadLetterState.OPEN, DeadLetterState.DISCARDED, "discarded"),
    ),
)

REPLAY = StateMachine(
    "replay",
    ReplayState,
    (
        Arrow(None, ReplayState.RUNNING, "started"),
        Arrow(None, ReplayState.COMPLETED, "started with nothing to send"),
        Arrow(ReplayState.RUNNING, ReplayState.COMPLETED, "all sent and ended"),
        Arrow(ReplayState.RUNNING, ReplayState.CANCELLED, "cancelled"),
    ),
)

UPLOAD = StateMachine(
    "upload",
    UploadStatus,
    (
        Arrow(None, UploadStatus.READY_FOR_PROCESSING, "created"),
        Arrow(UploadStatus.READY_FOR_PROCESSING, UploadStatus.PROCESSING, "taken by a worker"),
        Arrow(UploadStatus.READY_FOR_PROCESSING, UploadStatus.CANCELLED, "cancelled"),
        Arrow(UploadStatus.PROCESSING, UploadStatus.PROCESSING, "taken after its lease ended"),
        Arrow(UploadStatus.PROCESSING, UploadStatus.READY_FOR_PROCESSING, "given back"),
        Arrow(UploadStatus.PROCESSING, UploadStatus.COMPLETED, "results written"),
        Arrow(UploadStatus.PROCESSING, UploadStatus.FAILED, "given up"),
    ),
)

MACHINES = (ENDPOINT, DELIVERY, DEAD_LETTER, REPLAY, UPLOAD)
