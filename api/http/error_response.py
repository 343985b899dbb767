"""A problem on its way to the caller, and how surfaces differ in telling it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sendoff.errors import SendoffError
from sendoff.policy.redaction import redact_text


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """What the caller is told: the status, the error that says why, and the headers that go with it."""

    status: int
    error: SendoffError
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def message(self) -> str:
        """The error's, without credentials: a key in the wrong field must not stand in somebody's log of answers."""
        return redact_text(self.error.message)


Envelope = Callable[[ErrorResponse, str], Any]
"""A surface's shape of an error: from the problem and the request's id to what becomes the JSON body."""
