"""The default dialect, under the brand of the installation's product. OptimalDial is one such brand.

Header prefix, user agent, signature header, signature scheme and envelope are settings.
"""

from __future__ import annotations

import re
import secrets as randomness
from collections.abc import Sequence
from dataclasses import dataclass

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

    def __post_init__(self) -> None:
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

    @property
    def name(self) -> str:
        return NAME

    @property
    def prefix(self) -> str:
        """The common prefix of header names."""
        return self.header_prefix or f"X-{self.brand}-"

    @property
    def agent(self) -> str:
        """The value of `User-Agent`."""
        return self.user_agent or f"{self.brand}-Webhooks/1.0"

    @property
    def signature_name(self) -> str:
        """The name of the signature header."""
        return self.signature_header or f"{self.prefix}Signature"

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
        return [
            CONTENT_TYPE,
            ("User-Agent", self.agent),
            (self.signature_name, BRANDED_SCHEMES[self.scheme](attempt.timestamp, body, secrets)),
            (self.prefix + "Event", event.type),
            (self.prefix + "Event-Id", event.event_id),
            (self.prefix + "Delivery-Id", attempt.delivery_id),
            (self.prefix + "Attempt", str(attempt.attempt)),
            (self.prefix + "Timestamp", str(attempt.timestamp)),
        ]
