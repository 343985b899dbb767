"""The states of endpoints, deliveries, dead letters, replays and uploads, and the arrows between them.

Each enumeration is one column. An arrow is a change that may happen, with its cause. Arrows that are written together
make a trigger, and one function writes each trigger, on PostgreSQL and on SQLite: it takes the new state from the
trigger, or selects the rows in SQL by the trigger's sources (`store/engine/transitions.py`).
tests/integration/store/test_transitions.py tries every trigger on every state. `python -m tools.state_diagrams` draws
the diagrams in ARCHITECTURE.md from these arrows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import Self


class DeliveryState(StrEnum):
    """How far a delivery is. `pending`, `held`, `queued` and `in_flight` are open: the delivery is still to be made."""

    PENDING = "pending"
    """Waits until it is due."""
    HELD = "held"
    """Due, but its endpoint has no capacity; claimed as capacity is freed, oldest first."""
    QUEUED = "queued"
    """Waits in the line of its ordered endpoint for those that were accepted before it."""
    IN_FLIGHT = "in_flight"
    """Claimed by a worker under a lease; when the lease has ended, another worker may claim it."""
    DELIVERED = "delivered"
    DEAD = "dead"
    """Given up; the dead-letter store has it."""


OPEN_DELIVERY_STATES = (
    DeliveryState.PENDING,
    DeliveryState.HELD,
    DeliveryState.QUEUED,
    DeliveryState.IN_FLIGHT,
)


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
    """Why a delivery was given up. A closed list: operators filter by it.

    Each reason has its words for people; pages, explanations, alerts and the reference show them.
    """

    meaning: str
    """What happened, in a sentence."""
    remedy: str
    """What an owner or operator can do about it."""
    label: str
    """A few words, for lists."""

    # The words have defaults for `DeadLetterReason("endpoint_gone")`, which finds a member by its value alone.
    def __new__(cls, value: str, meaning: str = "", remedy: str = "", label: str = "") -> Self:
        """A member whose value is `value`."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning, member.remedy, member.label = meaning, remedy, label
        return member

    RETRIES_EXHAUSTED = (
        "retries_exhausted",
        "Every attempt of the schedule failed, so it was given up.",
        "Mend the receiver, then send it again.",
        "every attempt failed",
    )
    ENDPOINT_DISABLED = (
        "endpoint_disabled",
        "The endpoint was switched off, by its owner, by an operator or after too many failures.",
        "Switch the endpoint on, then send it again.",
        "endpoint switched off",
    )
    ENDPOINT_GONE = (
        "endpoint_gone",
        "The receiver answered 410, which ends an endpoint for good.",
        "Register the URL again as a new endpoint; it gets the delivery's event by a replay of what is missing.",
        "receiver answered 410 Gone",
    )
    ENDPOINT_DELETED = (
        "endpoint_deleted",
        "The endpoint was deleted while it waited.",
        "A new endpoint for the events gets this one by a replay of what is missing.",
        "endpoint deleted",
    )
    REJECTED_ADDRESS = (
        "rejected_address",
        "The host has an address that nothing is sent to, such as a private one.",
        "Let the host's name lead to public addresses alone, then send it again.",
        "address not allowed",
    )
    TRANSFORM_FAILED = (
        "transform_failed",
        "The endpoint's transform failed on this event.",
        "Correct the transform, then send the delivery again: the replay evaluates it again.",
        "transform failed",
    )


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


class Trigger:
    """Arrows that one function writes, and no other; a name is that of what the function does."""

    def __init__(self, name: str, *arrows: tuple[StrEnum | None, StrEnum, str]) -> None:
        """`arrows`: source, target and cause of each."""
        self.name = name
        self.arrows = tuple(Arrow(*arrow) for arrow in arrows)
        self.sources = tuple(dict.fromkeys(arrow.source for arrow in self.arrows if arrow.source is not None))
        """The states that it starts from, without duplicates."""
        self.targets = tuple(dict.fromkeys(arrow.target for arrow in self.arrows))
        """The states that it leads to, without duplicates."""
        self._pairs = frozenset((arrow.source, arrow.target) for arrow in self.arrows)

    def __repr__(self) -> str:
        return f"Trigger({self.name})"

    def allows(self, source: str | None) -> bool:
        """Whether one of its arrows starts from `source`."""
        return any(arrow.source == source for arrow in self.arrows)

    def check(self, source: str | None, target: str) -> None:
        """Raise ValueError if none of its arrows leads from `source` to `target`: the caller missed a condition."""
        if (source, target) not in self._pairs:
            raise ValueError(f"{self.name} leads from no {source} to {target}; check the state before the change")

    def target(self, source: str | None) -> StrEnum:
        """The state that it makes of `source`. Raises ValueError unless there is exactly one."""
        found = {arrow.target for arrow in self.arrows if arrow.source == source}
        if len(found) != 1:
            raise ValueError(
                f"{self.name} leads from {source} to {len(found)} states; check the state before the change"
            )
        return found.pop()


@dataclass(frozen=True, slots=True)
class StateMachine:
    """The states of one column, and everything that changes them."""

    name: str
    states: type[StrEnum]
    triggers: Sequence[Trigger]

    @property
    def arrows(self) -> Sequence[Arrow]:
        """Every change that may happen."""
        return tuple(chain.from_iterable(trigger.arrows for trigger in self.triggers))

    def allows(self, source: str | None, target: str) -> bool:
        """Whether there is an arrow from `source` to `target`."""
        return any((arrow.source, arrow.target) == (source, target) for arrow in self.arrows)

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


_ACTIVE, _PAUSED, _DISABLED, _GONE = (
    EndpointState.ACTIVE,
    EndpointState.PAUSED,
    EndpointState.DISABLED,
    EndpointState.GONE,
)
REGISTER = Trigger("register", (None, _ACTIVE, "registered"))
SWITCH_OFF = Trigger("switch off", (_ACTIVE, _PAUSED, "switched off by its owner"))
SWITCH_ON = Trigger("switch on", (_PAUSED, _ACTIVE, "switched on"), (_DISABLED, _ACTIVE, "switched on"))
AUTO_DISABLE = Trigger("auto-disable", (_ACTIVE, _DISABLED, "too many failures in a row"))
DISABLE_BY_OPERATOR = Trigger(
    "disable by an operator",
    (_ACTIVE, _DISABLED, "disabled by an operator"),
    (_PAUSED, _DISABLED, "disabled by an operator"),
)
ANSWER_GONE = Trigger("answer 410", *((source, _GONE, "410 Gone") for source in (_ACTIVE, _PAUSED, _DISABLED)))
DELETE = Trigger(
    "delete", *((source, EndpointState.DELETED, "deleted") for source in (_ACTIVE, _PAUSED, _DISABLED, _GONE))
)

ENDPOINT = StateMachine(
    "endpoint",
    EndpointState,
    (REGISTER, SWITCH_OFF, AUTO_DISABLE, DISABLE_BY_OPERATOR, SWITCH_ON, ANSWER_GONE, DELETE),
)

_PENDING, _HELD, _QUEUED, _IN_FLIGHT, _DEAD = (
    DeliveryState.PENDING,
    DeliveryState.HELD,
    DeliveryState.QUEUED,
    DeliveryState.IN_FLIGHT,
    DeliveryState.DEAD,
)
ACCEPT = Trigger(
    "accept",
    (None, _PENDING, "accepted"),
    (None, _HELD, "accepted beyond the endpoint's capacity"),
    (None, _DEAD, "its transform failed"),
    (None, _QUEUED, "accepted behind others of its line"),
)
CLAIM_DUE = Trigger(
    "claim due",
    (_PENDING, _IN_FLIGHT, "claimed"),
    (_PENDING, _HELD, "due without capacity"),
    (_IN_FLIGHT, _IN_FLIGHT, "claimed after its lease ended"),
    (_IN_FLIGHT, _HELD, "its lease ended without capacity"),
)
CLAIM_HELD = Trigger("claim held", (_HELD, _IN_FLIGHT, "claimed"))
RELEASE = Trigger("release", (_IN_FLIGHT, _PENDING, "released"), (_IN_FLIGHT, _HELD, "released without capacity"))
HAND_OVER = Trigger(
    "hand over",
    *((source, _IN_FLIGHT, "taken to another cell") for source in (_PENDING, _HELD, _QUEUED)),
)
RECORD = Trigger(
    "record",
    (_IN_FLIGHT, _PENDING, "failed"),
    (_IN_FLIGHT, DeliveryState.DELIVERED, "2xx"),
    (_IN_FLIGHT, _DEAD, "given up"),
)
RETRY_NOW = Trigger(
    "retry now",
    (_PENDING, _PENDING, "retried by hand"),
    (_HELD, _PENDING, "retried by hand"),
    (_QUEUED, _QUEUED, "retried by hand"),
)
REOPEN = Trigger(
    "reopen",
    (_DEAD, _PENDING, "retried by hand"),
    (_DEAD, _HELD, "replayed"),
    (DeliveryState.DELIVERED, _HELD, "replayed by its id"),
    (_DEAD, _QUEUED, "replayed, or retried by hand, in order"),
    (DeliveryState.DELIVERED, _QUEUED, "replayed by its id, in order"),
)
CLOSE = Trigger("close", *((source, _DEAD, "endpoint not active") for source in (_PENDING, _HELD, _QUEUED, _IN_FLIGHT)))
ADVANCE = Trigger("advance", (_QUEUED, _PENDING, "first in its line"))
STEP_BACK = Trigger(
    "step back",
    (_PENDING, _QUEUED, "another of its line goes first"),
    (_HELD, _QUEUED, "another of its line goes first"),
)
ENTER_LINE = Trigger("enter the line", (_IN_FLIGHT, _QUEUED, "claimed without a place in its line"))
ARRIVE = Trigger(
    "arrive",
    (_IN_FLIGHT, _PENDING, "arrived in another cell, or the move was given up"),
    (_IN_FLIGHT, _QUEUED, "arrived in another cell, or the move was given up, in order"),
)
DISBAND = Trigger("disband the line", (_QUEUED, _HELD, "its endpoint is not ordered any more"))

DELIVERY = StateMachine(
    "delivery",
    DeliveryState,
    (
        ACCEPT,
        CLAIM_DUE,
        CLAIM_HELD,
        RELEASE,
        HAND_OVER,
        RECORD,
        RETRY_NOW,
        CLOSE,
        REOPEN,
        ADVANCE,
        STEP_BACK,
        ENTER_LINE,
        ARRIVE,
        DISBAND,
    ),
)

GIVE_UP = Trigger("give up", (None, DeadLetterState.OPEN, "given up"))
GIVE_UP_WAITING = Trigger(
    "give up what waits",
    (None, DeadLetterState.OPEN, "endpoint not active"),
    (None, DeadLetterState.OPEN, "transform failed"),
)
SEND_AGAIN = Trigger("send again", (DeadLetterState.OPEN, DeadLetterState.REPLAYED, "replayed, or retried by hand"))
DISCARD = Trigger("discard", (DeadLetterState.OPEN, DeadLetterState.DISCARDED, "discarded"))

DEAD_LETTER = StateMachine("dead letter", DeadLetterState, (GIVE_UP, GIVE_UP_WAITING, SEND_AGAIN, DISCARD))

START_REPLAY = Trigger("start a replay", (None, ReplayState.RUNNING, "started"))
COMPLETE_REPLAY = Trigger("complete a replay", (ReplayState.RUNNING, ReplayState.COMPLETED, "all sent and ended"))
CANCEL_REPLAY = Trigger("cancel a replay", (ReplayState.RUNNING, ReplayState.CANCELLED, "cancelled"))

REPLAY = StateMachine("replay", ReplayState, (START_REPLAY, COMPLETE_REPLAY, CANCEL_REPLAY))

_WAITING, _SENT = ReplayItemState.WAITING, ReplayItemState.SENT
ADD_ITEM = Trigger("add to a replay", (None, _WAITING, "chosen"))
SEND_ITEM = Trigger(
    "send an item",
    (_WAITING, _SENT, "made due"),
    (_WAITING, ReplayItemState.SUCCEEDED, "delivered meanwhile"),
    (_WAITING, ReplayItemState.FAILED, "cannot be sent again"),
)
RECORD_ITEM = Trigger(
    "record an item", (_SENT, ReplayItemState.SUCCEEDED, "2xx"), (_SENT, ReplayItemState.FAILED, "given up")
)
CLOSE_ITEM = Trigger("close an item", (_SENT, ReplayItemState.FAILED, "endpoint not active"))

REPLAY_ITEM = StateMachine("replay item", ReplayItemState, (ADD_ITEM, SEND_ITEM, RECORD_ITEM, CLOSE_ITEM))

_READY, _PROCESSING = UploadStatus.READY_FOR_PROCESSING, UploadStatus.PROCESSING
CREATE_UPLOAD = Trigger("create an upload", (None, _READY, "created"))
CLAIM_UPLOAD = Trigger(
    "claim an upload", (_READY, _PROCESSING, "claimed by a worker"), (_PROCESSING, _PROCESSING, "its lease ended")
)
CANCEL_UPLOAD = Trigger("cancel an upload", (_READY, UploadStatus.CANCELLED, "cancelled"))
RELEASE_UPLOAD = Trigger("release an upload", (_PROCESSING, _READY, "released"))
FINISH_UPLOAD = Trigger(
    "finish an upload",
    (_PROCESSING, UploadStatus.COMPLETED, "results written"),
    (_PROCESSING, UploadStatus.FAILED, "given up"),
)

UPLOAD = StateMachine(
    "upload", UploadStatus, (CREATE_UPLOAD, CLAIM_UPLOAD, CANCEL_UPLOAD, RELEASE_UPLOAD, FINISH_UPLOAD)
)

MACHINES = (ENDPOINT, DELIVERY, DEAD_LETTER, REPLAY, REPLAY_ITEM, UPLOAD)
