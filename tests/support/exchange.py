"""Replies programmed into a test receiver, and requests it received."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. `held` waits for the receiver's `release`, `hang` never answers.

    `close` ends the connection instead, `reset` does so with a TCP reset.
    """

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: str = "ok"
    delay: float = 0.0
    """Seconds before the answer begins."""
    trickle: float = 0.0
    """Seconds between the single bytes of the body; 0 sends it at once."""
    hang: bool = False
    held: bool = False
    close: bool = False
    reset: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Reply:
        pairs = tuple((name, value) for name, value in fields.pop("headers", ()))
        return cls(headers=pairs, **fields)

    def render(self, *, keep_alive: bool) -> tuple[bytes, bytes]:
        """Head and body as they go on the wire."""
        # These have no body, and whatever came after their head would be taken for the next answer.
        bodiless = self.status in (204, 304)
        body = b"" if bodiless else self.body.encode()
        lines = [f"HTTP/1.1 {self.status} Told so"]
        lines += [] if bodiless else [f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        lines += [] if keep_alive else ["Connection: close"]
        return "\r\n".join([*lines, "", ""]).encode("latin-1"), body


@dataclass(frozen=True, slots=True)
class Received:
    """One request, as it arrived."""

    method: str
    path: str
    """With the query."""
    headers: tuple[tuple[str, str], ...]
    body: bytes
    arrived_at: float
    """Unix seconds at its last byte."""
    connection: int
    """Which of the receiver's connections it came on, counted from 1."""

    def header(self, name: str) -> str:
        """The header's value, whatever the case of its name. Raises KeyError when it is missing."""
        for key, value in self.headers:
            if key.lower() == name.lower():
                return value
        raise KeyError(f"no header {name!r} among {[key for key, _ in self.headers]}")

    @property
    def event(self) -> dict[str, Any]:
        """The body, parsed."""
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "body": self.body.decode("latin-1")}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Received:
        pairs = tuple((name, value) for name, value in fields["headers"])
        return cls(**{**fields, "headers": pairs, "body": fields["body"].encode("latin-1")})
