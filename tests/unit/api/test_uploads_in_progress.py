"""The limit of uploads that one organization has in progress."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from api.optimaldial.concurrency import MAX_UPLOADS_AT_ONCE, UploadsInProgress
from sendoff.errors import RateLimited


def test_one_organization_has_so_many_uploads_in_progress_and_another_its_own() -> None:
    uploads = UploadsInProgress()
    with ExitStack() as running:
        for _ in range(MAX_UPLOADS_AT_ONCE):
            running.enter_context(uploads.one("a"))
        with pytest.raises(RateLimited) as refused, uploads.one("a"):
            pass
        assert (refused.value.limit, refused.value.observed) == (MAX_UPLOADS_AT_ONCE, MAX_UPLOADS_AT_ONCE + 1)
        running.enter_context(uploads.one("b"))
    with uploads.one("a"):
        pass
