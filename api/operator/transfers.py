"""`/operator/v1/export` and `/operator/v1/import`: accounts and endpoints as lines of JSON, to move them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import orjson
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from sendoff.errors import Invalid
from sendoff.operators.installation.transfer import audit_export, export_records, import_records

from ..http.dependencies import ContextOf, Operator
from ..http.idempotency import Write
from ..http.validation import UuidText
from ..openapi.operations import error_responses

router = APIRouter(prefix="/operator/v1", tags=["operator: transfer"])

MEDIA_TYPE = "application/x-ndjson"

SealKey = Annotated[
    str | None,
    Header(
        alias="Sendoff-Seal-Key",
        description="What endpoints' secrets are sealed with in the file: 32 characters or more.",
    ),
]

_IMPORTED = {
    "requestBody": {"required": True, "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}}
}


class ExportQuery(BaseModel):
    """What is exported."""

    model_config = ConfigDict(extra="forbid")

    organization_id: list[UuidText] = Field(
        default_factory=list, max_length=100, description="Only these organizations; repeatable."
    )


class ImportQuery(BaseModel):
    """Whether something is changed."""

    model_config = ConfigDict(extra="forbid")

    dry_run: bool = Field(default=False, description="Only check the file, and count.")


class ImportReport(BaseModel):
    """How many records were created, or would be, and how many were there already, by kind."""

    dry_run: bool
    created: dict[str, int]
    existing: dict[str, int]


@router.get(
    "/export",
    operation_id="exportInstallation",
    response_class=StreamingResponse,
    responses={200: {"description": "Records.", "content": {MEDIA_TYPE: {}}}, **error_responses(400)},
)
async def export(
    auth: Operator, context: ContextOf, query: Annotated[ExportQuery, Query()], seal_key: SealKey = None
) -> StreamingResponse:
    """Organizations, users, API keys as hashes, endpoints with their secrets sealed, and event types."""
    records = export_records(context, seal_key=_given(seal_key), organization_ids=query.organization_id or None)
    header = await anext(records)  # what is wrong with the key is said before the answer begins
    await audit_export(context, auth.actor, query.organization_id)

    async def lines() -> AsyncIterator[bytes]:
        yield orjson.dumps(header) + b"\n"
        async for record in records:
            yield orjson.dumps(record) + b"\n"

    return StreamingResponse(lines(), media_type=MEDIA_TYPE)


@router.post(
    "/import",
    operation_id="importInstallation",
    openapi_extra=_IMPORTED,
    response_model=ImportReport,
    responses=error_responses(400, 409, 413),
)
async def import_(
    auth: Operator,
    write: Write,
    context: ContextOf,
    request: Request,
    query: Annotated[ImportQuery, Query()],
    seal_key: SealKey = None,
) -> Response:
    """Create what an export holds and is not there yet: all of it, or nothing if a line is wrong. Safe to repeat."""
    key, body = _given(seal_key), await request.body()
    if not body:
        raise Invalid("The body is empty; send the lines of an export.")

    async def work() -> ImportReport:
        lines = await asyncio.to_thread(body.splitlines)
        imported = await import_records(context, auth.actor, lines, seal_key=key, dry_run=query.dry_run)
        return ImportReport(dry_run=query.dry_run, created=dict(imported.created), existing=dict(imported.existing))

    return await write.once(auth, work)


def _given(seal_key: str | None) -> str:
    if seal_key is None:
        name = "Sendoff-Seal-Key"
        raise Invalid(f"The header `{name}` is missing; send the key that secrets are sealed with.", field=name)
    return seal_key
