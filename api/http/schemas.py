"""Parts that answers and queries of several surfaces share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Generic, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from sendoff.endpoints.fields import Id as Id
from sendoff.endpoints.fields import Time as Time

Row = TypeVar("Row")

_DATE_TIME = {"type": "string", "format": "date-time"}


def _parse_time(value: object) -> datetime:
    if not isinstance(value, str):
        raise ValueError("Must be a time in ISO 8601, such as 2026-04-24T12:34:56Z")  # noqa: TRY004 - pydantic's way
    try:
        # A `+` that was not percent-encoded in a query arrives as a space.
        moment = datetime.fromisoformat(value.replace(" ", "+"))
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("Must be a time in ISO 8601, such as 2026-04-24T12:34:56Z") from None


QueryTime = Annotated[datetime, BeforeValidator(_parse_time), WithJsonSchema(_DATE_TIME)]
"""A time in a query or a filter: ISO 8601; UTC unless it says otherwise."""


class ResponseModel(BaseModel):
    """Something that an answer shows, made from a row's columns of the same names."""

    model_config = ConfigDict(from_attributes=True)


class Page(BaseModel, Generic[Row]):
    """One page of a list, newest first; `next_cursor` asks for the next one, and is null on the last."""

    data: Sequence[Row]
    next_cursor: str | None = Field(description="The `cursor` of the next page.")
