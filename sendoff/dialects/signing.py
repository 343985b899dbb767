"""The two ways to sign that our dialects use."""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from collections.abc import Sequence

STANDARD_PREFIX = "whsec_"


def timestamped_hex(timestamp: int, body: bytes, secrets: Sequence[str]) -> str:
    """`t=<unix>,v1=<hex>[,v1=<hex>]`: HMAC-SHA256 of `{t}.{body}` for each secret, newest first.

    The key is the whole secret's UTF-8 bytes, prefix included, as in Stripe's scheme.
    """
    message = b"%d." % timestamp + body
    marks = [hmac.digest(secret.encode(), message, "sha256").hex() for secret in _some(secrets)]
    return f"t={timestamp}," + ",".join(f"v1={mark}" for mark in marks)


def standard_webhooks(message_id: str, timestamp: int, body: bytes, secrets: Sequence[str]) -> str:
    """`v1,<base64>[ v1,<base64>]`: HMAC-SHA256 of `{id}.{t}.{body}` for each secret, newest first.

    The key is what the base64 behind `whsec_` decodes to (Standard Webhooks 1.0, "Signature scheme").
    """
    message = f"{message_id}.{timestamp}.".encode() + body
    marks = [hmac.digest(_decode(secret), message, "sha256") for secret in _some(secrets)]
    return " ".join(f"v1,{b64encode(mark).decode()}" for mark in marks)


def _some(secrets: Sequence[str]) -> Sequence[str]:
    # An unsigned delivery, or one keyed with "", would look signed to nobody or to everybody.
    if not secrets or not all(secrets):
        raise ValueError("a delivery cannot be signed without a secret")
    return secrets


def _decode(secret: str) -> bytes:
    try:
        key = b64decode(secret.removeprefix(STANDARD_PREFIX), validate=True)
    except ValueError:  # binascii.Error among them
        key = b""
    if not key:
        raise ValueError("a Standard Webhooks secret is whsec_ and base64; this one is not")
    return key
