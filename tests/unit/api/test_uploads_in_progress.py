"""The limits of uploads, and of their bytes, that are in progress at once."""

from __future__ import annotations

from contextlib import ExitStack, suppress

import pytest

from api.optimaldial.concurrency import MAX_UPLOADS_AT_ONCE, UploadsInProgress
from sendoff.errors import RateLimited, Unavailable


def test_uploads_in_progress_are_limited_for_each_organization() -> None:
    uploads = UploadsInProgress(1_000)
    with ExitStack() as running:
        for _ in range(MAX_UPLOADS_AT_ONCE):
            running.enter_context(uploads.one("a"))
        with pytest.raises(RateLimited) as refused, uploads.one("a"):
            pass
        assert (refused.value.limit, refused.value.observed) == (MAX_UPLOADS_AT_ONCE, MAX_UPLOADS_AT_ONCE + 1)
        running.enter_context(uploads.one("b"))
    with uploads.one("a"):
        pass


def test_an_organization_holds_a_quarter_of_the_bytes_over_all_its_uploads() -> None:
    uploads = UploadsInProgress(1_000)
    with uploads.one("a") as first, uploads.one("a") as second:
        first(200)
        second(50)
        with pytest.raises(RateLimited) as refused:
            second(1)
        assert (refused.value.limit, refused.value.observed) == (250, 251)
        with uploads.one("b") as other:
            other(250)
    with uploads.one("a") as again:
        again(250)


def test_organizations_at_their_limit_leave_capacity_for_the_next() -> None:
    uploads = UploadsInProgress(1_000)
    with ExitStack() as running:
        for number in range(5):
            receive = running.enter_context(uploads.one(f"hostile{number}"))
            with suppress(RateLimited, Unavailable):
                while True:
                    receive(1)
        running.enter_context(uploads.one("b"))(10)
