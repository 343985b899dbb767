"""PrefetchBuffer: claimed deliveries that wait in memory until their endpoint has room for them."""

from __future__ import annotations

from collections import deque

from sendoff.delivery.pipeline import Claim


class PrefetchBuffer:
    """One line for each endpoint, the longest waiting first. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._lines: dict[str, deque[tuple[float, Claim]]] = {}
        self._count = 0

    def __len__(self) -> int:
        """How many wait in all lines together."""
        return self._count

    def length(self, endpoint_id: str) -> int:
        """How many wait for this endpoint."""
        return len(self._lines.get(endpoint_id, ()))

    def join(self, claimed: Claim, now: float) -> None:
        """Stand at the end of the line."""
        self._lines.setdefault(claimed.endpoint.id, deque()).append((now, claimed))
        self._count += 1

    def call(self, endpoint_id: str) -> Claim | None:
        """Whose turn it is; None when nobody waits for this endpoint."""
        line = self._lines.get(endpoint_id)
        if not line:
            return None
        _, claimed = line.popleft()
        self._count -= 1
        if not line:
            del self._lines[endpoint_id]
        return claimed

    def evict(self, *, joined_before: float) -> list[Claim]:
        """Take those out that have waited since before then."""
        gone: list[Claim] = []
        for endpoint_id in list(self._lines):
            line = self._lines[endpoint_id]
            gone += [line.popleft()[1] for joined_at, _ in list(line) if joined_at < joined_before]
            if not line:
                del self._lines[endpoint_id]
        self._count -= len(gone)
        return gone
