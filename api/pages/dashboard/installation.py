"""The installation itself: workers, audit log, settings and keys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from operator import itemgetter

from pydantic import SecretStr
from starlette.responses import Response

from sendoff.maintenance.key_rotation import count_key_use
from sendoff.maintenance.purge import COUNTED_AT_MOST, count_expired
from sendoff.operators.installation import reconciliation_runs, retention_runs
from sendoff.operators.installation.measurements import MEASURE_SLOWLY_SECONDS, Measurements
from sendoff.operators.installation.workers import HEARTBEAT_SECONDS, drain_worker, list_workers
from sendoff.operators.queries import list_audit
from sendoff.policy.redaction import HIDDEN, redact_text
from sendoff.settings import Settings

from ...health import find_readiness
from ...http.pagination import decode_cursor, split_page
from ...http.validation import validate
from ...operator.audit import AuditQuery
from ...operator.overview import WorkerView
from ...operator.schemas import AuditEntryView
from ..lists import FORMATS, export, shows_errors
from ..page import PageRequest
from .surface import BASE, DASHBOARD


async def show_workers(page: PageRequest) -> Response:
    found = await list_workers(page.context)
    rows = [WorkerView.model_validate(worker) for worker in found]
    return export(page, rows, None, "workers") or page.render(
        "dashboard/workers.html", rows=rows, late_after=timedelta(seconds=2 * HEARTBEAT_SECONDS)
    )


async def drain(page: PageRequest) -> Response:
    """Let a worker finish and stop."""
    await drain_worker(page.context, page.actor, page.parameter("worker_id"))
    return page.redirect(f"{BASE}/workers", notice="draining")


@shows_errors("dashboard/audit.html", rows=())
async def show_audit(page: PageRequest) -> Response:
    query = validate(AuditQuery, page.filters)
    before = decode_cursor(query.cursor)
    found = await list_audit(page.context, query.filter(), limit=query.limit + 1, before=before)
    listed, cursor = split_page(found, query.limit, lambda entry: entry.id)
    rows = [AuditEntryView.model_validate(entry) for entry in listed]
    return export(page, rows, cursor, "audit") or page.render("dashboard/audit.html", rows=rows, next_cursor=cursor)


async def show_reconciliation(page: PageRequest) -> Response:
    """The last check of whether everything adds up; a script that polls gets the part that moves."""
    run = await reconciliation_runs.find_last_run(page.context)
    part = "dashboard/reconciliation_progress.html" if page.is_partial else "dashboard/reconciliation.html"
    return page.render(part, run=run)


async def start_reconciliation(page: PageRequest) -> Response:
    await page.context.service(reconciliation_runs.ReconciliationRuns).start(page.actor)
    return page.redirect(f"{BASE}/system/reconciliation", notice="reconciliation-started")


async def show_retention(page: PageRequest) -> Response:
    """What is past its retention, and the last run that removed it; a script that polls gets the part that moves."""
    run = await retention_runs.find_last_run(page.context)
    if page.is_partial:
        return page.render("dashboard/retention_progress.html", run=run)
    expired = await count_expired(page.context)
    return page.render(
        "dashboard/retention.html",
        run=run,
        expired=asdict(expired),
        most=COUNTED_AT_MOST,
        settings=page.context.settings,
    )


async def run_retention(page: PageRequest) -> Response:
    await page.context.service(retention_runs.RetentionRuns).start(page.actor)
    return page.redirect(f"{BASE}/system/retention", notice="retention-started")


@dataclass(frozen=True, slots=True)
class ShownSetting:
    """A setting as people may see it, without what is secret in it."""

    name: str
    value: str
    is_set: bool
    """Whether it is given, and not the default."""
    description: str


async def show_system(page: PageRequest) -> Response:
    readiness = await find_readiness(page.request.app.state, page.context)
    measurements = page.context.service(Measurements.of)
    measured = await measurements.current(page.context, not_older_than=2 * MEASURE_SLOWLY_SECONDS)
    return page.render(
        "dashboard/system.html",
        measured=measured,
        storage=sorted(measured.slow.storage_bytes.items(), key=itemgetter(1), reverse=True) if measured else [],
        failing=readiness.failing,
        warnings=readiness.warnings,
        revision=await page.context.database.revision(),
        keys=await count_key_use(page.context),
        settings=list(shown_settings(page.context.settings)),
    )


def shown_settings(settings: Settings) -> Iterator[ShownSetting]:
    """Every setting, with secrets and the passwords of URLs left out."""
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        items = value if isinstance(value, list) else [value]
        shown = ", ".join(HIDDEN if isinstance(item, SecretStr) else redact_text(str(item)) for item in items)
        yield ShownSetting(
            name=f"SENDOFF_{name.upper()}",
            value="" if value is None else shown,
            is_set=name in settings.model_fields_set,
            description=field.description or "",
        )


ROUTES = (
    *(DASHBOARD.get(f"{BASE}/workers{ending}", show_workers) for ending in FORMATS),
    DASHBOARD.post(f"{BASE}/workers/{{worker_id}}/drain", drain),
    *(DASHBOARD.get(f"{BASE}/audit{ending}", show_audit) for ending in FORMATS),
    DASHBOARD.get(f"{BASE}/system", show_system),
    DASHBOARD.get(f"{BASE}/system/reconciliation", show_reconciliation),
    DASHBOARD.post(f"{BASE}/system/reconciliation", start_reconciliation),
    DASHBOARD.get(f"{BASE}/system/retention", show_retention),
    DASHBOARD.post(f"{BASE}/system/retention", run_retention),
)
