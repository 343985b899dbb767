"""Explanations of signatures: each usual mistake is recognized by what it does to the body, the key or the content."""

from __future__ import annotations

import hmac
import json
from base64 import b64decode, b64encode
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendoff.dialects.registry import Dialects
from sendoff.dialects.signing import public_key
from sendoff.verify import SCHEMES, Explanation, VerificationError, explain
from tests.unit.test_verify import NOW, send

SECRET = "0123456789abcdef" * 4
BODY = b'{"id":"evt_0123456789abcdef01234567","type":"invoice.paid","data":{"b":"a/b","a":"J\xc3\xb6rg","n":[1,2]}}'


def stripe(key: bytes, content: bytes) -> dict[str, str]:
    return {"X-OptimalDial-Signature": f"t={NOW},v1={hmac.digest(key, content, 'sha256').hex()}"}


def signed(key: bytes = SECRET.encode(), body: bytes = BODY) -> dict[str, str]:
    return stripe(key, b"%d." % NOW + body)


def codes(found: Explanation) -> list[str]:
    return [finding.code for finding in found.findings]


def why(headers: dict[str, str], body: bytes, *secrets: str, dialect: str = "default", **more: object) -> list[str]:
    found = explain(dialect, headers, body, list(secrets) or [SECRET], now=NOW, **more)  # type: ignore[arg-type]
    assert not found.valid
    assert all(finding.message and finding.remedy for finding in found.findings)
    return codes(found)


def test_a_valid_request_needs_no_finding_and_shows_what_was_signed() -> None:
    found = explain("default", signed(), BODY, {"current": SECRET, "previous": "f" * 64}, now=NOW + 7)
    assert (found.valid, codes(found), found.age_seconds) == (True, [], 7)
    assert found.signed_content == (b"%d." % NOW + BODY)[:120].decode()
    assert [(check.label, check.matches) for check in found.secrets] == [("current", True), ("previous", False)]
    assert found.secrets[0].expected == found.signatures[0] != found.secrets[1].expected


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda body: body + b"\n", "newline_added"),
        (lambda body: body + b"\r\n", "newline_added"),
        (lambda body: b"  " + body, "white_space"),
        (lambda body: b"\xef\xbb\xbf" + body, "byte_order_mark"),
        (lambda body: json.dumps(json.loads(body)).encode(), "json_compact"),
        (lambda body: json.dumps(json.loads(body), indent=2, ensure_ascii=False).encode(), "json_compact"),
        (lambda body: json.dumps(body.decode()).encode(), "json_twice"),
        (lambda body: body.replace(b"/", b"\\/"), "json_compact"),
    ],
)
def test_a_change_of_the_body_is_named(change: Callable[[bytes], bytes], code: str) -> None:
    assert why(signed(), change(BODY)) == [code]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (BODY + b"\n", "newline_removed"),
        (BODY.replace(b":", b": ").replace(b",", b", "), "json_spaced"),
        (json.dumps(json.loads(BODY), indent=2, ensure_ascii=False).encode(), "json_indented"),
        (json.dumps(json.loads(BODY), separators=(",", ":"), sort_keys=True).encode(), "json_sorted"),
    ],
)
def test_a_body_of_which_something_was_removed_or_rearranged_is_recognized(sent: bytes, code: str) -> None:
    assert why(signed(body=sent), BODY) == [code]


def test_numbers_that_were_rewritten_are_suspected_or_found_by_the_body_that_the_sender_kept() -> None:
    sent = BODY.replace(b"[1,2]", b"1.50")
    spaced = json.dumps(json.loads(sent)).encode()
    compact = json.dumps(json.loads(sent), separators=(",", ":"), ensure_ascii=False).encode()
    assert why(signed(body=sent), spaced) == ["json_rewritten"]
    assert why(signed(body=sent), compact) == ["unknown"]
    found = explain("default", signed(body=sent), compact, [SECRET], now=NOW, sent_body=sent)
    assert codes(found) == ["other_bytes"]
    assert f"from byte {compact.index(b'1.5') + 3} on" in found.findings[0].remedy


@pytest.mark.parametrize(
    ("known", "right", "code"),
    [
        (f" {SECRET}\n", SECRET, "secret_white_space"),
        (f'"{SECRET}"', SECRET, "secret_white_space"),
        (SECRET, f"whsec_{SECRET}", "secret_prefix_kept"),
        (f"whsec_{SECRET}", SECRET, "secret_prefix_removed"),
    ],
)
def test_a_secret_that_was_stored_wrongly_is_recognized(known: str, right: str, code: str) -> None:
    assert why(signed(right.encode()), BODY, known) == [code]


@pytest.mark.parametrize(
    ("key", "code"),
    [
        (bytes.fromhex(SECRET), "secret_hex_decoded"),
        (b64decode(SECRET), "secret_base64_decoded"),
        (SECRET.encode() + b"\n", "secret_white_space"),
    ],
)
def test_a_key_that_was_decoded_is_recognized_in_headers_and_in_what_code_calculated(key: bytes, code: str) -> None:
    assert why(signed(key), BODY) == [code]
    computed = hmac.digest(key, b"%d." % NOW + BODY, "sha256").hex()
    found = explain("default", signed(), BODY, [SECRET], now=NOW, computed=computed)
    assert (found.valid, codes(found)) == (True, [code])


def test_standard_secrets_are_recognized_as_text_and_as_hexadecimal() -> None:
    dialect = Dialects().get("standard")
    secret = dialect.new_secret()
    headers, body = send(dialect, secret)
    content = f"{headers['webhook-id']}.{NOW}.".encode() + body
    for key, code in ((secret.encode(), "secret_prefix_kept"), (secret[6:].encode(), "secret_prefix_removed")):
        computed = b64encode(hmac.digest(key, content, "sha256")).decode()
        found = explain("standard", headers, body, [secret], now=NOW, computed=f"v1,{computed}")
        assert codes(found) == [code]
        assert "remove the prefix, then decode" in found.findings[0].remedy


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (BODY, "content_without_time"),
        (b"%d" % NOW + BODY, "content_without_dot"),
        (b"%d000." % NOW + BODY, "content_in_milliseconds"),
        (b"v0:%d:" % NOW + BODY, "content_of_other_scheme"),
        (b"%d." % (NOW + 7) + BODY, "content_of_other_time"),
        (b"%d." % NOW + BODY, "computed_right"),
        (b"nothing of it", "computed_unknown"),
    ],
)
def test_a_signature_of_something_else_is_recognized(content: bytes, code: str) -> None:
    computed = hmac.digest(SECRET.encode(), content, "sha256").hex()
    assert codes(explain("default", signed(), BODY, [SECRET], now=NOW, computed=computed)) == [code]


def test_two_mistakes_at_once_and_another_spelling_are_recognized() -> None:
    computed = hmac.digest(bytes.fromhex(SECRET), b"%d." % NOW + BODY + b"\n", "sha256").hex()
    assert codes(explain("default", signed(), BODY, [SECRET], now=NOW, computed=computed)) == [
        "newline_removed",
        "secret_hex_decoded",
    ]
    spelled = b64encode(hmac.digest(SECRET.encode(), b"%d." % NOW + BODY, "sha256")).decode()
    assert codes(explain("default", signed(), BODY, [SECRET], now=NOW, computed=spelled)) == ["encoding"]


def test_headers_of_another_dialect_are_named_and_missing_ones_explained() -> None:
    standard = Dialects().get("standard")
    secret = standard.new_secret()
    headers, body = send(standard, secret)
    assert why(headers, body, secret) == ["missing_header", "other_dialect"]
    assert why({}, BODY) == ["missing_header"]
    assert why({"X-OptimalDial-Signature": "t=1"}, BODY) == ["malformed_header"]


@pytest.mark.parametrize(("seconds", "code"), [(400, "too_old"), (-400, "too_new")])
def test_a_clock_that_is_off_is_told_from_a_wrong_signature_and_by_how_much(seconds: int, code: str) -> None:
    found = explain("default", signed(), BODY, [SECRET], now=NOW + seconds)
    assert (found.valid, codes(found)) == (False, [code])
    assert "400 s" in found.findings[0].remedy


def test_the_secret_of_another_endpoint_is_named_by_its_label_and_never_shown() -> None:
    other = "f" * 64
    found = explain(
        "default", signed(other.encode()), BODY, [SECRET], now=NOW, others={"https://b.example/hook": other}
    )
    assert codes(found) == ["other_endpoint"]
    assert "https://b.example/hook" in found.findings[0].message
    assert other not in repr(found)


def test_asymmetric_signatures_are_explained_with_the_public_key() -> None:
    dialect = Dialects().get("standard-v1a")
    secret = dialect.new_secret()
    headers, body = send(dialect, secret)
    found = explain("standard-v1a", headers, body + b"\n", [public_key(secret)], now=NOW)
    assert (codes(found), found.secrets[0].expected) == (["newline_added"], None)


@given(st.sampled_from(sorted(SCHEMES)), st.dictionaries(st.text(), st.text()), st.binary(), st.text(), st.text())
def test_any_pasted_text_is_explained_and_raises_nothing_else(
    dialect: str, headers: dict[str, str], body: bytes, secret: str, computed: str
) -> None:
    full = {**headers, "x-optimaldial-signature": f"t={NOW},v1={computed}", "webhook-id": "i", "webhook-timestamp": "1"}
    try:
        found = explain(dialect, {**full, "webhook-signature": f"v1,{computed}"}, body, [secret], computed=computed)
    except VerificationError:
        return
    assert found.valid or found.findings


def test_hostile_json_takes_no_time_that_grows_faster_than_its_size() -> None:
    """A search of quadratic time would let this test run into the limit of its runner."""
    for body in (b'"' + b'\\"' * 30_000, b"[" * 60_000, b'{"a":' * 10_000, b" " * 60_000 + b"{}", b"1," * 30_000):
        assert not explain("default", signed(), body, [SECRET], now=NOW).valid
