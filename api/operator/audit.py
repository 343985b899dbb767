"""`/operator/v1/audit`: who changed or sent what, when."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from api.dependencies import Operator, RuntimeOf
from api.openapi import error_responses
from api.operator.schemas import ListQuery, ShownAuditEntry
from api.paging import decode_cursor, split_page
from api.schemas import Moment, Page
from api.validation import Text, UuidText
from sendoff.operations.operate import list_audit
from sendoff.store.audit import AuditFilter

router = APIRouter(prefix="/operator/v1/audit", tags=["operator: audit"])


class AuditQuery(ListQuery):
    """Which entries; what is left out is any. `since` is inclusive, `until` exclusive."""

    organization_id: UuidText | None = None
    actor: Text | None = None
    action: Text | None = None
    target_id: Text | None = None
    since: Moment | None = None
    until: Moment | None = None

    def filter(self) -> AuditFilter:
        return AuditFilter(**self.model_dump(exclude={"limit", "cursor"}))


@router.get("", operation_id="listAudit", responses=error_responses(400))
async def list_page(
    _caller: Operator, runtime: RuntimeOf, query: Annotated[AuditQuery, Query()]
) -> Page[ShownAuditEntry]:
    """Entries of the audit log, newest first."""
    before = decode_cursor(query.cursor)
    found = await list_audit(runtime, query.filter(), limit=query.limit + 1, before=before)
    page, cursor = split_page(found, query.limit, lambda entry: entry.id)
    return Page(data=[ShownAuditEntry.model_validate(entry) for entry in page], next_cursor=cursor)
