"""Limits on what a receiver sends below HTTP: handshakes, session tickets, key updates, padding."""

from __future__ import annotations

import ssl

from sendoff.wire.http.memory_budget import MemoryBudget

MOST_OVERHEAD_BYTES = 32_768
"""Bytes that a connection may receive without payload. A certificate chain takes 3 to 8 KB and a record up to 16 KB;
below that, valid receivers are refused."""

MOST_UNASKED_ANSWERS = 32
"""Control records, key updates above all, that a connection answers before it is closed. A higher value lets a
receiver cause more work."""

FREE_HANDSHAKE_BYTES = 8_192
"""Bytes of a handshake that are not charged to the shared budget. Parsed certificates take ten times as much memory
(measured) for as long as the connection is open."""

MOST_HELD_HANDSHAKE_BYTES = 1_048_576
"""Bytes beyond that of the handshakes of all open connections together; above it, larger handshakes fail."""

_PER_READ = 4_096  # bytes of overhead allowed for each read with payload: framing, padding, a session ticket


class TlsByteBudget:
    """Counts the bytes without payload of one connection. `budget` is shared by the handshakes of all connections."""

    __slots__ = ("_answers", "_budget", "_charged", "_received")

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._answers = self._charged = self._received = 0

    def receive(self, size: int) -> None:
        """Count `size` bytes from the network."""
        self._received += size

    def consumed(self, size: int) -> None:
        """Subtract `size` bytes of decrypted payload, and the overhead that is allowed with them."""
        self._received = max(0, self._received - size - _PER_READ)

    def too_many_control_records(self) -> bool:
        """Count one control record that has to be answered, and return whether there were too many."""
        self._answers += 1
        return self._answers > MOST_UNASKED_ANSWERS

    @property
    def is_too_much(self) -> bool:
        return self._received > MOST_OVERHEAD_BYTES

    def violation(self) -> str | None:
        """The limit that the handshake exceeds, as an error text; None if it may continue."""
        if self.is_too_much:
            return f"The TLS handshake took more than {MOST_OVERHEAD_BYTES} bytes; shorten the certificate chain."
        charged = self._budget.change(self._charged, self._received)
        if charged is None:
            return (
                f"The TLS handshake took more than {FREE_HANDSHAKE_BYTES} bytes while there was no memory left for "
                "large ones; shorten the receiver's certificate chain."
            )
        self._charged = charged
        return None

    def complete_handshake(self) -> None:
        """Start to count for the open connection; the handshake's charge to the budget remains."""
        self._received = 0

    def end(self) -> None:
        """Give the charge back when the connection is closed."""
        self._charged = self._budget.change(self._charged, 0) or 0


def to_tls_error(reason: str) -> ssl.SSLError:
    """The error that closes a connection for `reason`."""
    error = ssl.SSLError()
    error.reason = reason
    return error
