"""The default dialect, under the brand of the installation's product. OptimalDial is one such brand.

Header prefix, user agent, signature header, signature scheme and envelope are settings.
"""

from __future__ import annotations

import re
import secrets as randomness
from collections.abc import Sequence
from dataclasses import dataclass, field

from sendoff.dialects.base import CONTENT_TYPE, AttemptInfo, EventData, Headers, check_text_secret
from sendoff.dialects.envelopes import ENVELOPES
from sendoff.dialects.signing import BRANDED_SCHEMES
from sendoff.verify import Scheme, branded

NAME = "default"

FORMER_NAME = "house"
"""Its name until 0.1; still accepted."""

_BRAND = re.compile(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*")
_HEADER = re.compile(r"[A-Za-z0-9-]+")


@dataclass(frozen=True, slots=True)
class BrandedDialect:
    """Headers `X-<brand>-…`, user agent `<brand>-Webhooks/1.0`, secrets of 64 hexadecimal digits.

    Fields that are None are derived from the brand. Raises ValueError for a brand, prefix or name that is invalid in a
    header name, a user agent that is not printable ASCII, and an unknown `scheme` or `envelope`.
    """

    brand: str
    api_version: str
    """The value of `api_version` in envelopes that have the field."""
    header_prefix: str | None = None
    user_agent: str | None = None
    signature_header: str | None = None
    scheme: str = "stripe"
    """One of BRANDED_SCHEMES."""
    envelope: str = "optimaldial"
    """One of ENVELOPES."""
    prefix: str = field(init=False)
    """The common prefix of header names."""
    agent: str = field(init=False)
    """The value of `User-Agent`."""
    signature_name: str = field(init=False)
    """The name of the signature header."""
    _names: tuple[str, ...] = field(init=False, repr=False)
    """The names of the other headers, which are the same at every attempt."""

    def __post_init__(self) -> None:
        self._derive()
        if not _BRAND.fullmatch(self.brand):
            raise ValueError(f"Invalid brand {self.brand!r}; use letters, digits and single hyphens between them.")
        for name in (self.prefix, self.signature_name):
            if not _HEADER.fullmatch(name):
                raise ValueError(f"Invalid header name {name!r}; use letters, digits and hyphens.")
        if not (self.agent.isascii() and self.agent.isprintable()):
            raise ValueError(f"Invalid user agent {self.agent!r}; use printable ASCII.")
        if self.scheme not in BRANDED_SCHEMES or self.envelope not in ENVELOPES:
            raise ValueError(
                f"Unknown scheme {self.scheme!r} or envelope {self.envelope!r}; schemes: {', '.join(BRANDED_SCHEMES)}; "
                f"envelopes: {', '.join(ENVELOPES)}."
            )

    def _derive(self) -> None:
        prefix = self.header_prefix or f"X-{self.brand}-"
        derived = {
            "prefix": prefix,
            "agent": self.user_agent or f"{self.brand}-Webhooks/1.0",
            "signature_name": self.signature_header or f"{prefix}Signature",
            "_names": tuple(prefix + name for name in ("Event", "Event-Id", "Delivery-Id", "Attempt", "Timestamp")),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    @property
    def name(self) -> str:
        return NAME

    @property
    def receiver_scheme(self) -> Scheme:
        """How receivers verify it."""
        return branded(self.brand, scheme=self.scheme, prefix=self.prefix, signature_header=self.signature_name)

    def new_secret(self) -> str:
        return randomness.token_hex(32)

    def check_secret(self, secret: str) -> None:
        check_text_secret(secret)

    def body(self, event: EventData) -> bytes:
        return ENVELOPES[self.envelope](event, self.api_version)

    def headers(self, event: EventData, attempt: AttemptInfo, body: bytes, secrets: Sequence[str]) -> Headers:
        event_type, event_id, delivery_id, number, timestamp = self._names
        return [
            CONTENT_TYPE,
            ("User-Agent", self.agent),
            (self.signature_name, BRANDED_SCHEMES[self.scheme](attempt.timestamp, body, secrets)),
            (event_type, event.type),
            (event_id, event.event_id),
            (delivery_id, attempt.delivery_id),
            (number, str(attempt.attempt)),
            (timestamp, str(attempt.timestamp)),
        ]
