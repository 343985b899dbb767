"""How many uploads an API process receives and checks at once, and how many bytes it keeps of them meanwhile."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sendoff.errors import RateLimited, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sendoff.context import Context

MAX_UPLOADS_AT_ONCE = 20
"""Uploads of one organization in progress. Each holds a temporary file of up to 100 MB, and takes connections to the
database from other organizations while it is checked."""

RETRY_AFTER_SECONDS = 1

_SHARE_OF_ONE = 4
"""An organization may hold one part in this many of the bytes in progress."""


class UploadsInProgress:
    """Counts the uploads in progress of each organization in this process, and the bytes received of them.

    An organization may hold at most as many bytes as are left free, so that several which hold all they can leave room
    for the next one.
    """

    def __init__(self, total_bytes: int) -> None:
        self._total_bytes = total_bytes
        self._count: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()

    @classmethod
    def of(cls, context: Context) -> UploadsInProgress:
        """The one of this context's process."""
        return context.service(cls._make)

    @classmethod
    def _make(cls, context: Context) -> UploadsInProgress:
        return cls(context.settings.unfinished_upload_bytes)

    @contextmanager
    def one(self, organization_id: str) -> Iterator[Callable[[int], None]]:
        """Count an upload within the block, and its bytes with what the block is given.

        Raises RateLimited when the organization has too many in progress, here and from counting bytes, and
        Unavailable from that when all together have.
        """
        observed = self._count[organization_id] + 1
        if observed > MAX_UPLOADS_AT_ONCE:
            raise _too_much(f"{MAX_UPLOADS_AT_ONCE} uploads", MAX_UPLOADS_AT_ONCE, observed)
        self._count[organization_id] = observed
        received = 0

        def receive(size: int) -> None:
            nonlocal received
            self._check(organization_id, size)
            received += size
            self._bytes[organization_id] += size

        try:
            yield receive
        finally:
            _subtract(self._bytes, organization_id, received)
            _subtract(self._count, organization_id, 1)

    def _check(self, organization_id: str, size: int) -> None:
        held, share = self._bytes[organization_id] + size, self._total_bytes // _SHARE_OF_ONE
        if held > share:
            raise _too_much(f"{share:,} bytes of uploads", share, held)
        if held > self._total_bytes - self._bytes.total() - size:
            raise Unavailable("Too many bytes of uploads are being received; try again in a moment.")


def _too_much(what: str, limit: int, observed: int) -> RateLimited:
    message = f"This organization has {what} in progress, the most at once; wait until one of them is answered."
    return RateLimited(limit=limit, observed=observed, retry_after_seconds=RETRY_AFTER_SECONDS, message=message)


def _subtract(counter: Counter[str], name: str, amount: int) -> None:
    counter[name] -= amount
    if not counter[name]:
        del counter[name]
