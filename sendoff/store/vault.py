"""Endpoint secrets at rest: AES-256-GCM, bound to the row that holds them, the key's id in front.

Layout: 1 byte version, 4 bytes key id, 12 bytes nonce, ciphertext with its 16-byte tag. The bound name is
authenticated but not stored: a ciphertext copied into another row does not open.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sendoff.errors import SendoffError

_VERSION = b"\x01"
_KEY_ID_LENGTH = 4
KEY_ID_PLACE = (len(_VERSION) + 1, _KEY_ID_LENGTH)
"""The position of the key's id in an encrypted value, as 1-based SQL bounds: four bytes from the second on."""
_NONCE_LENGTH = 12
_HEADER_LENGTH = len(_VERSION) + _KEY_ID_LENGTH + _NONCE_LENGTH
_KEPT_OPEN = 10_000
_LARGEST_KEPT_BYTES = 512
"""Secrets that stay decrypted in memory for the next deliveries: 10,000 of at most 512 bytes, 10 MB with their keys."""


class CannotOpenSecret(SendoffError):
    """A stored secret cannot be decrypted: its key is not in SENDOFF_SECRET_KEYS, or the row was tampered with."""


class Vault:
    """Encrypts with the newest key, and decrypts with the key that a ciphertext names."""

    def __init__(self, keys: Sequence[str]) -> None:
        """`keys`: the setting `SECRET_KEYS`, newest first, at least one."""
        if not keys:
            raise SendoffError("SENDOFF_SECRET_KEYS is empty: endpoint secrets cannot be encrypted without a key.")
        self._ciphers: dict[bytes, AESGCM] = {}
        for key in keys:
            self._ciphers.setdefault(
                _derive(key, "key id", _KEY_ID_LENGTH), AESGCM(_derive(key, "endpoint secrets", 32))
            )
        self._newest = next(iter(self._ciphers))
        self._opened = lru_cache(maxsize=_KEPT_OPEN)(self._decrypt)

    def __repr__(self) -> str:
        return f"Vault({len(self._ciphers)} keys)"

    @property
    def newest_key_id(self) -> str:
        """The id, in hexadecimal, of the key that seals."""
        return self._newest.hex()

    @property
    def key_ids(self) -> list[str]:
        """The ids, in hexadecimal, of all keys, newest first."""
        return [key_id.hex() for key_id in self._ciphers]

    def seal(self, secret: str, *, bound_to: str) -> bytes:
        """Encrypt `secret` for the row named `bound_to`."""
        nonce = os.urandom(_NONCE_LENGTH)
        sealed = self._ciphers[self._newest].encrypt(nonce, secret.encode(), bound_to.encode())
        return _VERSION + self._newest + nonce + sealed

    def open(self, sealed: bytes, *, bound_to: str, keep: bool = True) -> str:
        """Decrypt what `seal` made for the same row. Raises CannotOpenSecret.

        `keep` lets a small secret stay decrypted in memory; leave it off for what is rarely opened twice.
        """
        if keep and len(sealed) <= _LARGEST_KEPT_BYTES:
            return self._opened(sealed, bound_to)
        return self._decrypt(sealed, bound_to)

    def _decrypt(self, sealed: bytes, bound_to: str) -> str:
        cipher = self._ciphers.get(sealed[1 : 1 + _KEY_ID_LENGTH])
        if cipher is None or sealed[:1] != _VERSION:
            raise CannotOpenSecret
        nonce = sealed[1 + _KEY_ID_LENGTH : _HEADER_LENGTH]
        try:
            return cipher.decrypt(nonce, sealed[_HEADER_LENGTH:], bound_to.encode()).decode()
        except InvalidTag:
            raise CannotOpenSecret from None

    def reseal(self, sealed: bytes, *, bound_to: str) -> bytes | None:
        """The same secret under the newest key; None when it is under it already. Raises CannotOpenSecret."""
        if sealed[1 : 1 + _KEY_ID_LENGTH] == self._newest:
            return None
        return self.seal(self.open(sealed, bound_to=bound_to), bound_to=bound_to)


def _derive(key: str, purpose: str, length: int) -> bytes:
    derivation = HKDF(algorithm=SHA256(), length=length, salt=None, info=f"sendoff {purpose}".encode())
    return derivation.derive(key.encode())
