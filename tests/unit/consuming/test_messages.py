"""What messages hold, in every form that they come in."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from sendoff.consuming.messages import Message, organization_of, read_message
from sendoff.errors import Invalid, SendoffError, TooLarge, UnsupportedMediaType

LIMIT = 262_144
BODY = b'{"type": "order.paid", "data": {"n": 1.50}}'
ATTRIBUTES = {"specversion": "1.0", "id": "1", "source": "/orders", "type": "order.paid"}
CLOUD_EVENT = {**ATTRIBUTES, "time": "2026-04-24T12:34:56Z", "data": {"n": 1}}


def message(body: bytes = BODY, headers: dict[str, str] | None = None, **more: Any) -> Message:
    return Message(body, headers or {}, **more)


def binary(prefix: str, **more: str) -> dict[str, str]:
    return {f"{prefix}{name}": value for name, value in {**ATTRIBUTES, **more}.items()}


def test_a_body_keeps_its_data_byte_for_byte() -> None:
    read = read_message(message(id="m1"), body_limit=LIMIT)
    assert (read.event.type, read.event.data, read.key) == ("order.paid", b'{"n": 1.50}', "m1")


@pytest.mark.parametrize("content_type", ["application/cloudevents+json; charset=utf-8", "application/json", ""])
def test_a_structured_cloud_event_is_known_by_its_type_or_by_its_content(content_type: str) -> None:
    body = json.dumps(CLOUD_EVENT).encode()
    read = read_message(message(body, content_type=content_type), body_limit=LIMIT)
    assert (read.event.type, read.event.data) == ("order.paid", b'{"n": 1}')
    assert read.event.occurred_at == datetime(2026, 4, 24, 12, 34, 56, tzinfo=UTC)


@pytest.mark.parametrize("prefix", ["ce-", "ce_", "cloudevents:", "cloudevents_"])
def test_a_binary_cloud_event_is_known_by_the_headers_of_any_binding(prefix: str) -> None:
    read = read_message(message(b'{"n": 2}', binary(prefix), content_type="application/json"), body_limit=LIMIT)
    assert (read.event.type, read.event.data) == ("order.paid", b'{"n": 2}')


def test_both_forms_of_a_cloud_event_have_one_key() -> None:
    structured = read_message(message(json.dumps(CLOUD_EVENT).encode()), body_limit=LIMIT)
    in_headers = read_message(message(b"{}", binary("ce_"), id="another", position="kafka:t:0:7:1"), body_limit=LIMIT)
    assert (structured.key, structured.fingerprint) == (in_headers.key, in_headers.fingerprint)


@pytest.mark.parametrize(
    ("given", "key", "is_certain"),
    [
        (message(headers={"idempotency-key": "k"}, id="m", position="p"), "k", True),
        (message(id="m", position="p"), "m", True),
        (message(position="nats:S:1:2"), "nats:S:1:2", True),
        (message(), "message:", False),
        (message(id="x" * 300), "message:", True),
        (message(id="a\nb"), "message:", True),
    ],
)
def test_the_key_is_the_first_id_that_there_is(given: Message, key: str, is_certain: bool) -> None:
    read = read_message(given, body_limit=LIMIT)
    assert read.key.startswith(key)
    assert len(read.key) <= 255
    assert read.is_certain is is_certain


def test_an_id_that_comes_with_another_body_has_another_fingerprint() -> None:
    first = read_message(message(id="m"), body_limit=LIMIT)
    second = read_message(message(BODY.replace(b"1.50", b"2"), id="m"), body_limit=LIMIT)
    assert first.key == second.key
    assert first.fingerprint != second.fingerprint


def test_the_trace_goes_on() -> None:
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert read_message(message(headers={"traceparent": parent}), body_limit=LIMIT).event.traceparent == parent
    assert read_message(message(headers={"traceparent": "x"}), body_limit=LIMIT).event.traceparent is None


@pytest.mark.parametrize(
    ("given", "kind", "what"),
    [
        (message(b""), Invalid, "not valid JSON"),
        (message(b"\xff\xfe"), Invalid, ""),
        (message(b"[1]"), Invalid, ""),
        (message(b'{"type": "order.paid"}'), Invalid, "`data` is missing"),
        (message(b"{" * 100_000), Invalid, ""),
        (message(b" " * (LIMIT + 1)), TooLarge, "262,144 bytes"),
        (message(b"[]", content_type="application/cloudevents-batch+json"), UnsupportedMediaType, "over HTTP several"),
        (message(b"{}", binary("ce_", source="")), Invalid, "`ce-source` is missing"),
        (message(json.dumps({**CLOUD_EVENT, "specversion": "0.3"}).encode()), Invalid, "`specversion` must be 1.0"),
        (message(b"\x89PNG", binary("ce-"), content_type="image/png"), Invalid, ""),
    ],
)
def test_a_message_that_can_never_be_accepted_is_refused_with_a_sentence(
    given: Message, kind: type[SendoffError], what: str
) -> None:
    with pytest.raises(kind) as refused:
        read_message(given, body_limit=LIMIT)
    assert what in refused.value.message


def test_an_organization_is_named_by_a_header_or_an_attribute() -> None:
    body = json.dumps({**CLOUD_EVENT, "sendofforganization": "acme"}).encode()
    assert organization_of(message(headers={"tenant": "acme"}), "tenant") == "acme"
    assert organization_of(message(body), "tenant") == "acme"
    assert organization_of(message(b"{}", binary("ce_", sendofforganization="acme")), "tenant") == "acme"
    assert organization_of(message(), "tenant") is None
    assert organization_of(message(b"nonsense"), "tenant") is None
