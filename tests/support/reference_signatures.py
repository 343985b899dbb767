"""An independent reading of the signature schemes: the HMAC itself is written out from RFC 2104."""

from __future__ import annotations

import base64
import hashlib

from tests.support.exchange import Received

_BLOCK = 64
_TOLERANCE_SECONDS = 300
_SIGNATURE_HEADERS = {"optimaldial": "X-OptimalDial-Signature", "dialbird": "X-Dialbird-Signature"}


def is_signed(request: Received, dialect: str, secrets: list[str]) -> bool:
    """Whether a request carries the signatures of `secrets`, newest first, no older than five minutes."""
    try:
        if dialect == "standard":
            names = ("webhook-id", "webhook-timestamp", "webhook-signature")
            message_id, timestamp, header = (request.header(name) for name in names)
            signed = standard_marks(message_id, timestamp, header, request.body, secrets)
        else:
            header = request.header(_SIGNATURE_HEADERS[dialect])
            timestamp = header.split(",")[0].removeprefix("t=")
            signed = timestamped_marks(header, request.body, secrets)
    except KeyError:
        return False
    return signed and abs(int(timestamp) - request.arrived_at) <= _TOLERANCE_SECONDS


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """RFC 2104 with SHA-256, by the book."""
    key = (hashlib.sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key) + message).digest()
    return hashlib.sha256(bytes(byte ^ 0x5C for byte in key) + inner).digest()


def timestamped_marks(header: str, body: bytes, secrets: list[str]) -> bool:
    """Whether a `t=…,v1=…` header carries exactly the signatures of `secrets`, in their order."""
    time_part, *marks = header.split(",")
    time_name, _, timestamp = time_part.partition("=")
    expected = ["v1=" + hmac_sha256(secret.encode(), timestamp.encode() + b"." + body).hex() for secret in secrets]
    return time_name == "t" and timestamp.isdigit() and marks == expected


def standard_marks(message_id: str, timestamp: str, header: str, body: bytes, secrets: list[str]) -> bool:
    """Whether a `v1,… v1,…` header carries exactly the signatures of `secrets`, in their order."""
    message = b".".join([message_id.encode(), timestamp.encode(), body])
    keys = [base64.b64decode(secret[len("whsec_") :]) for secret in secrets]
    return header.split(" ") == ["v1," + base64.b64encode(hmac_sha256(key, message)).decode() for key in keys]
