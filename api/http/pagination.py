"""Cursors: a position in a list that is read newest first, opaque to clients."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import TypeVar

from sendoff.errors import Invalid
from sendoff.ids import is_uuid, row_time
from sendoff.store.engine.paging import ScannedPage

from .schemas import SearchedPage

Item = TypeVar("Item")
Row = TypeVar("Row")

MOST_PER_PAGE = 100


def encode_cursor(identifier: str) -> str:
    """The cursor that continues a list below the row `identifier`."""
    return base64.urlsafe_b64encode(identifier.encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None, *, is_id: Callable[[str], bool] = is_uuid) -> str | None:
    """The id that a cursor stands for; None, the first page, for none. Raises Invalid for any other text.

    `is_id` says whether a text can be an id of the list.
    """
    if not cursor:  # `?cursor=` is what scripts send that append the cursor before they have one
        return None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        identifier = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        identifier = ""
    if not is_id(identifier):
        raise Invalid(
            "`cursor` is invalid; use the `next_cursor` of the page before, or none for the first page.",
            field="cursor",
        )
    return identifier


def split_page(found: Sequence[Item], limit: int, identify: Callable[[Item], str]) -> tuple[Sequence[Item], str | None]:
    """Of up to `limit + 1` items the page and its next cursor."""
    page = found[:limit]
    return page, encode_cursor(identify(page[-1])) if len(found) > limit else None


def searched_page(
    found: ScannedPage[Item], limit: int, *, identify: Callable[[Item], str], show: Callable[[Item], Row]
) -> SearchedPage[Row]:
    """The page of up to `limit + 1` items, each as `show` makes it; where the search ended early, it goes on there."""
    items, cursor = split_page(found.rows, limit, identify)
    rows, end = [show(one) for one in items], found.scanned_to
    if end is None:
        return SearchedPage(data=rows, next_cursor=cursor)
    return SearchedPage(data=rows, next_cursor=encode_cursor(end), scanned_back_to=row_time(end))
