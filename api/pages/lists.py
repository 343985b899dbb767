"""Lists: one description of the columns for the page's table and for its `.json` and `.csv` twins."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import orjson
from pydantic import BaseModel
from starlette.responses import Response

from sendoff.errors import Invalid

from .page import Handler, PageRequest

FORMATS = ("", ".json", ".csv")
"""What the path of a list may end with."""

_FORMULA_BEGINNINGS = ("=", "+", "-", "@", "\t", "\r")


def shows_errors(template: str, **empty: Any) -> Callable[[Handler], Handler]:
    """A list whose page says what is wrong with a filter beside the filters; `empty` is what it shows then.

    The twins answer with an error.
    """

    def decorate(show: Handler) -> Handler:
        @wraps(show)
        async def shown(page: PageRequest) -> Response:
            try:
                return await show(page)
            except Invalid as error:
                if page.path.endswith(FORMATS[1:]):
                    raise
                return page.render(template, status=400, error=error, next_cursor=None, names={}, **empty)

        return shown

    return decorate


def export(page: PageRequest, rows: Sequence[BaseModel], next_cursor: str | None, name: str) -> Response | None:
    """The list as JSON, in the API's shape, or as CSV, if the path asks for it; None for the page itself."""
    if page.path.endswith(".json"):
        body = {"data": [row.model_dump(mode="json") for row in rows], "next_cursor": next_cursor}
        return page.download(orjson.dumps(body), "application/json", f"{name}.json")
    if page.path.endswith(".csv"):
        return page.download(_csv([row.model_dump(mode="json") for row in rows]), "text/csv", f"{name}.csv")
    return None


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    if rows:
        writer.writerow(rows[0])
    writer.writerows([_cell(value) for value in row.values()] for row in rows)
    return text.getvalue()


def _cell(value: Any) -> str:
    """A value as text. What a spreadsheet would run as a formula gets an apostrophe, which it takes for text."""
    if value is None:
        return ""
    written = value if isinstance(value, str) else orjson.dumps(value).decode()
    return f"'{written}" if isinstance(value, str) and written.startswith(_FORMULA_BEGINNINGS) else written
