"""The Dialbird contract, "Deliveries", to the byte."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from sendoff.dialects.base import AttemptInfo, EventData
from sendoff.dialects.dialbird import DIALBIRD
from tests.support.reference_signatures import timestamped_marks
from tests.unit.dialects.strategies import attempts, events

MESSAGE = EventData(
    event_id="evt_0123456789abcdef01234567",
    type="message.incoming.received",
    organization_id="biz_123",
    occurred_at=datetime(2026, 1, 15, 10, 0, 0, 999_999, UTC),
    data=b'{"n": 1.0}',
)


def test_the_envelope_has_the_contracts_keys_in_their_order() -> None:
    assert DIALBIRD.body(MESSAGE) == (
        b'{"id":"evt_0123456789abcdef01234567","type":"message.incoming.received","api_version":"v1",'
        b'"occurred_at":"2026-01-15T10:00:00Z","business_id":"biz_123","data":{"n": 1.0}}'
    )


def test_the_headers_are_those_of_the_contract() -> None:
    headers = DIALBIRD.headers(MESSAGE, AttemptInfo("d", 3, 1_768_471_200), b"{}", ["whsec_x"])
    assert [name for name, _ in headers] == [
        "Content-Type",
        "User-Agent",
        "X-Dialbird-Signature",
        "X-Dialbird-Event-Id",
        "X-Dialbird-Event-Type",
    ]
    values = dict(headers)
    assert values["Content-Type"] == "application/json"
    assert values["X-Dialbird-Event-Id"] == "evt_0123456789abcdef01234567"
    assert values["X-Dialbird-Event-Type"] == "message.incoming.received"


@given(
    events,
    attempts,
    st.lists(st.from_regex(r"whsec_[0-9a-f]{64}", fullmatch=True), min_size=1, max_size=3),
)
def test_the_whole_secret_with_its_prefix_is_the_key(
    event: EventData, attempt: AttemptInfo, secrets: list[str]
) -> None:
    body = DIALBIRD.body(event)
    headers = dict(DIALBIRD.headers(event, attempt, body, secrets))
    assert timestamped_marks(headers["X-Dialbird-Signature"], body, secrets)


@given(events)
def test_any_organizations_id_survives_as_the_business_id(event: EventData) -> None:
    envelope = json.loads(DIALBIRD.body(event))
    assert envelope["business_id"] == event.organization_id
    assert envelope["data"] == json.loads(event.data)


def test_new_secrets_carry_the_prefix_and_differ() -> None:
    secrets = {DIALBIRD.new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(re.fullmatch(r"whsec_[0-9a-f]{64}", secret) for secret in secrets)
