"""What a receiver sends below HTTP: handshakes, tickets, changes of keys, padding. Little of it is ever needed."""

from __future__ import annotations

import ssl

from sendoff.wire.http.memory_budget import Budget

MOST_OVERHEAD_BYTES = 32_768
"""A chain of certificates takes 3 to 8 KB, and an answer's records may be 16 KB."""

MOST_UNASKED_ANSWERS = 32
"""How often a receiver can make us answer below HTTP, to changes of keys above all, which nobody needs so often."""

FREE_HANDSHAKE_BYTES = 8_192
"""What every handshake may send without asking. What is parsed of certificates takes ten times as much (measured), and
stays in memory as long as the connection does."""

MOST_HELD_HANDSHAKE_BYTES = 1_048_576
"""What the handshakes of all open connections may have sent beyond that."""

_PER_READ = 4_096  # what comes with some bytes of an answer: a record's frame and padding, a ticket


class TlsByteBudget:
    """Counts what one connection receives that is no answer. `budget` is for the bytes of all handshakes."""

    __slots__ = ("_answers", "_budget", "_charged", "_received")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._answers = self._charged = self._received = 0

    def receive(self, size: int) -> None:
        """So many bytes came."""
        self._received += size

    def carried(self, size: int) -> None:
        """So many bytes of an answer were in them."""
        self._received = max(0, self._received - size - _PER_READ)

    def answer_is_too_much(self) -> bool:
        """To call whenever it makes us answer."""
        self._answers += 1
        return self._answers > MOST_UNASKED_ANSWERS

    @property
    def is_too_much(self) -> bool:
        return self._received > MOST_OVERHEAD_BYTES

    def objection(self) -> str | None:
        """What speaks against going on with the handshake."""
        if self.is_too_much:
            return f"The receiver sent more than {MOST_OVERHEAD_BYTES} bytes to shake hands."
        charged = self._budget.change(self._charged, self._received)
        if charged is None:
            return f"The receiver sent more than {FREE_HANDSHAKE_BYTES} bytes to shake hands; there is no room left."
        self._charged = charged
        return None

    def begin_anew(self) -> None:
        """The handshake is done; what it took is kept."""
        self._received = 0

    def end(self) -> None:
        """The connection is gone."""
        self._charged = self._budget.change(self._charged, 0) or 0


def refusal(reason: str) -> ssl.SSLError:
    """The error that ends a connection for such a reason."""
    error = ssl.SSLError()
    error.reason = reason
    return error
