"""How many uploads an API process receives at once, how many bytes it keeps of them, and whose is checked next."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sendoff.turns import Turns

from ..http.server.byte_budget import OrganizationByteBudget, too_much_in_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from sendoff.context import Context

MAX_UPLOADS_AT_ONCE = 20
"""Uploads of one organization in progress. Each holds a temporary file of up to 100 MB, and takes connections to the
database from other organizations while it is checked."""

CHECKED_AT_ONCE = 2
"""Uploads of one organization that are checked, stored and charged at once. Half of the processes of the sandbox stay
free for others; with more, an organization's uploads take the CPU and the database's writer from the others'."""

_SHARE_OF_ONE = 4
"""An organization may hold one part in this many of the bytes in progress."""


class UploadsInProgress:
    """Counts the uploads in progress of each organization in this process, and the bytes received of them."""

    def __init__(self, total_bytes: int) -> None:
        self._count: Counter[str] = Counter()
        self._checks = Turns(CHECKED_AT_ONCE)
        self._budget = OrganizationByteBudget(total_bytes, share=total_bytes // _SHARE_OF_ONE, what="uploads")

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

        Raises RateLimited when the organization has too many in progress; counting bytes raises as
        OrganizationByteBudget does.
        """
        observed = self._count[organization_id] + 1
        if observed > MAX_UPLOADS_AT_ONCE:
            what = f"{MAX_UPLOADS_AT_ONCE} uploads"
            raise too_much_in_progress(what, limit=MAX_UPLOADS_AT_ONCE, observed=observed)
        self._count[organization_id] = observed
        try:
            with self._budget.held(organization_id) as count:
                yield count
        finally:
            self._count[organization_id] -= 1
            if not self._count[organization_id]:
                del self._count[organization_id]

    def check(self, organization_id: str) -> AbstractAsyncContextManager[None]:
        """The organization's turn to have an upload checked that has been received; the others of it wait."""
        return self._checks.taken(organization_id)
