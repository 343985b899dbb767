"""E-mail and Slack: a person sees what happened, to whom, since when, and what to do; hostile text has no effect."""

from __future__ import annotations

import email
import email.policy
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendoff.dialects.alert import compose
from sendoff.dialects.base import AttemptInfo, EventData
from sendoff.dialects.email import Email
from sendoff.dialects.slack import Slack
from sendoff.policy.operational_events import OPERATORS, OperationalEventType
from sendoff.policy.states import DeadLetterReason

AT = datetime(2026, 4, 24, 12, 34, 56, tzinfo=UTC)
DATA: dict[str, Any] = {
    "organization_id": "0199c5a0-7b4e-7c00-8000-000000000000",
    "organization_name": "Acme & <Sons>",
    "endpoint_id": "0199c5a0-7b4e-7c00-8000-000000000001",
    "endpoint_url": "https://hooks.example.com/in",
    "state": "disabled",
    "reason": "too_many_failures",
    "consecutive_failures": 20,
    "first_failure_at": "2026-04-24T11:00:00.000+00:00",
    "last_response_status": 503,
    "last_error": "The receiver answered 503 Service Unavailable.",
    "command": "sendoff endpoints show 0199c5a0-7b4e-7c00-8000-000000000001",
    "dashboard": "https://send.example.com/dashboard/endpoints/0199c5a0-7b4e-7c00-8000-000000000001",
}


def event(type_: str, data: Any) -> EventData:
    return EventData("evt_0199c1f26f1e8f431f0c2f6d", type_, OPERATORS, AT, json.dumps(data).encode())


def read_mail(body: bytes) -> tuple[str, str]:
    message = email.message_from_bytes(body, policy=email.policy.default)
    return str(message["Subject"]), message.get_content()


def test_a_mail_about_a_disabled_endpoint_says_all_that_is_needed() -> None:
    body = Email().body(event("endpoint.disabled", DATA))
    subject, text = read_mail(body)
    assert subject == (
        "[Sendoff] Endpoint https://hooks.example.com/in of Acme & <Sons> is disabled: 20 attempts failed in a row"
    )
    for words in (
        "First failure at",
        "2026-04-24T11:00:00.000+00:00",
        "The receiver answered 503 Service Unavailable.",
        "sendoff endpoints show 0199c5a0-7b4e-7c00-8000-000000000001",
        "sendoff endpoints enable 0199c5a0-7b4e-7c00-8000-000000000001",
        "sendoff replay --endpoint 0199c5a0-7b4e-7c00-8000-000000000001",
        "https://send.example.com/dashboard/endpoints/",
        "When the receiver works again",
    ):
        assert words in text
    message = email.message_from_bytes(body)
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Message-ID"] == "<evt_0199c1f26f1e8f431f0c2f6d@sendoff.invalid>"
    assert not {"From", "To", "Cc", "Bcc"} & set(message.keys())


def test_every_attempt_carries_the_same_mail() -> None:
    assert Email().body(event("endpoint.disabled", DATA)) == Email().body(event("endpoint.disabled", DATA))


def test_a_slack_message_has_a_text_and_blocks_within_slacks_limits() -> None:
    message = json.loads(Slack("Acme/1.0").body(event("endpoint.disabled", DATA)))
    assert message["text"].startswith("Endpoint https://hooks.example.com/in of Acme &amp; &lt;Sons&gt; is disabled")
    kinds = [block["type"] for block in message["blocks"]]
    assert kinds[0] == "section"
    assert kinds[-1] == "context"
    assert "|Dashboard>" in json.dumps(message["blocks"][-1])
    check_limits(message)


def check_limits(message: dict[str, Any]) -> None:
    assert len(message["blocks"]) <= 50
    for block in message["blocks"]:
        texts = [block["text"]["text"]] if "text" in block else []
        fields = [field["text"] for field in block.get("fields", [])]
        assert all(1 <= len(text) <= 3_000 for text in texts)
        assert all(1 <= len(text) <= 2_000 for text in fields)
        assert len(fields) <= 10


HOSTILE = [
    "<!channel> <@U1> <https://evil.example|click>",
    "*bold* _x_ ~y~ `code`",
    "a\r\nBcc: evil@example.com\r\n\r\nx",
    "\x1b[2J\u202e",
    "",
]


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("type_", [*OperationalEventType, "webhook.ping", "unknown.type"])
def test_hostile_text_neither_mentions_nor_links_nor_writes_headers(type_: str, hostile: str) -> None:
    data = DATA | dict.fromkeys(("organization_name", "endpoint_url", "last_error", "description", "actor"), hostile)
    for one in (data, data | {"count": 7, "endpoints": [data | {"count": 7}]}):
        message = json.loads(Slack("Acme/1.0").body(event(type_, one)))
        check_limits(message)
        shown = json.dumps(message, ensure_ascii=False)
        assert "<!" not in shown
        assert "<@" not in shown
        assert "<https://evil" not in shown
        assert "\u202e" not in shown
        mail = email.message_from_bytes(Email().body(event(type_, one)), policy=email.policy.default)
        assert mail["Bcc"] is None
        assert "\x1b" not in mail.get_content()


@given(st.dictionaries(st.sampled_from(sorted(DATA)), st.text(max_size=3_000)), st.sampled_from(OperationalEventType))
def test_any_data_makes_a_message(changed: dict[str, str], type_: str) -> None:
    check_limits(json.loads(Slack("Acme/1.0").body(event(type_, DATA | changed))))
    subject, text = read_mail(Email().body(event(type_, DATA | changed)))
    assert "\n" not in subject
    assert text


@pytest.mark.parametrize("data", [[], "text", None, {}, {"count": None}, {"endpoints": None, "count": 1}])
def test_data_that_a_transform_made_of_another_shape_is_shown_as_it_is(data: Any) -> None:
    for type_ in OperationalEventType:
        assert Slack("Acme/1.0").body(event(type_, data))
        assert Email().body(event(type_, data))


def test_several_events_are_told_together_with_how_many_each_endpoint_has() -> None:
    several = {
        "count": 19_999,
        "first_at": "2026-04-24T11:00:00.000+00:00",
        "last_at": "2026-04-24T11:04:00.000+00:00",
        "endpoints": [DATA | {"count": 19_990}],
    }
    alert = compose(event("delivery.dead_lettered", several))
    assert alert.title == "19999 more deliveries were given up"
    assert any("19990, of Acme" in value for _, value in alert.facts)


@pytest.mark.parametrize("reason", DeadLetterReason)
def test_an_alert_about_a_dead_letter_says_what_to_do_about_its_reason(reason: DeadLetterReason) -> None:
    alert = compose(event("delivery.dead_lettered", DATA | {"reason": reason}))
    assert reason.remedy in alert.remedy


def test_a_reason_that_a_transform_made_up_is_shown_without_advice() -> None:
    alert = compose(event("delivery.dead_lettered", DATA | {"reason": "made_up"}))
    assert alert.title.endswith("was given up: made up")
    assert alert.remedy == "It is kept as a dead letter until it is replayed or discarded."


def test_slack_gets_a_signature_that_names_no_secret() -> None:
    attempt = AttemptInfo("0199c5a0-7b4e-7c00-8000-000000000002", 1, 1_776_000_000)
    secret = Slack("Acme/1.0").new_secret()
    headers = dict(Slack("Acme/1.0").headers(event("webhook.ping", {}), attempt, b"{}", [secret]))
    assert headers["X-Sendoff-Signature"].startswith("v0=")
    assert secret not in str(headers)
