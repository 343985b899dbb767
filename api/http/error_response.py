"""An error response, and how surfaces differ in rendering it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sendoff.errors import SendoffError
from sendoff.policy.redaction import redact_text


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """What the client gets: the status, the error that says why, and the headers that go with it."""

    status: int
    error: SendoffError
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def message(self) -> str:
        """The error's, without credentials: a key in the wrong field must not reach a client's log."""
        return redact_text(self.error.message)


ErrorEnvelope = Callable[[ErrorResponse, str], Any]
"""A surface's shape of an error: from the problem and the request's id to what becomes the JSON body."""
