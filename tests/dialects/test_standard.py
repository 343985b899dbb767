"""Standard Webhooks 1.0, its symmetric scheme."""

from __future__ import annotations

import base64
import dataclasses
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendoff.dialects.base import Occurrence, Sending
from sendoff.dialects.standard import STANDARD
from tests.dialects.strategies import occurrences, sendings
from tests.support.oracle import standard_marks

CONTACT = Occurrence(
    event_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
    type="contact.created",
    organization_id="org",
    occurred_at=datetime(2022, 11, 3, 20, 26, 10, 344_522, UTC),
    data=b'{"id":"1f81eb52-5198-4599-803e-771906343485"}',
)
secrets_of_receivers = st.binary(min_size=24, max_size=64).map(lambda key: "whsec_" + base64.b64encode(key).decode())


def test_the_known_answer_of_the_specifications_reference_libraries_is_reproduced() -> None:
    sending = Sending("d", 1, 1_614_265_330)
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    headers = dict(STANDARD.headers(CONTACT, sending, b'{"test": 2432232314}', [secret]))
    assert headers["webhook-id"] == "msg_p5jXN8AQM9LWM0D4loKWxJek"
    assert headers["webhook-timestamp"] == "1614265330"
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_envelope_is_the_recommended_one() -> None:
    assert STANDARD.body(CONTACT) == (
        b'{"type":"contact.created","timestamp":"2022-11-03T20:26:10.344+00:00",'
        b'"data":{"id":"1f81eb52-5198-4599-803e-771906343485"}}'
    )


@given(occurrences, sendings, st.lists(secrets_of_receivers, min_size=1, max_size=3))
def test_any_event_carries_one_valid_signature_for_each_secret_newest_first(
    occurrence: Occurrence, sending: Sending, secrets: list[str]
) -> None:
    body = STANDARD.body(occurrence)
    headers = dict(STANDARD.headers(occurrence, sending, body, secrets))
    assert headers["webhook-id"] == occurrence.event_id
    assert standard_marks(
        headers["webhook-id"], headers["webhook-timestamp"], headers["webhook-signature"], body, secrets
    )
    assert json.loads(body)["data"] == json.loads(occurrence.data)


def test_new_secrets_are_the_prefix_and_the_base64_of_as_many_bytes_as_the_specification_asks() -> None:
    secrets = {STANDARD.new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(24 <= len(base64.b64decode(s.removeprefix("whsec_"), validate=True)) <= 64 for s in secrets)


@pytest.mark.parametrize("secret", ["whsec_", "whsec_é", "whsec_a", "0f0f!", "whsec_ MfKQ9r8G"])
def test_a_secret_that_is_no_base64_is_refused_without_being_told(secret: str) -> None:
    with pytest.raises(ValueError, match=r"whsec_ and base64") as caught:
        STANDARD.headers(CONTACT, Sending("d", 1, 1), b"{}", [secret])
    assert secret == "whsec_" or secret not in str(caught.value)


def test_an_id_with_a_dot_is_refused_because_it_would_make_the_signed_text_ambiguous() -> None:
    dotted = dataclasses.replace(CONTACT, event_id="evt.1")
    with pytest.raises(ValueError, match="dot"):
        STANDARD.headers(dotted, Sending("d", 1, 1), b"{}", [STANDARD.new_secret()])
