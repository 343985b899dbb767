"""The OptimalDial contract, "Events and deliveries", to the byte."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendoff.dialects.base import AttemptInfo, EventData
from sendoff.dialects.optimaldial import OPTIMALDIAL
from tests.support.reference_signatures import timestamped_marks
from tests.unit.dialects.strategies import attempts, events

UPLOAD = EventData(
    event_id="evt_0123456789abcdef01234567",
    type="upload.completed",
    organization_id="0198c5a0-0000-7000-8000-000000000000",
    occurred_at=datetime(2026, 4, 24, 12, 34, 56, 789_012, UTC),
    data=b'{ "upload" : {"z": 1.50, "a": "\\u00fc", "e": 1E3, "a": 2} }',
)
FIRST = AttemptInfo(delivery_id="0198c5a0-1111-7000-8000-000000000000", attempt=1, timestamp=1_777_034_096)

secrets_of_receivers = st.lists(st.text("0123456789abcdef", min_size=64, max_size=64), min_size=1, max_size=3)


def test_the_envelope_has_the_contracts_keys_in_their_order_and_the_data_as_it_was_published() -> None:
    assert OPTIMALDIAL.body(UPLOAD) == (
        b'{"id":"evt_0123456789abcdef01234567","type":"upload.completed","api_version":"2026-04-23",'
        b'"created_at":"2026-04-24T12:34:56.789+00:00",'
        b'"data":{ "upload" : {"z": 1.50, "a": "\\u00fc", "e": 1E3, "a": 2} }}'
    )


def test_the_headers_are_those_of_the_contract_with_a_signature_computed_elsewhere() -> None:
    # openssl dgst -sha256 -hmac, over "1777034096." and the body {"a":1}
    headers = OPTIMALDIAL.headers(UPLOAD, FIRST, b'{"a":1}', ["0f" * 32])
    assert headers == [
        ("Content-Type", "application/json"),
        ("User-Agent", "OptimalDial-Webhooks/1.0"),
        (
            "X-OptimalDial-Signature",
            "t=1777034096,v1=7bb5c2b41c6c41800feff7e136e459a9b711329f2aaedeff4da1109b4a4a4cb6",
        ),
        ("X-OptimalDial-Event", "upload.completed"),
        ("X-OptimalDial-Event-Id", "evt_0123456789abcdef01234567"),
        ("X-OptimalDial-Delivery-Id", "0198c5a0-1111-7000-8000-000000000000"),
        ("X-OptimalDial-Attempt", "1"),
        ("X-OptimalDial-Timestamp", "1777034096"),
    ]


@given(events, attempts, secrets_of_receivers)
def test_any_event_carries_one_valid_signature_for_each_secret_newest_first(
    event: EventData, attempt: AttemptInfo, secrets: list[str]
) -> None:
    body = OPTIMALDIAL.body(event)
    headers = dict(OPTIMALDIAL.headers(event, attempt, body, secrets))
    assert timestamped_marks(headers["X-OptimalDial-Signature"], body, secrets)
    assert headers["X-OptimalDial-Signature"].startswith(f"t={headers['X-OptimalDial-Timestamp']},")


@given(events)
def test_the_envelope_is_json_with_the_event(event: EventData) -> None:
    body = OPTIMALDIAL.body(event)
    envelope = json.loads(body)
    assert list(envelope) == ["id", "type", "api_version", "created_at", "data"]
    assert (envelope["id"], envelope["type"]) == (event.event_id, event.type)
    assert envelope["data"] == json.loads(event.data)
    assert body.endswith(b'"data":' + event.data + b"}")
    early = event.occurred_at - datetime.fromisoformat(envelope["created_at"])
    assert 0 <= early.total_seconds() < 0.001


@given(events)
def test_rendering_twice_gives_the_same_bytes(event: EventData) -> None:
    assert OPTIMALDIAL.body(event) == OPTIMALDIAL.body(event)


@given(st.binary(max_size=200), secrets_of_receivers)
def test_any_bytes_of_a_body_are_signed_unchanged(body: bytes, secrets: list[str]) -> None:
    headers = dict(OPTIMALDIAL.headers(UPLOAD, FIRST, body, secrets))
    assert timestamped_marks(headers["X-OptimalDial-Signature"], body, secrets)


def test_new_secrets_are_64_hexadecimal_digits_and_never_the_same() -> None:
    secrets = {OPTIMALDIAL.new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(re.fullmatch(r"[0-9a-f]{64}", secret) for secret in secrets)


@pytest.mark.parametrize("secrets", [[], [""], ["0f" * 32, ""]])
def test_every_request_is_signed(secrets: list[str]) -> None:
    with pytest.raises(ValueError, match="without a secret"):
        OPTIMALDIAL.headers(UPLOAD, FIRST, b"{}", secrets)
