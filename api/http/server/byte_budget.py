"""How many bytes of requests in progress a process holds: by organization, and of bodies that are still being received.

Both bounds are on what has arrived. What a client announces and does not send takes nothing.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from sendoff.errors import RateLimited, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RETRY_AFTER_SECONDS = 1
"""What `Retry-After` says to a client whose organization has too many bytes under way: such a body ends within
seconds."""

UNFINISHED_BODY_BYTES = 128 * 1024 * 1024
"""Bytes of bodies that have not arrived whole, of all clients. Doubling it doubles the memory that clients who never
finish can take; below 32 MiB a batch of the largest size would never arrive."""


class OrganizationByteBudget:
    """Bytes that organizations hold.

    One may hold up to its share, and at most as many as are left free, so that several which hold all they can leave
    room for the next one.
    """

    def __init__(self, total: int, *, share: int, what: str) -> None:
        """`what`: what the bytes are of, for the refusals."""
        self._total = total
        self._share = share
        self._what = what
        self._held: Counter[str] = Counter()

    @contextmanager
    def held(self, organization_id: str) -> Iterator[Callable[[int], None]]:
        """Count bytes with what the block is given, until it ends.

        Counting raises RateLimited when the organization would hold too many, and Unavailable when all together would.
        """
        mine = 0

        def count(size: int) -> None:
            nonlocal mine
            self._check(organization_id, size)
            mine += size
            self._held[organization_id] += size

        try:
            yield count
        finally:
            self._held[organization_id] -= mine
            if not self._held[organization_id]:
                del self._held[organization_id]

    def _check(self, organization_id: str, size: int) -> None:
        held = self._held[organization_id] + size
        if held > self._share:
            raise too_much_in_progress(f"{self._share:,} bytes of {self._what}", limit=self._share, observed=held)
        if held > self._total - self._held.total() - size:
            raise Unavailable(f"Too many bytes of {self._what} are in progress; try again in a moment.")


def too_much_in_progress(what: str, *, limit: int, observed: int) -> RateLimited:
    """The refusal of one request more than an organization may have in progress."""
    message = f"This organization has {what} in progress, the most at once; wait until one of them is answered."
    return RateLimited(limit=limit, observed=observed, retry_after_seconds=RETRY_AFTER_SECONDS, message=message)


class UnfinishedBody(Protocol):
    """A body of which more is to come, as the budget sees it."""

    def evict(self) -> None:
        """Refuse it at once."""
        ...


class UnfinishedBodies:
    """The bodies that are being received, by the client's address.

    Over the limit the oldest one of the address that holds most is refused: clients who finish hardly hold anything.
    """

    def __init__(self, limit: int = UNFINISHED_BODY_BYTES) -> None:
        self._limit = limit
        self._total = 0
        self._by_address: Counter[str] = Counter()
        self._bodies: dict[UnfinishedBody, tuple[str, int]] = {}  # the oldest first

    def add(self, body: UnfinishedBody, address: str, size: int) -> None:
        """Count `size` bytes more of the body."""
        _, held = self._bodies.get(body, (address, 0))
        self._bodies[body] = address, held + size
        self._by_address[address] += size
        self._total += size
        while self._total > self._limit:
            self._evict()

    def remove(self, body: UnfinishedBody) -> None:
        """Forget a body that is complete, or whose request has ended."""
        address, held = self._bodies.pop(body, ("", 0))
        if not held:
            return
        self._total -= held
        self._by_address[address] -= held
        if not self._by_address[address]:
            del self._by_address[address]

    def _evict(self) -> None:
        heaviest = max(self._by_address, key=self._by_address.__getitem__)
        oldest = next(body for body, (address, _) in self._bodies.items() if address == heaviest)
        self.remove(oldest)
        oldest.evict()
