"""The signature schemes of the dialects."""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SHARED_PREFIX, PRIVATE_PREFIX, PUBLIC_PREFIX = "whsec_", "whsk_", "whpk_"
"""Prefixes of Standard Webhooks keys: shared secret, ed25519 private key, ed25519 public key."""

_SEED_BYTES = 32


def timestamped_hex(timestamp: int, body: bytes, secrets: Sequence[str]) -> str:
    """`t=<unix>,v1=<hex>[,v1=<hex>]`: HMAC-SHA256 of `{t}.{body}` for each secret, newest first.

    The key is the whole secret's UTF-8 bytes, prefix included, as in Stripe's scheme.
    """
    message = b"%d." % timestamp + body
    signatures = [hmac.digest(secret.encode(), message, "sha256").hex() for secret in _non_empty(secrets)]
    return f"t={timestamp}," + ",".join(f"v1={signature}" for signature in signatures)


def versioned_hex(timestamp: int, body: bytes, secrets: Sequence[str]) -> str:
    """`v0=<hex>[,v0=<hex>]`: HMAC-SHA256 of `v0:{t}:{body}` for each secret, newest first.

    As in Slack's scheme, the timestamp has a header of its own, and the key is the whole secret's UTF-8 bytes.
    """
    message = b"v0:%d:" % timestamp + body
    return ",".join(f"v0={hmac.digest(secret.encode(), message, 'sha256').hex()}" for secret in _non_empty(secrets))


BRANDED_SCHEMES: Mapping[str, Callable[[int, bytes, Sequence[str]], str]] = {
    "stripe": timestamped_hex,
    "slack": versioned_hex,
}
"""The schemes that the setting `DIALECT_SIGNATURE_SCHEME` names."""


def standard_webhooks(message_id: str, timestamp: int, body: bytes, secrets: Sequence[str]) -> str:
    """`v1,<base64>[ v1a,<base64>]`: each secret's signature of `{id}.{t}.{body}`, newest first.

    `v1` is HMAC-SHA256, keyed by what the base64 behind `whsec_` decodes to; `v1a` is ed25519 by the private key
    behind `whsk_` (Standard Webhooks 1.0, "Signature scheme").
    """
    message = f"{message_id}.{timestamp}.".encode() + body
    return " ".join(_standard_signature(secret, message) for secret in _non_empty(secrets))


def new_private_key() -> str:
    """`whsk_` and the base64 of an ed25519 seed with its public key."""
    key = Ed25519PrivateKey.generate()
    return PRIVATE_PREFIX + b64encode(key.private_bytes_raw() + key.public_key().public_bytes_raw()).decode()


def public_key(secret: str) -> str:
    """`whpk_…`, with which receivers verify signatures by `whsk_…`. Raises ValueError for a shared secret."""
    if not secret.startswith(PRIVATE_PREFIX):
        raise ValueError("a shared secret has no public key")
    return PUBLIC_PREFIX + b64encode(_private_key(secret).public_key().public_bytes_raw()).decode()


def is_shared_secret(secret: str, shortest: int, longest: int) -> bool:
    """Whether it is `whsec_` and the base64 of `shortest` to `longest` bytes."""
    if not secret.startswith(SHARED_PREFIX):
        return False
    try:
        return shortest <= len(_decode(secret, SHARED_PREFIX)) <= longest
    except ValueError:
        return False


def _standard_signature(secret: str, message: bytes) -> str:
    if secret.startswith(PRIVATE_PREFIX):
        return f"v1a,{b64encode(_private_key(secret).sign(message)).decode()}"
    key = _decode(secret, SHARED_PREFIX)
    return f"v1,{b64encode(hmac.digest(key, message, 'sha256')).decode()}"


def _private_key(secret: str) -> Ed25519PrivateKey:
    seed = _decode(secret, PRIVATE_PREFIX)[:_SEED_BYTES]
    if len(seed) < _SEED_BYTES:
        raise ValueError(f"{PRIVATE_PREFIX} and base64 of fewer than {_SEED_BYTES} bytes is not a private key")
    return Ed25519PrivateKey.from_private_bytes(seed)


def _non_empty(secrets: Sequence[str]) -> Sequence[str]:
    # A receiver would reject an unsigned delivery; anybody could forge one that is keyed with an empty secret.
    if not secrets or not all(secrets):
        raise ValueError("a delivery cannot be signed without a secret")
    return secrets


def _decode(secret: str, prefix: str) -> bytes:
    try:
        key = b64decode(secret.removeprefix(prefix), validate=True)
    except ValueError:  # binascii.Error among them
        key = b""
    if not key:
        raise ValueError(f"not a Standard Webhooks secret: it must be {prefix} and base64")
    return key
