"""What logs and error texts do not tell."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendoff.policy.redaction import HIDDEN, redact_headers, redact_mapping, redact_text, redact_url

KEY = "od_live_" + "aB3-_" * 6 + "zz"
# Shaped like an access token, but not signed.
TOKEN = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhZGEifQ.aB3-_"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.com/hook", "https://example.com/hook"),
        ("https://user:pass@example.com:8443/hook", "https://example.com:8443/hook"),
        ("https://user@[2001:db8::1]/", "https://[2001:db8::1]/"),
        ("https://a:b@c@example.com/", "https://example.com/"),
        ("https://example.com/?token=abc&x=1#frag", f"https://example.com/?token={HIDDEN}&x={HIDDEN}"),
        ("https://example.com/?abc", f"https://example.com/?{HIDDEN}"),
        ("https://example.com/?a=b=c", f"https://example.com/?a={HIDDEN}"),
        ("https://[broken/", "[unreadable URL]"),
        ("postgresql+asyncpg://u:p@db:5432/x", "postgresql+asyncpg://db:5432/x"),
    ],
)
def test_a_url_is_shown_without_what_may_be_a_credential(url: str, shown: str) -> None:
    assert redact_url(url) == shown


words = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=6, max_size=20).map("zq".__add__)


@given(words, words, words)
def test_no_user_password_or_query_value_survives(user: str, password: str, value: str) -> None:
    shown = redact_url(f"https://{user}:{password}@example.com/path?key={value}#{value}")
    assert not any(secret in shown for secret in (user, password, value))


def test_headers_that_speak_of_credentials_are_hidden_and_others_are_not() -> None:
    headers = [
        ("Authorization", "Bearer abc"),
        ("proxy-authorization", "Basic abc"),
        ("Cookie", "a=b"),
        ("Set-Cookie", "a=b"),
        ("X-Api-Key", "abc"),
        ("X-OptimalDial-Signature", "t=1,v1=00"),
        ("Content-Type", "application/json"),
        ("X-Note", f"sent with {KEY}"),
    ]
    shown = redact_headers(headers)
    assert [name for name, _ in shown] == [name for name, _ in headers]
    assert [value for _, value in shown] == [
        *[HIDDEN] * 6,
        "application/json",
        f"sent with od_live_{HIDDEN}",
    ]


def test_a_mapping_is_hidden_at_any_depth_and_stays_as_it_was_itself() -> None:
    event = {
        "event": "endpoint registered",
        "secret": "0f" * 32,
        "count": 3,
        "endpoint": {"signing_secret": "x", "url": "https://u:p@example.com/"},
        "keys": [{"api_key": KEY}, KEY],
        "none": None,
    }
    shown = redact_mapping(event)
    assert shown == {
        "event": "endpoint registered",
        "secret": HIDDEN,
        "count": 3,
        "endpoint": {"signing_secret": HIDDEN, "url": "https://example.com/"},
        "keys": [{"api_key": HIDDEN}, f"od_live_{HIDDEN}"],
        "none": None,
    }
    assert event["secret"] == "0f" * 32


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"key {KEY} is revoked", f"key od_live_{HIDDEN} is revoked"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw!", f"whsec_{HIDDEN}!"),
        ("Authorization: Bearer abc.def-ghi", f"Authorization: Bearer {HIDDEN}"),
        (f"unknown type '{TOKEN}';", f"unknown type 'eyJ{HIDDEN}';"),
        (TOKEN.rpartition(".")[0], TOKEN.rpartition(".")[0]),
        ("keyJson.eyJa.b", "keyJson.eyJa.b"),
        ("cannot reach redis://:hunter2@cache:6379/0", "cannot reach redis://cache:6379/0"),
        ("mail a@example.com about https://example.com/", "mail a@example.com about https://example.com/"),
        ("signed by " + "0f" * 32, f"signed by {HIDDEN}"),
        ("sha1 " + "0f" * 20, "sha1 " + "0f" * 20),
        (f"key:{KEY[:12]} did it", f"key:{KEY[:12]} did it"),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_credentials_are_cut_out_of_free_text(text: str, shown: str) -> None:
    assert redact_text(text) == shown


@given(st.text())
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    once = redact_text(text)
    assert redact_text(once) == once
