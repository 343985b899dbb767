"""How a secret might be written down where it must not be: what the search for leaks looks for."""

from __future__ import annotations

from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from collections.abc import Callable, Iterator
from urllib.parse import quote

_PREFIXES = ("whsec_", "whsk_", "od_live_")
_SEED_BYTES = 32  # an ed25519 key's secret half comes first; the other is public
_BEFORE_DATA = (0, 2, 3)  # how many of base64's characters also tell of 0, 1, 2 bytes before it


def encodings(secret: str) -> set[bytes]:
    """The secret and what is secret in it: as it is, URL-encoded, in hexadecimal and in base64, wherever it begins.

    Of an access token (a JWT) its signature is searched for as well: without it the rest is worth nothing.
    """
    found = {secret.encode(), quote(secret, safe="").encode()}
    for core in _cores(secret):
        found |= {core, core.hex().encode(), core.hex().upper().encode(), repr(core)[2:-1].encode()}
        found |= set(_inside_base64(core))
    return found


def _cores(secret: str) -> Iterator[bytes]:
    text = secret
    for prefix in _PREFIXES:
        text = text.removeprefix(prefix)
    yield secret.encode()
    yield text.encode()
    if text.count(".") == 2:
        text = text.rpartition(".")[2]
        yield text.encode()
    if secret.startswith("od_live_"):
        return  # its characters are what is random, not what they might decode to
    raw = _decoded(text)
    if raw:
        yield raw[:_SEED_BYTES] if secret.startswith("whsk_") else raw


def _decoded(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        pass
    padded = text + "=" * (-len(text) % 4)
    try:
        return urlsafe_b64decode(padded) if set("-_") & set(text) else b64decode(padded, validate=True)
    except Error:
        return b""


def _inside_base64(data: bytes) -> Iterator[bytes]:
    """What base64 of any text that holds `data` holds for certain, in either alphabet."""
    encoders: tuple[Callable[[bytes], bytes], ...] = (b64encode, urlsafe_b64encode)
    for encode in encoders:
        for before, skipped in enumerate(_BEFORE_DATA):
            yield encode(bytes(before) + data)[skipped : (before + len(data)) * 8 // 6]
