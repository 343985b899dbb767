"""The doctor: what an installation needs, looked at one after the other, each with a remedy if it is missing."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from redis.exceptions import RedisError, ResponseError

from sendoff.errors import SendoffError
from sendoff.maintenance.key_rotation import count_key_use
from sendoff.operators.installation.overview import get_overview
from sendoff.operators.installation.workers import list_workers
from sendoff.policy.states import EndpointState
from sendoff.queue import MAX_QUEUED_JOBS, QUEUE_NAMES, QUEUES, measure_queues
from sendoff.settings import Settings
from sendoff.store.queries import endpoints, operational_events
from sendoff.wire.errors import WireError

if TYPE_CHECKING:
    from sendoff.context import Context

LATE_SECONDS = 60.0
"""A delivery that has been due for longer than this is late: sweeps find what is due within seconds."""

CLOCK_SECONDS = 30.0
"""A difference of the clocks that receivers may notice: most refuse signatures that are five minutes off."""

_PATIENCE_SECONDS = 10.0
_CONNECT_SECONDS = 5.0


class Status(StrEnum):
    """What was found: all is well, something should be known, or something is wrong."""

    OK = "ok"
    NOTE = "note"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One thing that was looked at."""

    name: str
    status: Status
    said: str
    remedy: str | None = None


Check = Callable[["Context"], Awaitable[Diagnosis]]


async def examine(context: Context, *, briefly: bool = False) -> list[Diagnosis]:
    """Look at everything; `briefly` only at what events need to be accepted and delivered."""
    needed: Sequence[tuple[str, Check]] = (
        ("schema", _check_schema),
        ("database", _check_writable),
        ("secrets", _check_secrets),
        ("workers", _check_workers),
        ("redis", _check_redis),
    )
    more: Sequence[tuple[str, Check]] = (
        ("queue", _check_queue),
        ("deliveries", _check_late),
        ("clock", _check_clock),
        ("storage", _check_storage),
        ("egress", _check_egress),
        ("alerts", _check_alerts),
    )
    return [await _run(context, name, check) for name, check in (needed if briefly else (*needed, *more))]


def examine_settings(settings: Settings) -> list[Diagnosis]:
    """What can be said of the settings alone."""
    dangers = settings.dangers()
    if dangers:
        return [Diagnosis("settings", Status.NOTE, one, "Unset it in production.") for one in dangers]
    return [Diagnosis("settings", Status.OK, "valid")]


async def _run(context: Context, name: str, check: Check) -> Diagnosis:
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return await check(context)
    except TimeoutError:
        return Diagnosis(name, Status.WRONG, f"no answer within {_PATIENCE_SECONDS:g} s", "Look at its load.")
    except (SendoffError, RedisError, OSError) as error:
        return Diagnosis(name, Status.WRONG, str(error) or type(error).__name__, _REMEDIES[name])


_REMEDIES = {
    "schema": "Run `sendoff migrate`.",
    "database": "Free some space, or make the server that SENDOFF_DATABASE_URL names the primary.",
    "secrets": "Add the key to SENDOFF_SECRET_KEYS.",
    "redis": "Start the server that SENDOFF_REDIS_URL names. Deliveries go on without it, some seconds later.",
    "queue": "Start the server that SENDOFF_REDIS_URL names.",
    "workers": "Start one with `sendoff worker`.",
    "deliveries": "Start more workers.",
    "clock": "Synchronize the clocks, such as with chrony.",
    "storage": "Create the folder of SENDOFF_STORAGE_URL, or let this user write to it.",
    "alerts": "`sendoff alert-endpoints test ID` shows what its receiver answers.",
    "egress": "Allow outgoing connections to port 443, or set SENDOFF_EGRESS_PROXY_URL.",
}


async def _check_schema(context: Context) -> Diagnosis:
    remark = await context.database.check_schema()
    return Diagnosis("schema", Status.NOTE if remark else Status.OK, remark or "this version's")


async def _check_writable(context: Context) -> Diagnosis:
    await context.database.ping()
    await context.database.check_writable()
    return Diagnosis("database", Status.OK, "answers and takes writes")


async def _check_secrets(context: Context) -> Diagnosis:
    lost = [use for use in await count_key_use(context) if not use.known and use.secrets]
    if not lost:
        return Diagnosis("secrets", Status.OK, "every secret can be opened")
    named = ", ".join(f"{use.secrets} sealed with key {use.key_id}" for use in lost)
    return Diagnosis("secrets", Status.WRONG, f"cannot be opened: {named}", "Add that key to SENDOFF_SECRET_KEYS.")


async def _check_redis(context: Context) -> Diagnosis:
    try:
        policy = (await context.redis.config_get("maxmemory-policy")).get("maxmemory-policy", "noeviction")
    except ResponseError:  # our user has no right to CONFIG, which is dangerous, or the service has no such command
        await context.redis.ping()
        return Diagnosis("redis", Status.OK, "answers; what it evicts, which should be nothing, it does not tell")
    if str(policy).startswith("allkeys"):
        return Diagnosis("redis", Status.WRONG, f"maxmemory-policy is {policy}", "Set it to noeviction.")
    return Diagnosis("redis", Status.OK, "answers")


async def _check_queue(context: Context) -> Diagnosis:
    jobs, _ = await measure_queues(
        context.redis, now=context.clock.now().timestamp(), key_tag=context.settings.redis_key_tag
    )
    limits = dict(zip(QUEUE_NAMES, (MAX_QUEUED_JOBS[queue] for queue in QUEUES), strict=True))
    full = [name for name, count in jobs.items() if count >= limits[name]]
    said = ", ".join(f"{name} {int(count)}" for name, count in jobs.items())
    remedy = "Start more workers; what is dropped here is found by sweeps."
    return Diagnosis("queue", Status.NOTE if full else Status.OK, f"jobs: {said}", remedy if full else None)


async def _check_workers(context: Context) -> Diagnosis:
    found = await list_workers(context)
    if not found:
        return Diagnosis("workers", Status.WRONG, "no worker runs: nothing is delivered", _REMEDIES["workers"])
    versions = sorted({worker.version for worker in found})
    said = f"{len(found)} alive, of {', '.join(versions)}"
    several = "Restart those of the older version." if len(versions) > 1 else None
    return Diagnosis("workers", Status.NOTE if several else Status.OK, said, several)


async def _check_late(context: Context) -> Diagnosis:
    overview = await get_overview(context)
    due, seconds = overview.open.due, overview.oldest_due_seconds
    if seconds <= LATE_SECONDS:
        return Diagnosis("deliveries", Status.OK, f"{due} due, none late")
    said = f"{due} due, the oldest for {round(seconds)} s"
    return Diagnosis(
        "deliveries", Status.WRONG, said, "Start workers or more of them; `sendoff top` shows what is slow."
    )


async def _check_clock(context: Context) -> Diagnosis:
    shared = await context.database.server_time()
    if shared is None:
        return Diagnosis("clock", Status.OK, "SQLite goes by this machine's")
    ahead = (context.clock.machine_now() - shared).total_seconds()
    is_well = abs(ahead) <= CLOCK_SECONDS
    said = f"this machine is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} the database's server"
    return Diagnosis("clock", Status.OK if is_well else Status.WRONG, said, None if is_well else _REMEDIES["clock"])


async def _check_storage(context: Context) -> Diagnosis:
    parts = urlsplit(context.settings.storage_url)
    if parts.scheme != "file":
        return Diagnosis("storage", Status.NOTE, "a bucket, which is looked at when an upload comes")
    folder = Path(unquote(parts.path))
    wanted = context.settings.storage_min_free_bytes
    free = await asyncio.to_thread(_free_bytes, folder)
    said = f"{free // 2**20} MiB are free"
    if free > wanted:
        return Diagnosis("storage", Status.OK, said)
    return Diagnosis("storage", Status.WRONG, f"{said}, {wanted // 2**20} MiB are kept free", "Free some space.")


async def _check_egress(context: Context) -> Diagnosis:
    """Connect to the newest active endpoint, or to the proxy, without sending anything."""
    async with context.database.read() as tx:
        wanted = EndpointState.ACTIVE
        found = await endpoints.page(tx, limit=1, state=wanted)
    url = context.settings.egress_proxy_url or (found[0].url if found else None)
    parts = urlsplit(url or "")
    if not parts.hostname:
        return Diagnosis("egress", Status.NOTE, "there is no active endpoint to try it with")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    async with asyncio.timeout(_CONNECT_SECONDS):
        _, writer = await asyncio.open_connection(parts.hostname, port)
    writer.close()
    return Diagnosis("egress", Status.OK, f"{parts.hostname} resolves and takes connections on port {port}")


async def _check_alerts(context: Context) -> Diagnosis:
    """Look at the alert endpoints and, if alerts go by mail, connect to the mail server without sending anything."""
    async with context.database.read() as tx:
        found = await operational_events.alert_endpoints(tx)
    if not found:
        remedy = "Add one with `sendoff alert-endpoints create`."
        return Diagnosis("alerts", Status.NOTE, "no one is alerted when an endpoint is disabled", remedy)
    if context.settings.smtp_url is not None and context.alert_wire is not None:
        try:
            await context.alert_wire.check_mail(timeout=_CONNECT_SECONDS)
        except WireError as error:
            return Diagnosis("alerts", Status.WRONG, str(error), "Correct SENDOFF_SMTP_URL.")
    failing = [one for one in found if one.consecutive_failures]
    if failing:
        said = f"{len(failing)} of {len(found)} alert endpoints fail, such as {failing[0].id}"
        return Diagnosis("alerts", Status.WRONG, said, _REMEDIES["alerts"])
    return Diagnosis("alerts", Status.OK, f"alert endpoints: {len(found)}")


def _free_bytes(folder: Path) -> int:
    """What is free where the folder is, or where it will be made."""
    existing = next(one for one in (folder, *folder.parents) if one.exists())
    return shutil.disk_usage(existing).free
