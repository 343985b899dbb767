"""Parts that answers and queries of several surfaces share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Generic, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from sendoff.clock import SystemClock, parse_duration
from sendoff.endpoints.fields import Id as Id
from sendoff.endpoints.fields import Time as Time

Row = TypeVar("Row")

_DATE_TIME = {"type": "string", "format": "date-time"}
_AGO = re.compile(r"[0-9]+(\.[0-9]+)?[smhd]")


_NO_TIME = "Must be a time in ISO 8601, such as 2026-04-24T12:34:56Z, or a time ago, such as 2h"


def _parse_time(value: object) -> datetime:
    if not isinstance(value, str):
        raise ValueError(_NO_TIME)  # noqa: TRY004 - pydantic's way
    if _AGO.fullmatch(value):
        return _time_ago(value)
    try:
        # A `+` that was not percent-encoded in a query arrives as a space.
        moment = datetime.fromisoformat(value.replace(" ", "+"))
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(_NO_TIME) from None


def _time_ago(duration: str) -> datetime:
    try:
        return SystemClock().now() - timedelta(seconds=parse_duration(duration))
    except OverflowError:
        raise ValueError("Lies too far in the past; use at most 36500d, which is 100 years") from None


QueryTime = Annotated[datetime, BeforeValidator(_parse_time), WithJsonSchema(_DATE_TIME)]
"""A time in a query or a filter: ISO 8601, in UTC unless it says otherwise, or a time ago such as `2h` or `7d`."""


class ResponseModel(BaseModel):
    """Something that an answer shows, made from a row's columns of the same names.

    Every field is in every answer, whether it has a default or not, except those with `exclude_if`.
    """

    model_config = ConfigDict(from_attributes=True, json_schema_serialization_defaults_required=True)


class Page(BaseModel, Generic[Row]):
    """One page of a list, newest first; `next_cursor` asks for the next one, and is null on the last."""

    data: Sequence[Row]
    next_cursor: str | None = Field(description="The `cursor` of the next page.")


class SearchedPage(Page[Row], Generic[Row]):
    """One page of a list that may have to search for its rows: it ends after a second, full or not.

    It can be empty and have a `next_cursor` all the same; only null is the end of the list.
    """

    scanned_back_to: Time | None = Field(
        default=None,
        exclude_if=lambda value: value is None,
        description="How far back the search came, if it ended before the page was full: go on with `next_cursor`. "
        "Absent otherwise.",
    )
