"""The catalogue of event types, each with its schema and an example to copy."""

from __future__ import annotations

import orjson
from starlette.responses import Response

from ...customers.event_types import list_views
from ..page import PageRequest
from .surface import get


async def show(page: PageRequest) -> Response:
    types = await list_views(page.context)
    return page.render("portal/event_types.html", types=types, pretty=_pretty)


def _pretty(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


ROUTES = (get("/event-types", show),)
