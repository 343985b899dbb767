"""What receivers use to tell our requests from others."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendoff.dialects.base import AttemptInfo, Dialect, EventData
from sendoff.dialects.branded import BrandedDialect
from sendoff.dialects.registry import Dialects
from sendoff.dialects.signing import PRIVATE_PREFIX, public_key
from sendoff.verify import Problem, VerificationError, house, verify
from tests.support.processes import ROOT
from tests.unit.dialects.strategies import events

NOW = 1_777_034_096
UPLOAD = EventData("evt_0123456789abcdef01234567", "upload.failed", "org", datetime(2026, 4, 24, tzinfo=UTC), b"{}")

DIALECTS = Dialects()
every_dialect = pytest.mark.parametrize("name", DIALECTS.names)


def theirs(secret: str) -> str:
    """What the receiver knows of a secret."""
    return public_key(secret) if secret.startswith(PRIVATE_PREFIX) else secret


def send(dialect: Dialect, *secrets: str, event: EventData = UPLOAD, at: int = NOW) -> tuple[dict[str, str], bytes]:
    body = dialect.body(event)
    return dict(dialect.headers(event, AttemptInfo("d", 1, at), body, secrets)), body


def problem_of(call: Callable[[], object]) -> Problem:
    with pytest.raises(VerificationError) as caught:
        call()
    return caught.value.problem


@given(st.sampled_from(DIALECTS.names), events)
def test_requests_of_every_dialect_are_verified_and_parsed(name: str, event: EventData) -> None:
    secret = DIALECTS.get(name).new_secret()
    headers, body = send(DIALECTS.get(name), secret, event=event)
    assert verify(name, headers, body, theirs(secret), now=NOW)["type"] == event.type


@every_dialect
def test_during_a_rotation_either_side_may_know_both_secrets(name: str) -> None:
    dialect = DIALECTS.get(name)
    old, new, other = (dialect.new_secret() for _ in range(3))
    headers, body = send(dialect, new, old)
    old, new, other = (theirs(secret) for secret in (old, new, other))
    for known in (old, new, [new], [other, old]):
        assert verify(name, headers, body, known, now=NOW)
    assert problem_of(lambda: verify(name, headers, body, other, now=NOW)) is Problem.NO_SIGNATURE_MATCHES


@every_dialect
def test_header_names_are_found_in_any_case_and_in_lists_of_pairs(name: str) -> None:
    secret = DIALECTS.get(name).new_secret()
    headers, body = send(DIALECTS.get(name), secret)
    assert verify(name, [(key.upper(), value) for key, value in headers.items()], body, theirs(secret), now=NOW)


@every_dialect
@given(data=st.data())
def test_a_single_changed_byte_is_noticed(name: str, data: st.DataObject) -> None:
    secret = DIALECTS.get(name).new_secret()
    headers, body = send(DIALECTS.get(name), secret)
    position = data.draw(st.integers(0, len(body) - 1))
    changed = bytearray(body)
    changed[position] ^= data.draw(st.integers(1, 255))
    found = problem_of(lambda: verify(name, headers, bytes(changed), theirs(secret), now=NOW))
    assert found is Problem.NO_SIGNATURE_MATCHES


@every_dialect
@pytest.mark.parametrize(
    ("lateness", "problem"),
    [(300, None), (301, Problem.TOO_OLD), (-300, None), (-301, Problem.TOO_NEW), (10**8, Problem.TOO_OLD)],
)
def test_the_time_may_differ_by_five_minutes_and_no_more(name: str, lateness: int, problem: Problem | None) -> None:
    secret = DIALECTS.get(name).new_secret()
    headers, body = send(DIALECTS.get(name), secret)
    if problem is None:
        assert verify(name, headers, body, theirs(secret), now=NOW + lateness)
    else:
        assert problem_of(lambda: verify(name, headers, body, theirs(secret), now=NOW + lateness)) is problem


def test_without_a_time_the_machines_own_counts() -> None:
    dialect = DIALECTS.get("optimaldial")
    secret = dialect.new_secret()
    headers, body = send(dialect, secret, at=int(datetime.now(UTC).timestamp()))
    assert verify("optimaldial", headers, body, secret)
    headers, body = send(dialect, secret)
    assert problem_of(lambda: verify("optimaldial", headers, body, secret, tolerance=1)) in (
        Problem.TOO_OLD,
        Problem.TOO_NEW,
    )


@every_dialect
def test_a_changed_time_is_a_wrong_signature_and_not_a_matter_of_clocks(name: str) -> None:
    secret = DIALECTS.get(name).new_secret()
    headers, body = send(DIALECTS.get(name), secret)
    moved = {key: value.replace(str(NOW), str(NOW - 9999)) for key, value in headers.items()}
    assert problem_of(lambda: verify(name, moved, body, theirs(secret), now=NOW)) is Problem.NO_SIGNATURE_MATCHES


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("optimaldial", "X-OptimalDial-Signature"),
        ("dialbird", "X-Dialbird-Signature"),
        ("standard", "webhook-id"),
        ("standard", "webhook-timestamp"),
        ("standard", "webhook-signature"),
    ],
)
def test_a_missing_header_is_named(name: str, header: str) -> None:
    secret = DIALECTS.get(name).new_secret()
    headers, body = send(DIALECTS.get(name), secret)
    del headers[header]
    with pytest.raises(VerificationError, match=f"no {header} header") as caught:
        verify(name, headers, body, theirs(secret), now=NOW)
    assert caught.value.problem is Problem.MISSING_HEADER


@pytest.mark.parametrize(
    "value",
    [
        "x",
        "t=1",
        "v1=00",
        f"t={NOW},v0=00",
        "t=soon,v1=00",
        "t=-1,v1=00",
        f"t={NOW},t={NOW},v1=0",
        "t=٣,v1=00",
        "t=" + "1" * 9999 + ",v1=0",
    ],
)
def test_a_malformed_signature_header_is_called_so(value: str) -> None:
    found = problem_of(lambda: verify("optimaldial", {"X-OptimalDial-Signature": value}, b"{}", "s", now=NOW))
    assert found is Problem.MALFORMED_HEADER


@pytest.mark.parametrize("value", ["x", "v2,AAAA", "v1", "v1b,AAAA"])
def test_a_standard_header_without_a_signature_that_we_know_is_malformed(value: str) -> None:
    headers = {"webhook-id": "evt_1", "webhook-timestamp": str(NOW), "webhook-signature": value}
    assert problem_of(lambda: verify("standard", headers, b"{}", "whsec_AAAA", now=NOW)) is Problem.MALFORMED_HEADER


@given(st.text(), st.text(), st.binary(max_size=50), st.sampled_from(DIALECTS.names))
def test_no_garbage_is_verified_or_breaks_the_verification(one: str, two: str, body: bytes, name: str) -> None:
    secret = DIALECTS.get(name).new_secret()
    headers, _ = send(DIALECTS.get(name), secret)
    garbled = {key: one if index % 2 else two for index, key in enumerate(headers)}
    with pytest.raises(VerificationError):
        verify(name, garbled, body, theirs(secret), now=NOW)


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"{", b"\xff", b"[" * 100_000])
def test_a_signed_body_other_than_a_json_object_is_refused(body: bytes) -> None:
    dialect = DIALECTS.get("optimaldial")
    headers = dict(dialect.headers(UPLOAD, AttemptInfo("d", 1, NOW), body, ["s"]))
    assert problem_of(lambda: verify("optimaldial", headers, body, "s", now=NOW)) is Problem.MALFORMED_BODY


@pytest.mark.parametrize(
    ("header", "known"),
    [
        ("v1a,AAAA", "whsec_AAAA"),
        ("v1,AAAA", "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="),
        ("v1a,AAAA", "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="),
        ("v1a,é", "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="),
        (" ".join(["v1a," + "A" * 86 + "=="] * 5_000), "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="),
    ],
)
def test_a_signature_of_one_kind_is_refused_under_a_key_of_the_other(header: str, known: str) -> None:
    headers = {"webhook-id": "evt_1", "webhook-timestamp": str(NOW), "webhook-signature": header}
    assert problem_of(lambda: verify("standard", headers, b"{}", known, now=NOW)) is Problem.NO_SIGNATURE_MATCHES


@pytest.mark.parametrize("known", ["whpk_", "whpk_AAAA", "whsk_AAAA", "whsec_", "no base64!"])
def test_an_invalid_standard_secret_is_a_value_error(known: str) -> None:
    headers = {"webhook-id": "evt_1", "webhook-timestamp": str(NOW), "webhook-signature": "v1a,AAAA v1,AAAA"}
    with pytest.raises(ValueError, match=r".") as caught:
        verify("standard", headers, b"{}", known, now=NOW)
    assert not isinstance(caught.value, VerificationError)


def test_an_installations_own_brand_is_verified_by_its_name() -> None:
    acme = BrandedDialect(brand="Acme", api_version="1")
    headers, body = send(acme, "s")
    assert verify(house("Acme"), headers, body, "s", now=NOW)["api_version"] == "1"


@pytest.mark.parametrize("secrets", ["", [], ["x", ""]])
def test_verifying_without_a_secret_is_an_error(secrets: str | list[str]) -> None:
    headers, body = send(DIALECTS.get("optimaldial"), "x")
    with pytest.raises(ValueError, match="at least one secret"):
        verify("optimaldial", headers, body, secrets, now=NOW)


def test_an_unknown_dialect_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="known are optimaldial, default, house, dialbird, standard"):
        verify("morse", {}, b"{}", "s")


def test_it_is_importable_with_the_standard_library_alone() -> None:
    # -I and -S leave out site-packages, and with it every dependency of the servers.
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import sendoff.verify; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    own = {name for name in done.stdout.split() if name.startswith("sendoff")}
    parts = ("explain", "mistakes", "schemes", "ed25519")
    assert own == {"sendoff", "sendoff.verify", *(f"sendoff.verify.{part}" for part in parts)}


SURROGATES = ("\udcff", "t=1,v1=\udcff", "\ud800", "v1,\udcff", "v1a,\udcff")


@every_dialect
@pytest.mark.parametrize("value", [*SURROGATES, None, 1, b"\xff", [], ["t=1,v1=0", "\udcff"], {}])
def test_unusual_header_values_raise_only_verification_errors(name: str, value: object) -> None:
    secret = theirs(DIALECTS.get(name).new_secret())
    headers, body = send(DIALECTS.get(name), DIALECTS.get(name).new_secret())
    for changed in headers:
        with pytest.raises(VerificationError):
            verify(name, {**headers, changed: value}, body, secret, now=NOW)


@every_dialect
def test_headers_of_bytes_and_lists_are_read(name: str) -> None:
    secret = DIALECTS.get(name).new_secret()
    headers, body = send(DIALECTS.get(name), secret)
    as_bytes = [(key.lower().encode(), value.encode()) for key, value in headers.items()]
    as_lists = {key: [value] for key, value in headers.items()}
    assert verify(name, as_bytes, body, theirs(secret), now=NOW) == verify(
        name, as_lists, memoryview(body), theirs(secret), now=NOW
    )


@every_dialect
@pytest.mark.parametrize("frame", [" {} ", "{}\r\n", "\t{}"])
def test_white_space_around_header_values_counts_for_nothing(name: str, frame: str) -> None:
    secret = DIALECTS.get(name).new_secret()
    headers, body = send(DIALECTS.get(name), secret)
    framed = {key: frame.format(value) for key, value in headers.items()}
    views = {key: memoryview(value.encode()) for key, value in framed.items()}
    assert verify(name, framed, body, theirs(secret), now=NOW) == verify(name, views, body, theirs(secret), now=NOW)


@every_dialect
def test_an_object_that_holds_the_headers_is_told_from_the_headers(name: str) -> None:
    secret = DIALECTS.get(name).new_secret()
    headers, body = send(DIALECTS.get(name), secret)
    environment = {f"HTTP_{key.upper().replace('-', '_')}": value for key, value in headers.items()}
    scope = {"type": "http", "headers": [(key.lower().encode(), value.encode()) for key, value in headers.items()]}
    for passed, remedy in ((environment, "pass `request.headers`"), (scope, "pass those")):
        with pytest.raises(VerificationError, match=remedy) as caught:
            verify(name, passed, body, theirs(secret), now=NOW)
        assert caught.value.problem is Problem.MISSING_HEADER


@pytest.mark.parametrize("headers", [None, 1, "text", [1], [("a",)], [("a", "b", "c")]])
def test_invalid_headers_raise_only_verification_errors(headers: Any) -> None:
    assert problem_of(lambda: verify("standard", headers, b"{}", "whsec_AAAA")) in (
        Problem.MALFORMED_HEADER,
        Problem.MISSING_HEADER,
    )


@pytest.mark.parametrize("body", ["{}", {}, None])
def test_a_body_that_is_not_bytes_is_refused_with_the_remedy(body: Any) -> None:
    dialect = DIALECTS.get("optimaldial")
    headers, _ = send(dialect, "s")
    with pytest.raises(VerificationError, match="pass the raw body") as caught:
        verify("optimaldial", headers, body, "s", now=NOW)
    assert caught.value.problem is Problem.MALFORMED_BODY


def test_a_memoryview_that_was_released_is_no_body() -> None:
    headers, body = send(DIALECTS.get("optimaldial"), "s")
    view = memoryview(body)
    view.release()
    assert problem_of(lambda: verify("optimaldial", headers, view, "s", now=NOW)) is Problem.MALFORMED_BODY


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"data": 1' + b"0" * 5_000 + b"}", "digits"),
        (b'{"data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"data": }', "line 1 column 10"),
        (b'{"data": "\xff"}', "0xff"),
        (b"[]", "not a JSON object"),
    ],
)
def test_why_a_signed_body_cannot_be_read_is_said(body: bytes, said: str) -> None:
    headers = dict(DIALECTS.get("optimaldial").headers(UPLOAD, AttemptInfo("d", 1, NOW), body, ["s"]))
    with pytest.raises(VerificationError, match=said):
        verify("optimaldial", headers, body, "s", now=NOW)


@pytest.mark.parametrize("secret", [b"x", None, 1])
def test_a_secret_that_is_not_text_is_a_value_error(secret: Any) -> None:
    with pytest.raises(ValueError, match="must be text"):
        verify("optimaldial", {}, b"{}", [secret])


@pytest.mark.parametrize("secrets", [None, 1, object()])
def test_missing_secrets_are_the_callers_mistake(secrets: Any) -> None:
    with pytest.raises(ValueError, match="must be text"):
        verify("optimaldial", {}, b"{}", secrets)


@pytest.mark.parametrize("secret", ["s\n", " s", "one two", "s\r\n"])
def test_a_secret_with_white_space_is_the_callers_mistake(secret: str) -> None:
    with pytest.raises(ValueError, match="white space"):
        verify("optimaldial", {}, b"{}", [secret])


@pytest.mark.parametrize("dialect", [None, 1, b"standard", {}])
def test_a_dialect_that_is_neither_a_name_nor_a_scheme_is_the_callers_mistake(dialect: Any) -> None:
    with pytest.raises(ValueError, match="unknown dialect"):
        verify(dialect, {}, b"{}", "s")


@pytest.mark.parametrize(
    "numbers", [{"tolerance": -1}, {"tolerance": Decimal("nan")}, {"now": float("nan")}, {"now": 10**400}]
)
def test_a_tolerance_or_time_that_would_switch_the_check_off_is_the_callers_mistake(numbers: dict[str, float]) -> None:
    headers, body = send(DIALECTS.get("optimaldial"), "s")
    with pytest.raises(ValueError, match="seconds"):
        verify("optimaldial", headers, body, "s", **{"now": NOW, **numbers})


@pytest.mark.parametrize("name", ["standard", "standard-v1a"])
def test_the_id_of_a_standard_webhook_is_that_of_its_header(name: str) -> None:
    secret = DIALECTS.get(name).new_secret()
    headers, body = send(DIALECTS.get(name), secret)
    assert b"evt_" not in body
    assert verify(name, headers, body, theirs(secret), now=NOW)["id"] == UPLOAD.event_id


@pytest.mark.parametrize("secret", ["\udcff", "ab\ud800"])
def test_a_secret_from_an_environment_that_is_no_utf8_is_a_sentence(secret: str) -> None:
    with pytest.raises(ValueError, match="must be text"):
        verify("standard", {}, b"{}", secret)


@pytest.mark.parametrize("tolerance", ["300", None, float("nan"), -1])
def test_a_tolerance_that_is_no_number_of_seconds_is_a_sentence(tolerance: Any) -> None:
    with pytest.raises(ValueError, match="seconds"):
        verify("standard", {}, b"{}", "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", tolerance=tolerance)
