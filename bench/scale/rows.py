"""Rows by the million as COPY reads them: events with one delivery each, and what has become of it.

Each row is a function of its number, so that the tables are written side by side and nothing is kept in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bench.fixtures import EVENT_TYPE
from bench.processes.requests import some_data

_SLICE = 1_000  # rows that share their times and make one piece of a COPY
_NULL = r"\N"


@dataclass(frozen=True, slots=True)
class SeedState:
    """What has become of a delivery: its state, how many attempts it took, and what the last one was answered."""

    state: str
    attempts: int
    status: int | None = None
    due_in: timedelta | None = None
    """From its creation until its next attempt; None when there is none."""
    due_spread: timedelta = timedelta(0)
    """Over how long a time the next attempts of all the rows are spread beyond that."""

    @property
    def outcome(self) -> str:
        return "ok" if self.state == "delivered" else f"http_{self.status}"


DELIVERED = SeedState("delivered", 1, 200)
DEAD = SeedState("dead", 6, 500)
DUE = SeedState("pending", 0, due_in=timedelta(0))
WAITING = SeedState("pending", 1, 500, due_in=timedelta(hours=1), due_spread=timedelta(hours=11))


@dataclass(frozen=True, slots=True)
class SeedEndpoint:
    """Where a seeded delivery goes."""

    id: str
    organization_id: str
    url: str


@dataclass(frozen=True, slots=True)
class Seed:
    """`rows` deliveries with numbers from `first` on, created evenly between two moments."""

    rows: int
    endpoint_of: Callable[[int], SeedEndpoint]
    state_of: Callable[[int], SeedState]
    since: datetime
    until: datetime
    first: int = 0
    payload: int = 300
    """Bytes of each event's `data`."""


@dataclass(frozen=True, slots=True)
class _Slice:
    """Some of the rows, which were all created at the same moment."""

    numbers: range
    at: datetime
    share: float
    """How far the rows before it have come, from 0 to 1."""

    @property
    def stamp(self) -> str:
        return f"{int(self.at.timestamp() * 1000):012x}"


def lines(rows: Seed, table: str) -> Iterator[str]:
    """What COPY reads, in pieces."""
    write = _WRITERS[table]
    for piece in _slices(rows):
        yield write(rows, piece)


def _slices(rows: Seed) -> Iterator[_Slice]:
    for start in range(0, rows.rows, _SLICE):
        share = start / rows.rows
        numbers = range(rows.first + start, rows.first + min(start + _SLICE, rows.rows))
        yield _Slice(numbers, rows.since + (rows.until - rows.since) * share, share)


def event_id(stamp: str, number: int) -> str:
    """In the form of `sendoff.ids.new_event_id`."""
    return f"evt_{stamp}{number:012x}"


def delivery_id(stamp: str, number: int) -> str:
    """A UUIDv7; a dead letter's is the same, in a table of its own."""
    return f"{stamp}70008{number:015x}"


def _events(rows: Seed, piece: _Slice) -> str:
    stamp, rest = piece.stamp, _row(EVENT_TYPE, some_data(rows.payload), piece.at, piece.at, 1)
    return "".join(
        f"{event_id(stamp, number)}\t{rows.endpoint_of(number).organization_id}\t{rest}" for number in piece.numbers
    )


def _deliveries(rows: Seed, piece: _Slice) -> str:
    stamp = piece.stamp
    rest = _Kept(lambda state: _rest_of_delivery(state, piece))
    return "".join(
        f"{delivery_id(stamp, number)}\t{event_id(stamp, number)}\t{to.id}\t{to.organization_id}\t"
        f"{rest[rows.state_of(number)]}"
        for number, to in _with_endpoints(rows, piece)
    )


def _rest_of_delivery(state: SeedState, piece: _Slice) -> str:
    due = None if state.due_in is None else piece.at + state.due_in + state.due_spread * piece.share
    tried = piece.at if state.attempts else None
    error = None if state.state == "delivered" or not state.attempts else f"The receiver answered {state.status}."
    delivered = piece.at if state.state == "delivered" else None
    return _row(state.state, state.attempts, due, piece.at, tried, state.status, error, delivered)


def _attempts(rows: Seed, piece: _Slice) -> str:
    stamp = piece.stamp
    return "".join(
        f"{delivery_id(stamp, number)}\t{attempt}\t{_row(piece.at, 12, state.outcome, state.status)}"
        for number, state in ((number, rows.state_of(number)) for number in piece.numbers)
        for attempt in range(1, state.attempts + 1)
    )


def _dead_letters(rows: Seed, piece: _Slice) -> str:
    stamp = piece.stamp
    return "".join(
        f"{delivery_id(stamp, number)}\t{delivery_id(stamp, number)}\t{event_id(stamp, number)}\t{EVENT_TYPE}\t"
        + _row(to.id, to.url, to.organization_id, "retries_exhausted", DEAD.status, DEAD.attempts, piece.at, "open")
        for number, to in _with_endpoints(rows, piece)
        if rows.state_of(number) is DEAD
    )


def _with_endpoints(rows: Seed, piece: _Slice) -> Iterator[tuple[int, SeedEndpoint]]:
    return ((number, rows.endpoint_of(number)) for number in piece.numbers)


def _row(*values: object) -> str:
    return "\t".join(_NULL if value is None else str(value) for value in values) + "\n"


class _Kept(dict[SeedState, str]):
    """What a slice's rows of the same state share, written once."""

    def __init__(self, write: Callable[[SeedState], str]) -> None:
        super().__init__()
        self._write = write

    def __missing__(self, state: SeedState) -> str:
        self[state] = written = self._write(state)
        return written


COLUMNS: dict[str, Sequence[str]] = {
    "events": ("id", "organization_id", "type", "data", "occurred_at", "created_at", "delivery_count"),
    "deliveries": (
        "id",
        "event_id",
        "endpoint_id",
        "organization_id",
        "state",
        "attempt_count",
        "due_at",
        "created_at",
        "last_attempt_at",
        "last_response_status",
        "last_error",
        "delivered_at",
    ),
    "attempts": ("delivery_id", "number", "started_at", "duration_ms", "outcome", "response_status"),
    "dead_letters": (
        "id",
        "delivery_id",
        "event_id",
        "event_type",
        "endpoint_id",
        "endpoint_url",
        "organization_id",
        "reason",
        "last_response_status",
        "attempt_count",
        "died_at",
        "state",
    ),
}
"""The tables that are seeded, and what of them."""

_WRITERS: dict[str, Callable[[Seed, _Slice], str]] = {
    "events": _events,
    "deliveries": _deliveries,
    "attempts": _attempts,
    "dead_letters": _dead_letters,
}
