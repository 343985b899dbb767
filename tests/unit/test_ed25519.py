"""Ed25519 in plain Python, against RFC 8032 and against OpenSSL."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from sendoff.verify.ed25519 import is_signed

seeds = st.binary(min_size=32, max_size=32)

RFC_8032 = [  # section 7.1: public key, message, signature
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]


@pytest.mark.parametrize(("key", "message", "signature"), RFC_8032)
def test_the_vectors_of_the_rfc_are_signed(key: str, message: str, signature: str) -> None:
    assert is_signed(bytes.fromhex(key), bytes.fromhex(message), bytes.fromhex(signature))


@settings(max_examples=30)
@given(seeds, st.binary(max_size=300))
def test_signatures_equal_those_of_openssl(seed: bytes, message: bytes) -> None:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    assert is_signed(key.public_key().public_bytes_raw(), message, key.sign(message))


@settings(max_examples=60)
@given(seeds, st.binary(min_size=1, max_size=40), st.integers(0, 10_000), st.integers(1, 255))
def test_one_changed_byte_of_signature_message_or_key_is_noticed(
    seed: bytes, message: bytes, place: int, change: int
) -> None:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    public, signature = key.public_key().public_bytes_raw(), key.sign(message)
    together = bytearray(signature + message + public)
    together[place % len(together)] ^= change
    changed = bytes(together)
    try:
        assert not is_signed(changed[64 + len(message) :], changed[64 : 64 + len(message)], changed[:64])
    except ValueError:
        assert changed[64 + len(message) :] != public


@pytest.mark.parametrize("length", [0, 1, 63, 65, 128])
def test_a_signature_of_another_length_is_refused(length: int) -> None:
    key = Ed25519PrivateKey.generate()
    signature = (key.sign(b"m") + key.sign(b"m"))[:length]
    assert not is_signed(key.public_key().public_bytes_raw(), b"m", signature)


def test_a_signature_with_the_groups_order_added_is_refused() -> None:
    key = Ed25519PrivateKey.generate()
    signature = key.sign(b"m")
    order = 2**252 + 27742317777372353535851937790883648493
    malleable = signature[:32] + (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")
    assert not is_signed(key.public_key().public_bytes_raw(), b"m", malleable)


@pytest.mark.parametrize("key", [b"", b"a" * 31, b"a" * 33, b"\xff" * 32, b"\x02" + bytes(31)])
def test_an_invalid_key_is_an_error(key: bytes) -> None:
    with pytest.raises(ValueError, match="public key"):
        is_signed(key, b"", bytes(64))
