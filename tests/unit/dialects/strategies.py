"""What events and attempts can look like."""

from __future__ import annotations

import json
from datetime import UTC, timedelta, timezone

from hypothesis import strategies as st

from sendoff.dialects.base import AttemptInfo, EventData

_json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@st.composite
def json_texts(draw: st.DrawFn) -> bytes:
    """JSON as different publishers spell it: escaped or not, compact or spaced."""
    return json.dumps(
        draw(_json_values),
        ensure_ascii=draw(st.booleans()),
        indent=draw(st.none() | st.integers(0, 2)),
        separators=draw(st.sampled_from([(",", ":"), (", ", ": "), (" , ", " : ")])),
    ).encode("utf-8", errors="replace")


events = st.builds(
    EventData,
    event_id=st.from_regex(r"evt_[0-9a-f]{24}", fullmatch=True),
    type=st.from_regex(r"[a-z0-9_]{1,9}(\.[a-z0-9_]{1,9}){0,3}", fullmatch=True),
    organization_id=st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    occurred_at=st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-7))])).filter(
        lambda moment: 1970 <= moment.year < 9999
    ),
    data=json_texts(),
)

attempts = st.builds(
    AttemptInfo,
    delivery_id=st.uuids().map(str),
    attempt=st.integers(1, 10_000),
    timestamp=st.integers(0, 2**33),
)
