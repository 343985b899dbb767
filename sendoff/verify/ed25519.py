"""Checking ed25519 signatures with the standard library alone (RFC 8032, 5.1), for receivers.

For public keys only: its duration depends on its input. It takes a few milliseconds; senders sign with
`cryptography`.
"""

from __future__ import annotations

import hashlib

KEY_BYTES, SIGNATURE_BYTES = 32, 64

_P = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_ROOT_OF_MINUS_ONE = pow(2, (_P - 1) // 4, _P)

Point = tuple[int, int, int, int]
"""X, Y, Z and T with x = X/Z, y = Y/Z and xy = T/Z."""


def is_signed(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the owner of `public_key` signed `message`. Raises ValueError for a key that is none."""
    key = _decode(public_key)
    if key is None:
        raise ValueError("this is not an ed25519 public key")
    point = _decode(signature[:KEY_BYTES])
    scalar = int.from_bytes(signature[KEY_BYTES:], "little")
    if len(signature) != SIGNATURE_BYTES or point is None or scalar >= _ORDER:
        return False
    digest = hashlib.sha512(signature[:KEY_BYTES] + public_key + message).digest()
    challenge = int.from_bytes(digest, "little") % _ORDER
    return _same(_times(scalar, _BASE), _add(point, _times(challenge, key)))


def _decode(text: bytes) -> Point | None:
    """The point that 32 bytes stand for; None for any spelling but the canonical one of a point on the curve."""
    if len(text) != KEY_BYTES:
        return None
    number = int.from_bytes(text, "little")
    sign, y = number >> 255, number & (2**255 - 1)
    x = _recover(y, sign)
    return None if y >= _P or x is None else (x, y, 1, x * y % _P)


def _recover(y: int, sign: int) -> int | None:
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _ROOT_OF_MINUS_ONE % _P
    if (x * x - square) % _P or (x == 0 and sign):
        return None
    return _P - x if x & 1 != sign else x


def _add(left: Point, right: Point) -> Point:
    a = (left[1] - left[0]) * (right[1] - right[0]) % _P
    b = (left[1] + left[0]) * (right[1] + right[0]) % _P
    c = 2 * left[3] * right[3] * _D % _P
    d = 2 * left[2] * right[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _times(scalar: int, point: Point) -> Point:
    product: Point = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            product = _add(product, point)
        point = _add(point, point)
        scalar >>= 1
    return product


def _same(left: Point, right: Point) -> bool:
    return not ((left[0] * right[2] - right[0] * left[2]) % _P or (left[1] * right[2] - right[1] * left[2]) % _P)


def _base() -> Point:
    y = 4 * pow(5, -1, _P) % _P
    x = _recover(y, 0)
    assert x is not None  # noqa: S101 - RFC 8032, 5.1: the base point is on the curve
    return x, y, 1, x * y % _P


_BASE = _base()
