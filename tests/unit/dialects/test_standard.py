"""Standard Webhooks 1.0, with its official library as the reference."""

from __future__ import annotations

import base64
import dataclasses
import json
import time
from datetime import UTC, datetime

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from sendoff.dialects.base import AttemptInfo, EventData
from sendoff.dialects.signing import public_key
from sendoff.dialects.standard import StandardWebhooks
from sendoff.verify import verify
from tests.support.reference_signatures import standard_marks
from tests.unit.dialects.strategies import attempts, events

STANDARD = StandardWebhooks("standard")
ASYMMETRIC = StandardWebhooks("standard-v1a", asymmetric=True)

CONTACT = EventData(
    event_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
    type="contact.created",
    organization_id="org",
    occurred_at=datetime(2022, 11, 3, 20, 26, 10, 344_522, UTC),
    data=b'{"id":"1f81eb52-5198-4599-803e-771906343485"}',
)
secrets_of_receivers = st.binary(min_size=24, max_size=64).map(lambda key: "whsec_" + base64.b64encode(key).decode())


def test_the_known_answer_of_the_specifications_reference_libraries_is_reproduced() -> None:
    attempt = AttemptInfo("d", 1, 1_614_265_330)
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    headers = dict(STANDARD.headers(CONTACT, attempt, b'{"test": 2432232314}', [secret]))
    assert headers["webhook-id"] == "msg_p5jXN8AQM9LWM0D4loKWxJek"
    assert headers["webhook-timestamp"] == "1614265330"
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_envelope_is_the_recommended_one() -> None:
    assert STANDARD.body(CONTACT) == (
        b'{"type":"contact.created","timestamp":"2022-11-03T20:26:10.344+00:00",'
        b'"data":{"id":"1f81eb52-5198-4599-803e-771906343485"}}'
    )


@given(events, attempts, st.lists(secrets_of_receivers, min_size=1, max_size=3))
def test_any_event_carries_one_valid_signature_for_each_secret_newest_first(
    event: EventData, attempt: AttemptInfo, secrets: list[str]
) -> None:
    body = STANDARD.body(event)
    headers = dict(STANDARD.headers(event, attempt, body, secrets))
    assert headers["webhook-id"] == event.event_id
    assert standard_marks(
        headers["webhook-id"], headers["webhook-timestamp"], headers["webhook-signature"], body, secrets
    )
    assert json.loads(body)["data"] == json.loads(event.data)


def test_new_secrets_are_the_prefix_and_the_base64_of_as_many_bytes_as_the_specification_asks() -> None:
    secrets = {STANDARD.new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(24 <= len(base64.b64decode(s.removeprefix("whsec_"), validate=True)) <= 64 for s in secrets)


@pytest.mark.parametrize("secret", ["whsec_", "whsec_é", "whsec_a", "0f0f!", "whsec_ MfKQ9r8G"])
def test_a_secret_in_invalid_base64_is_refused_and_not_printed(secret: str) -> None:
    with pytest.raises(ValueError, match=r"whsec_ and base64") as caught:
        STANDARD.headers(CONTACT, AttemptInfo("d", 1, 1), b"{}", [secret])
    assert secret == "whsec_" or secret not in str(caught.value)


def test_an_id_with_a_dot_is_refused_because_it_would_make_the_signed_text_ambiguous() -> None:
    dotted = dataclasses.replace(CONTACT, event_id="evt.1")
    with pytest.raises(ValueError, match="dot"):
        STANDARD.headers(dotted, AttemptInfo("d", 1, 1), b"{}", [STANDARD.new_secret()])


@given(events, st.lists(secrets_of_receivers, min_size=1, max_size=3, unique=True), st.data())
def test_the_official_library_verifies_whatever_is_sent_with_any_of_the_secrets(
    event: EventData, secrets: list[str], data: st.DataObject
) -> None:
    body = STANDARD.body(event)
    headers = dict(STANDARD.headers(event, AttemptInfo("d", 1, int(time.time())), body, secrets))
    known = Webhook(data.draw(st.sampled_from(secrets)))
    assert known.verify(body, headers)["type"] == event.type
    stranger = Webhook(STANDARD.new_secret())
    with pytest.raises(WebhookVerificationError):
        stranger.verify(body, headers)


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
    st.from_regex(r"[A-Za-z0-9_-]{1,40}", fullmatch=True),
    secrets_of_receivers,
)
def test_any_text_under_any_id_is_signed_as_the_official_library_does(text: str, identifier: str, secret: str) -> None:
    now = int(time.time())
    event = dataclasses.replace(CONTACT, event_id=identifier)
    headers = dict(STANDARD.headers(event, AttemptInfo("d", 1, now), text.encode(), [secret]))
    signed = Webhook(secret).sign(identifier, datetime.fromtimestamp(now, UTC), text)
    assert headers["webhook-signature"] == signed
    Webhook(secret).verify(text, headers, json_parse=False)


@given(events)
def test_v1a_is_an_ed25519_signature_that_the_public_key_verifies_with_an_independent_library(
    event: EventData,
) -> None:
    secret = ASYMMETRIC.new_secret()
    body = ASYMMETRIC.body(event)
    headers = dict(ASYMMETRIC.headers(event, AttemptInfo("d", 1, 1_614_265_330), body, [secret]))
    version, _, mark = headers["webhook-signature"].partition(",")
    assert version == "v1a"
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key(secret).removeprefix("whpk_")))
    signed = b".".join([event.event_id.encode(), b"1614265330", body])
    key.verify(base64.b64decode(mark), signed)
    with pytest.raises(InvalidSignature):
        key.verify(base64.b64decode(mark), signed + b" ")


def test_keys_are_spelled_as_those_of_other_senders() -> None:
    # From the documentation of a sender that signs with v1a.
    secret = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
    assert public_key(secret) == "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
    made = ASYMMETRIC.new_secret()
    assert len(base64.b64decode(made.removeprefix("whsk_"), validate=True)) == 64
    assert len(base64.b64decode(public_key(made).removeprefix("whpk_"), validate=True)) == 32
    seed = base64.b64decode(secret.removeprefix("whsk_"))[:32]
    assert public_key("whsk_" + base64.b64encode(seed).decode()) == public_key(secret)


def test_during_a_rotation_each_key_signs_whatever_its_kind() -> None:
    secrets = [ASYMMETRIC.new_secret(), ASYMMETRIC.new_secret(), STANDARD.new_secret()]
    body = ASYMMETRIC.body(CONTACT)
    headers = ASYMMETRIC.headers(CONTACT, AttemptInfo("d", 1, 1_614_265_330), body, secrets)
    marks = dict(headers)["webhook-signature"].split(" ")
    assert [mark.partition(",")[0] for mark in marks] == ["v1a", "v1a", "v1"]
    for known in (public_key(secrets[0]), public_key(secrets[1]), secrets[2]):
        assert verify("standard", headers, body, known, now=1_614_265_330)["type"] == "contact.created"


@pytest.mark.parametrize("secret", ["whsk_", "whsk_é", "whsk_AAAA", "whsk_0f0f!"])
def test_an_invalid_private_key_is_refused_and_not_printed(secret: str) -> None:
    with pytest.raises(ValueError, match="whsk_") as caught:
        ASYMMETRIC.headers(CONTACT, AttemptInfo("d", 1, 1), b"{}", [secret])
    assert secret == "whsk_" or secret not in str(caught.value)


def test_a_shared_secret_has_no_public_key() -> None:
    with pytest.raises(ValueError, match="no public key"):
        public_key(STANDARD.new_secret())
