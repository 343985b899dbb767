"""The bytes of a request, and the response as callers see it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import overload

from sendoff.policy.endpoints.addresses import Target

# The client writes these itself: two of them, or a wrong one, would desynchronize the connection.
OWN_HEADERS = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "accept-encoding", "te", "upgrade"}
    | {"expect", "trailer", "proxy-connection", "proxy-authorization"}
)

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_BODILESS = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})


class Headers(Sequence[tuple[str, str]]):
    """A response's headers, names in lower case, in Latin-1, which knows every byte.

    Kept as one piece of bytes and parsed on first access: answers wait to be recorded by the thousand, most
    are never looked at, and pairs of strings would take several times the memory.
    """

    __slots__ = ("_block",)

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        """`raw`: names and values as the parser gives them, which holds neither a colon in a name nor any line feed."""
        self._block = b"\n".join([name.lower() + b":" + value for name, value in raw])

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._pairs())

    def __len__(self) -> int:
        return len(self._pairs())

    @overload
    def __getitem__(self, index: int) -> tuple[str, str]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[str, str]]: ...
    def __getitem__(self, index: int | slice) -> tuple[str, str] | list[tuple[str, str]]:
        return self._pairs()[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __hash__(self) -> int:
        return hash(self._block)

    def __repr__(self) -> str:
        return repr(tuple(self))

    def _pairs(self) -> list[tuple[str, str]]:
        lines = self._block.decode("latin-1").split("\n") if self._block else []
        return [(name, value) for name, _, value in (line.partition(":") for line in lines)]


@dataclass(slots=True)
class Response:
    """A receiver's answer.

    `body` is what the cap let through, `truncated` says that there was more;
    `elapsed_ms` counts from the call of `send` to the last byte that was read.
    """

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes
    truncated: bool
    elapsed_ms: int

    def header(self, name: str) -> str | None:
        """The first value of the header `name`, which must be in lower case."""
        return next((value for key, value in self.headers if key == name), None)


def encode_headers(pairs: Iterable[tuple[str, str]]) -> bytes:
    """A block of `Name: value` lines for `Client.send`.

    Raises ValueError for names that are not tokens, for values with CR, LF, NUL or anything else outside of printable
    Latin-1, and for headers that the client writes itself.
    """
    lines = []
    for name, value in pairs:
        _check_name(name)
        if not (value.isascii() and value.isprintable()) and _VALUE.fullmatch(value) is None:
            raise ValueError(f"the value of header {name} holds a character that a header cannot carry")
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines).encode("latin-1")


@lru_cache(maxsize=1_000)
def _check_name(name: str) -> None:
    if _TOKEN.fullmatch(name) is None:
        raise ValueError(f"header name {name!r} is not a token; use letters, digits and hyphens")
    if name.lower() in OWN_HEADERS:
        raise ValueError(f"header {name} is written by the client; leave it out")


def encode_request(method: str, target: Target, head: bytes, body: bytes) -> bytes:
    """The whole request as one piece of bytes, so that it leaves in one write."""
    if method != "POST" and not (method.isascii() and method.isalpha() and method.isupper()):
        raise ValueError(f"{method!r} is not an HTTP method")
    if head and (head[:1] == b"\r" or head[-2:] != b"\r\n" or b"\r\n\r\n" in head):
        raise ValueError("head must be a block of complete header lines, as encode_headers makes it")
    length = "" if not body and method in _BODILESS else f"Content-Length: {len(body)}\r\n"
    start = f"{method} {target.path} HTTP/1.1\r\nHost: {target.authority}\r\nAccept-Encoding: identity\r\n{length}"
    return b"".join((start.encode("ascii"), head, b"\r\n", body))
