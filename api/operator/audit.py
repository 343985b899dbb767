"""`/operator/v1/audit`: who changed or sent what, when."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from sendoff.operators.queries import list_audit
from sendoff.store.queries.audit import AuditFilter

from ..http.dependencies import ContextOf, OperatorReader
from ..http.pagination import decode_cursor, split_page
from ..http.schemas import Page, QueryTime
from ..http.validation import Text, UuidText
from ..openapi.operations import error_responses
from .schemas import AuditEntryView, ListQuery

router = APIRouter(prefix="/operator/v1/audit", tags=["operator: audit"])


class AuditQuery(ListQuery):
    """Which entries; what is left out is any. `since` is inclusive, `until` exclusive."""

    organization_id: UuidText | None = None
    actor: Text | None = None
    action: Text | None = None
    target_id: Text | None = None
    since: QueryTime | None = None
    until: QueryTime | None = None

    def filter(self) -> AuditFilter:
        return AuditFilter(**self.model_dump(exclude={"limit", "cursor"}))


@router.get("", operation_id="listAudit", responses=error_responses(400))
async def list_page(
    _auth: OperatorReader, context: ContextOf, query: Annotated[AuditQuery, Query()]
) -> Page[AuditEntryView]:
    """Entries of the audit log, newest first."""
    before = decode_cursor(query.cursor)
    found = await list_audit(context, query.filter(), limit=query.limit + 1, before=before)
    page, cursor = split_page(found, query.limit, lambda entry: entry.id)
    return Page(data=[AuditEntryView.model_validate(entry) for entry in page], next_cursor=cursor)
