"""Identifiers. Rows carry UUIDv7 (their order is the order of creation); events carry the contract's `evt_…`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import uuid_utils

_EVENT_ID = re.compile(r"evt_[0-9a-f]{24}")
_REQUEST_ID = re.compile(r"req_[0-9a-f]{16}")


def new_id() -> str:
    """A UUIDv7 in its canonical spelling; later ones sort after earlier ones."""
    return str(uuid_utils.uuid7())


def created_at(identifier: str) -> float:
    """The Unix seconds at which `new_id` made it: a UUIDv7 begins with its milliseconds."""
    return int(identifier[:8] + identifier[9:13], 16) / 1000


def row_time(identifier: str) -> datetime:
    """When `new_id` made it."""
    return datetime.fromtimestamp(created_at(identifier), UTC)


def new_event_id() -> str:
    """`evt_` and 24 hexadecimal digits, as the OptimalDial contract writes it.

    The first twelve are the milliseconds of creation, so that an index of events grows at one end; 48 bits are random.
    """
    digits = uuid_utils.uuid7().hex
    return f"evt_{digits[:12]}{digits[20:]}"


def floor_of(event_id: str) -> str:
    """The lowest id that an event of the same millisecond can have; none that was accepted later has a lower one."""
    return event_id[:16] + "0" * 12


def event_id_at(moment: datetime, *, plus: timedelta = timedelta()) -> str:
    """The lowest id of an event that was accepted `plus` after that time by the clock of the machine."""
    return f"evt_{_milliseconds(moment, plus):012x}{'0' * 12}"


def row_id_at(moment: datetime, *, plus: timedelta = timedelta()) -> str:
    """The lowest id of a row that was made `plus` after that time by the clock of the machine."""
    digits = f"{_milliseconds(moment, plus):012x}"
    return f"{digits[:8]}-{digits[8:]}-0000-0000-000000000000"


def _milliseconds(moment: datetime, plus: timedelta) -> int:
    """Since 1970; the sum may be a time that no datetime can be."""
    return max(0, int((moment.timestamp() + plus.total_seconds()) * 1000))


def event_time(event_id: str) -> datetime:
    """When `new_event_id` made it."""
    return datetime.fromtimestamp(int(event_id[4:16], 16) / 1000, UTC)


def new_request_id() -> str:
    """`req_` and 16 hexadecimal digits: the seconds of its time, by which its events are found, and 32 random bits."""
    digits = uuid_utils.uuid7().hex
    return f"req_{int(digits[:12], 16) // 1000:08x}{digits[20:28]}"


def requested_at(request_id: str) -> int | None:
    """The Unix seconds at which `new_request_id` made it; None if it cannot have. A client's own may look alike."""
    return int(request_id[4:12], 16) if _REQUEST_ID.fullmatch(request_id) else None


def is_event_id(text: str) -> bool:
    """Whether `text` has the form of an event's id."""
    return _EVENT_ID.fullmatch(text) is not None


def is_uuid(text: str) -> bool:
    """Whether `text` is a UUID in canonical spelling (lower or upper case)."""
    try:
        return str(uuid_utils.UUID(text)) == text.lower()
    except ValueError:
        return False
