"""`/operator/v1/search`: what an operator pastes, looked up as what it looks like."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from sendoff.operators.search import Found, SearchedKind, search

from ...http.dependencies import ContextOf, OperatorReader
from ...http.schemas import Id, ResponseModel
from ...http.validation import Text
from ...openapi.operations import error_responses

router = APIRouter(prefix="/operator/v1/search", tags=["operator: overview"])


class SearchQuery(BaseModel):
    """What is searched for."""

    model_config = ConfigDict(extra="forbid")

    q: Annotated[Text, Field(min_length=1, max_length=1_000)] = Field(
        description="An event's id, a UUID, a request's id, an e-mail address, a URL or host, the beginning of an API "
        "key, a tag, or text in names, descriptions and the data of recent events."
    )


class FoundView(ResponseModel):
    """One thing that was found; `title` is what people know it by."""

    type: Found
    id: str
    organization_id: Id | None
    title: str


class SearchView(BaseModel):
    """What was found, newest first, at most 20 of each kind."""

    kind: SearchedKind = Field(description="What the text was taken for.")
    data: list[FoundView]
    scanned: int | None = Field(description="How many events' data was read, if there are more that were not.")


@router.get("", operation_id="search", responses=error_responses(400))
async def find(_auth: OperatorReader, context: ContextOf, query: Annotated[SearchQuery, Query()]) -> SearchView:
    """What the text means, in all organizations."""
    report = await search(context, query.q)
    return SearchView(
        kind=report.kind, data=[FoundView.model_validate(one) for one in report.results], scanned=report.scanned
    )
