"""How many uploads of one organization an API process receives and reads at once."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sendoff.errors import RateLimited

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sendoff.context import Context

MAX_UPLOADS_AT_ONCE = 20
"""Uploads of one organization in progress. Each holds a temporary file of up to 100 MB, and takes connections to the
database from other organizations while it is checked."""

RETRY_AFTER_SECONDS = 1


class UploadsInProgress:
    """Counts the uploads in progress of each organization in this process."""

    def __init__(self) -> None:
        self._count: Counter[str] = Counter()

    @classmethod
    def of(cls, context: Context) -> UploadsInProgress:
        """The one of this context's process."""
        return context.service(cls._make)

    @classmethod
    def _make(cls, _context: Context) -> UploadsInProgress:
        return cls()

    @contextmanager
    def one(self, organization_id: str) -> Iterator[None]:
        """Count an upload within the block. Raises RateLimited when the organization has too many in progress."""
        observed = self._count[organization_id] + 1
        if observed > MAX_UPLOADS_AT_ONCE:
            raise RateLimited(limit=MAX_UPLOADS_AT_ONCE, observed=observed, retry_after_seconds=RETRY_AFTER_SECONDS)
        self._count[organization_id] = observed
        try:
            yield
        finally:
            self._count[organization_id] -= 1
            if not self._count[organization_id]:
                del self._count[organization_id]
