"""Operators' requests to several cells: lists are merged, one thing is looked for, the rest needs the cell's name."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from sendoff.errors import Invalid, NotFound, Unavailable

from ..http.pagination import MOST_PER_PAGE, decode_cursor, encode_cursor
from .client import CellAnswer, CellClient
from .connection import Headers

ROOT = "/operator/v1/"

MERGED = frozenset(
    {
        "dead-letters",
        "replays",
        "deliveries",
        "endpoints",
        "events",
        "alert-endpoints",
        "audit",
        "organizations",
        "keys",
    }
)
"""Lists that every cell has newest first by ids that begin with a time, so that a cursor of one is valid in all."""

SIDE_BY_SIDE = frozenset({"overview", "workers", "statistics", "search", "attempts", "event-types"})
"""What is shown for each cell by its name."""

DEFAULT_LIMIT = 50

_COLLECTION_ACTIONS = frozenset({"dead-letters/discard"})


async def merged_list(
    client: CellClient, cells: Sequence[str], noun: str, query: Mapping[str, str], headers: Headers
) -> tuple[int, Any]:
    """One page of all cells' lists, newest first, as status and document; each row says its `cell`.

    `incomplete` names the cells that did not answer. A refusal by a cell, such as of the query, is the answer.
    """
    answers = await _ask_all(client, cells, ROOT + noun, query, headers)
    refused = next((one for one in answers.values() if isinstance(one, CellAnswer) and one.status != 200), None)
    if refused is not None:
        return refused.status, refused.document
    pages = {cell: one.document for cell, one in answers.items() if isinstance(one, CellAnswer)}
    rows = [row | {"cell": cell} for cell, page in pages.items() for row in page["data"]]
    rows.sort(key=lambda row: str(row["id"]), reverse=True)
    limit, incomplete = _limit_of(query), _silent(answers)
    # A cell's page reaches down to its cursor, full or not: what another cell has below that comes with the next page.
    end = max((decode_cursor(page["next_cursor"], is_id=bool) or "" for page in pages.values()), default="")
    rows = [row for row in rows if str(row["id"]) >= end]
    if len(rows) > limit:
        end = str(rows[limit - 1]["id"])
    merged = {"data": rows[:limit], "next_cursor": encode_cursor(end) if end else None, "incomplete": incomplete}
    searched = [one["scanned_back_to"] for one in pages.values() if one.get("scanned_back_to")]
    return 200, merged | ({"scanned_back_to": max(searched)} if searched and len(rows) < limit else {})


async def side_by_side(
    client: CellClient, cells: Sequence[str], path: str, query: Mapping[str, str], headers: Headers
) -> tuple[int, Any]:
    """Each cell's document by its name, as status and document; `incomplete` names those that did not answer."""
    answers = await _ask_all(client, cells, path, query, headers)
    given = {cell: one for cell, one in answers.items() if isinstance(one, CellAnswer)}
    refused = next((one for one in given.values() if one.status != 200), None)
    if refused is not None:
        return refused.status, refused.document
    return 200, {"cells": {cell: one.document for cell, one in given.items()}, "incomplete": _silent(answers)}


async def cell_of_resource(client: CellClient, cells: Sequence[str], path: str, headers: Headers) -> str:
    """The cell that has what the path names, such as `/operator/v1/deliveries/ID/retry`.

    Raises NotFound, or Unavailable when a cell that does not answer may have it.
    """
    resource = "/".join(path.split("/")[:5])
    answers = await _ask_all(client, cells, resource, {}, headers)
    for cell, answer in answers.items():
        if isinstance(answer, CellAnswer) and answer.status == 200:
            return cell
    if silent := _silent(answers):
        raise Unavailable(f"No cell that answers has it; {', '.join(silent)} cannot be reached. Try again.")
    raise NotFound("No cell has it.")


async def cell_of_body(client: CellClient, cells: Sequence[str], body: Any, headers: Headers) -> str:
    """The cell that has the organization or the endpoint which the body of a write names. Raises Invalid without."""
    named = _named(body)
    if named is None:
        raise unclear(cells)
    return await cell_of_resource(client, cells, ROOT + named, headers)


def is_of_one_thing(path: str) -> bool:
    """Whether the path goes on behind a list's, to one thing in it."""
    return len(path.split("/")) > 4 and path.removeprefix(ROOT) not in _COLLECTION_ACTIONS


def unclear(cells: Sequence[str]) -> Invalid:
    """The error for a request that could be meant for several cells."""
    return Invalid(
        "It is not clear which cell is meant: name an `organization_id` or an `endpoint_id` that exists, or add "
        f"`?cell=` with one of {', '.join(cells)}.",
        field="cell",
    )


def _named(body: Any) -> str | None:
    """The path of what the body names, below `/operator/v1/`."""
    found = body if isinstance(body, dict) else {}
    filters = found.get("filter")
    for part in (found, filters if isinstance(filters, dict) else {}):
        for field, noun in (("organization_id", "organizations"), ("endpoint_id", "endpoints")):
            if isinstance(part.get(field), str) and "/" not in part[field]:
                return f"{noun}/{part[field]}"
    return None


async def _ask_all(
    client: CellClient, cells: Sequence[str], path: str, query: Mapping[str, str], headers: Headers
) -> dict[str, CellAnswer | BaseException]:
    asked = (client.ask(cell, path, headers=headers, params=query) for cell in cells)
    return dict(zip(cells, await asyncio.gather(*asked, return_exceptions=True), strict=True))


def _silent(answers: Mapping[str, CellAnswer | BaseException]) -> list[str]:
    failed = {cell: one for cell, one in answers.items() if isinstance(one, BaseException)}
    for error in failed.values():
        if not isinstance(error, Unavailable):
            raise error
    if failed and len(failed) == len(answers):
        raise Unavailable("No cell can be reached; try again.")
    return sorted(failed)


def _limit_of(query: Mapping[str, str]) -> int:
    given = query.get("limit", "")
    return min(int(given), MOST_PER_PAGE) if given.isdigit() else DEFAULT_LIMIT
