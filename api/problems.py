"""A problem on its way to the caller, and how surfaces differ in telling it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sendoff.errors import SendoffError


@dataclass(frozen=True, slots=True)
class Problem:
    """What the caller is told: the status, the error that says why, and the headers that go with it."""

    status: int
    error: SendoffError
    headers: Mapping[str, str] = field(default_factory=dict)


Envelope = Callable[[Problem, str], Any]
"""A surface's shape of an error: from the problem and the request's id to what becomes the JSON body."""
