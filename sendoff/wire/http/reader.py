"""Reading one response within bounds, from bytes alone: no socket, no clock.

llhttp is strict here (its leniencies stay off): it refuses Content-Length together with Transfer-Encoding, repeated
or malformed lengths, bare line feeds and folded headers. Such a response is judged on its status line, and nothing
behind the fault is read. The bounds on sizes and counts are ours.
"""

from __future__ import annotations

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from sendoff.wire.errors import BadResponse
from sendoff.wire.http.memory_budget import MemoryBudget
from sendoff.wire.http.message import Headers

MOST_HEAD_BYTES = 65_536
MOST_HEADERS = 128
"""Bytes and number of an answer's headers. An answer with more is a failed attempt; each connection may hold that much
memory."""

KEPT_HEAD_BYTES = 8_192
KEPT_HEADERS = 64
"""How much of the headers is remembered, for people to look at; what steers us is remembered wherever it stands."""

MOST_INTERIM_RESPONSES = 8
"""Answers 1xx before the final one. A receiver that sends more would keep the attempt from ending before its
timeout."""

# Bytes that chunk sizes, chunk extensions and trailers may take, apart from the body, which may arrive byte by byte.
_FRAMING_BYTES = 65_536
_FRAMING_FACTOR = 8

_HEADER_OVERHEAD = 160  # bytes of memory that Python takes for a header in addition to its text

_FIRST_BYTE = ord("H")
_STEERING = frozenset({b"content-length", b"transfer-encoding", b"retry-after"})


class ResponseReader:
    """The response to one request at a time; `begin` before each.

    `status` is 0 until the head is complete, or malformed behind its status line. From then on the response stands: a
    body that is cut off, malformed or endless ends it early, as a malformed head does, with `truncated` set, and costs
    the connection. Once `complete`, `body` holds at most
    `body_cap` bytes, `truncated` says that the rest is missing, and `reusable` that the connection can carry another
    request. What an unfinished response holds is taken from `budget`; when that is used up, a response whose status
    is known ends there, truncated.
    """

    __slots__ = (
        "_body",
        "_body_cap",
        "_budget",
        "_charged",
        "_head_size",
        "_header_count",
        "_interim",
        "_method",
        "_most_bytes",
        "_parser",
        "_status_line",
        "complete",
        "raw_headers",
        "received",
        "reusable",
        "status",
        "truncated",
    )

    def __init__(self, body_cap: int, budget: MemoryBudget) -> None:
        self._body_cap = body_cap
        self._budget = budget
        self._charged = 0
        self._most_bytes = MOST_HEAD_BYTES + _FRAMING_BYTES + _FRAMING_FACTOR * body_cap
        self._parser = HttpResponseParser(self)
        self.begin("POST")

    def end(self) -> None:
        """Let go of the parser: it and this object hold each other, and what has come. Nothing can be fed any more."""
        del self._parser

    def begin(self, method: str) -> None:
        """Forget the last response and expect one to a request of this method."""
        self._method = method
        if self._charged:
            self._budget.change(self._charged, 0)
            self._charged = 0
        # One piece of memory: of a body that comes in chunks of two bytes a list would take thirty times its size.
        self._body = bytearray()
        self._head_size = self._header_count = self._interim = self._status_line = 0
        self.raw_headers: list[tuple[bytes, bytes]] = []
        self.received = self.status = 0
        self.complete = self.reusable = self.truncated = False

    def feed(self, data: bytes | memoryview) -> bool:
        """Take what came from the network; True once the response is complete. Raises BadResponse."""
        if not self.received and data[0] != _FIRST_BYTE:
            if data[0] == 0 and bytes(data[3:4]) in {b"\x04", b"\x07"}:  # a frame of HTTP/2: SETTINGS or GOAWAY
                raise BadResponse("The receiver speaks HTTP/2 only; enable HTTP/1.1 on it.")
            raise BadResponse("The answer does not start with HTTP/.")
        self.received += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            self._judge(error)
        if not self.complete:
            self._bound()
        return self.complete

    def feed_eof(self) -> bool:
        """Take the end of the stream; True if the response is complete with that, False if no status has come."""
        return self.complete or self.end_early(truncated=self._is_framed())

    def end_early(self, *, truncated: bool = True) -> bool:
        """End a response whose body will not arrive in full; True if its status is known, False without one."""
        if self.status:
            self.complete, self.truncated, self.reusable = True, truncated, False
        return self.complete

    def headers(self) -> Headers:
        """The headers that are remembered."""
        return Headers(self.raw_headers)

    def body(self) -> bytes:
        """The body, or what of it the cap lets through."""
        return bytes(self._body)

    def on_message_begin(self) -> None:
        if self.complete:
            raise BadResponse("Bytes followed the answer.")

    def on_status(self, reason: bytes) -> None:
        # Until this is called, the parser may still have the status of the response before.
        self._status_line = self._parser.get_status_code()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_size += len(name) + len(value)
        if self._head_size > MOST_HEAD_BYTES:
            raise BadResponse(f"The answer's headers are larger than {MOST_HEAD_BYTES} bytes.")
        if self.status:
            return  # a trailer: counted, not kept
        self._header_count += 1
        if self._header_count > MOST_HEADERS:
            raise BadResponse(f"The answer has more than {MOST_HEADERS} headers.")
        short = self._head_size <= KEPT_HEAD_BYTES and self._header_count <= KEPT_HEADERS
        if short or name.lower() in _STEERING:
            self.raw_headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200:
            self.status = status
            # llhttp has no option for the response to a HEAD; the connection is closed instead.
            self.complete = self._method == "HEAD"
            return
        self._interim += 1
        if status < 100 or status == 101:  # no status at all, or another protocol from here on
            raise BadResponse(f"The receiver answered with status {status:03}.")
        if self._interim > MOST_INTERIM_RESPONSES:
            raise BadResponse(f"The receiver sent more than {MOST_INTERIM_RESPONSES} interim answers (1xx).")

    def on_body(self, data: bytes) -> None:
        free = self._body_cap - len(self._body)
        if len(data) > free:
            data = data[:free]
            self.complete = self.truncated = True
        self._body += data

    def on_message_complete(self) -> None:
        if not self.status:
            self.raw_headers.clear()
            self._header_count = 0
        elif not self.complete:
            self.complete = True
            self.reusable = self._parser.should_keep_alive()

    def _judge(self, error: HttpParserError) -> None:
        if self.complete:
            self.reusable = False  # bytes after a complete response make the connection unusable, not the response
        elif self.end_early():
            return
        elif isinstance(error.__context__, BadResponse):
            raise error.__context__ from None
        elif isinstance(error, HttpParserUpgrade):
            raise BadResponse("The receiver switched to another protocol; answer with HTTP/1.1.") from None
        elif self._status_line >= 200:
            self.status = self._status_line
            self.end_early()
        else:
            raise BadResponse(f"The response is not valid HTTP/1.1: {error}; correct the receiver.") from None

    def _bound(self) -> None:
        if not self.status and self.received > MOST_HEAD_BYTES:
            raise BadResponse(f"The answer's headers are larger than {MOST_HEAD_BYTES} bytes.")
        if self.received > self._most_bytes:
            self.complete = self.truncated = True
            return
        charged = self._budget.change(self._charged, self._held())
        if charged is not None:
            self._charged = charged
        elif self.status:
            self.complete = self.truncated = True
        else:
            raise BadResponse("The response's headers are large, and the memory for such responses is in use.")

    def _held(self) -> int:
        """About how much memory the answer takes; of a head that has not ended the parser keeps all that came."""
        head = min(self._head_size, KEPT_HEAD_BYTES) if self.status else self.received
        return head + len(self.raw_headers) * _HEADER_OVERHEAD + len(self._body)

    def _is_framed(self) -> bool:
        for name, value in self.raw_headers:
            lowered = name.lower()
            if lowered == b"content-length":
                return True
            if lowered == b"transfer-encoding" and value.lower().endswith(b"chunked"):
                return True
        return False
