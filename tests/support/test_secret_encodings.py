from __future__ import annotations

import secrets
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sendoff.dialects.signing import SHARED_PREFIX, new_private_key, public_key
from tests.integration.dialbird.issuer import Issuer
from tests.support.secret_encodings import encodings

SHARED = SHARED_PREFIX + b64encode(secrets.token_bytes(32)).decode()
PRIVATE = new_private_key()
SEED = b64decode(PRIVATE.removeprefix("whsk_"))[:32]
PEM = Ed25519PrivateKey.from_private_bytes(SEED).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
HEX = secrets.token_hex(32)
API_KEY = f"od_live_{secrets.token_urlsafe(24)}"


def new_access_token() -> str:
    issuer = Issuer(Path(), datetime.now(UTC), "business")
    issuer.add_key("1")
    return issuer.issue()


TOKEN = new_access_token()
SIGNATURE = TOKEN.rpartition(".")[2]


def is_found(secret: str, text: bytes) -> bool:
    return any(spelling in text for spelling in encodings(secret))


@pytest.mark.parametrize("secret", [SHARED, PRIVATE, HEX, API_KEY, TOKEN], ids=["v1", "v1a", "hex", "key", "token"])
@pytest.mark.parametrize("before", [b"", b"a", b"ab", b"abc"])
@pytest.mark.parametrize(
    "spell",
    [
        lambda text: text,
        bytes.hex,
        lambda text: text.hex().upper(),
        b64encode,
        urlsafe_b64encode,
        lambda text: quote(text, safe=""),
        repr,
    ],
    ids=["as it is", "hex", "HEX", "base64", "base64url", "in a URL", "repr"],
)
def test_every_kind_of_secret_is_found_in_every_spelling(
    secret: str, before: bytes, spell: Callable[[bytes], str | bytes]
) -> None:
    written = spell(before + secret.encode() + b" and more")
    assert is_found(secret, written if isinstance(written, bytes) else written.encode())


@pytest.mark.parametrize(
    ("secret", "written"),
    [
        pytest.param(SHARED, b64decode(SHARED.removeprefix("whsec_")), id="v1, raw"),
        pytest.param(SHARED, SHARED.removeprefix("whsec_").encode(), id="v1, no prefix"),
        pytest.param(PRIVATE, SEED, id="v1a, seed"),
        pytest.param(PRIVATE, SEED.hex().encode(), id="v1a, seed in hex"),
        pytest.param(PRIVATE, b64encode(SEED), id="v1a, seed in base64"),
        pytest.param(PRIVATE, PEM, id="v1a, PEM"),
        pytest.param(HEX, bytes.fromhex(HEX), id="hex, raw"),
        pytest.param(HEX, b64encode(bytes.fromhex(HEX)), id="hex, base64"),
        pytest.param(API_KEY, API_KEY.removeprefix("od_live_").encode(), id="key, no prefix"),
        pytest.param(TOKEN, SIGNATURE.encode(), id="token, signature"),
        pytest.param(TOKEN, urlsafe_b64decode(SIGNATURE + "==").hex().encode(), id="token, signature in hex"),
    ],
)
def test_secrets_in_every_encoding_are_found(secret: str, written: bytes) -> None:
    assert is_found(secret, b"before " + written + b" after")


def test_public_values_are_not_mistaken_for_secrets() -> None:
    assert not is_found(PRIVATE, public_key(PRIVATE).encode())
    assert not is_found(API_KEY, API_KEY[:12].encode())
    assert not is_found(TOKEN, TOKEN.rpartition(".")[0].encode())
