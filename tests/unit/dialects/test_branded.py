"""The default dialect: every product puts its own name where OptimalDial has its."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendoff.dialects.base import AttemptInfo, EventData
from sendoff.dialects.branded import BrandedDialect
from sendoff.dialects.dialbird import DIALBIRD
from sendoff.dialects.signing import BRANDED_SCHEMES
from sendoff.verify import branded, verify
from tests.support.reference_signatures import hmac_sha256
from tests.unit.dialects.strategies import events

UPLOAD = EventData("evt_0123456789abcdef01234567", "upload.failed", "org", datetime(2026, 4, 24, tzinfo=UTC), b"{}")
FIRST = AttemptInfo(delivery_id="0198c5a0-1111-7000-8000-000000000000", attempt=1, timestamp=1_777_034_096)


def acme(**settings: Any) -> BrandedDialect:
    return BrandedDialect(**{"brand": "Acme", "api_version": "2027-01-01", **settings})


def names(dialect: BrandedDialect) -> list[str]:
    return [name for name, _ in dialect.headers(UPLOAD, FIRST, b"{}", ["s"])]


def test_another_brand_puts_its_own_name_into_headers_and_user_agent() -> None:
    assert names(acme()) == [
        "Content-Type",
        "User-Agent",
        "X-Acme-Signature",
        "X-Acme-Event",
        "X-Acme-Event-Id",
        "X-Acme-Delivery-Id",
        "X-Acme-Attempt",
        "X-Acme-Timestamp",
    ]
    assert dict(acme().headers(UPLOAD, FIRST, b"{}", ["s"]))["User-Agent"] == "Acme-Webhooks/1.0"
    assert json.loads(acme().body(UPLOAD))["api_version"] == "2027-01-01"


def test_prefix_user_agent_and_the_signatures_header_can_be_chosen_apart_from_the_brand() -> None:
    chosen = acme(header_prefix="Acme-Hook-", user_agent="Acme Hooks (+https://acme.example)")
    assert names(chosen)[2:4] == ["Acme-Hook-Signature", "Acme-Hook-Event"]
    assert dict(chosen.headers(UPLOAD, FIRST, b"{}", ["s"]))["User-Agent"] == "Acme Hooks (+https://acme.example)"
    assert names(acme(signature_header="X-Hub-Signature-256"))[2:4] == ["X-Hub-Signature-256", "X-Acme-Event"]


def test_the_slack_scheme_signs_version_time_and_body() -> None:
    headers = dict(acme(scheme="slack").headers(UPLOAD, FIRST, b"{}", ["new", "old"]))
    marks = [hmac_sha256(key, b"v0:1777034096:{}").hex() for key in (b"new", b"old")]
    assert headers["X-Acme-Signature"] == f"v0={marks[0]},v0={marks[1]}"
    assert headers["X-Acme-Timestamp"] == "1777034096"


@pytest.mark.parametrize(
    ("envelope", "fields"),
    [
        ("optimaldial", ["id", "type", "api_version", "created_at", "data"]),
        ("dialbird", ["id", "type", "api_version", "occurred_at", "business_id", "data"]),
        ("standard", ["type", "timestamp", "data"]),
    ],
)
def test_the_envelope_can_be_that_of_any_contract(envelope: str, fields: list[str]) -> None:
    assert list(json.loads(acme(envelope=envelope).body(UPLOAD))) == fields


def test_a_borrowed_envelope_is_the_same_bytes() -> None:
    assert acme(envelope="dialbird", api_version="v1").body(UPLOAD) == DIALBIRD.body(UPLOAD)


@given(events, st.sampled_from(sorted(BRANDED_SCHEMES)), st.sampled_from(["optimaldial", "dialbird", "standard"]))
def test_receivers_verify_whatever_an_installation_has_chosen(event: EventData, scheme: str, envelope: str) -> None:
    dialect = acme(scheme=scheme, envelope=envelope, header_prefix="Acme-", signature_header="Acme-Mark")
    body = dialect.body(event)
    headers = dialect.headers(event, FIRST, body, ["new", "old"])
    expected = branded("Acme", scheme=scheme, prefix="Acme-", signature_header="Acme-Mark")
    for secret in ("new", "old"):
        assert verify(expected, headers, body, secret, now=FIRST.timestamp)["type"] == event.type


@pytest.mark.parametrize("brand", ["", "Acme Inc", "Acmé", "A\r\nX: y", "-Acme", "Acme-", "A--B", "A:B"])
def test_a_brand_that_cannot_stand_in_a_headers_name_is_refused(brand: str) -> None:
    with pytest.raises(ValueError, match="Invalid brand"):
        acme(brand=brand)


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ({"header_prefix": "X Acme-"}, "Invalid header name"),
        ({"header_prefix": "X:"}, "Invalid header name"),
        ({"signature_header": "Signature\r\nX: y"}, "Invalid header name"),
        ({"user_agent": "Acme\r\nX: y"}, "Invalid user agent"),
        ({"user_agent": "Acmé"}, "Invalid user agent"),
        ({"scheme": "plain"}, "Unknown scheme"),
        ({"envelope": "plain"}, "Unknown scheme"),
    ],
)
def test_values_that_are_invalid_in_a_header_are_refused(setting: dict[str, str], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        acme(**setting)
