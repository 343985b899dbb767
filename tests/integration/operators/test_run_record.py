"""Retention and reconciliation that a page starts: one at a time, whatever fails around them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from redis.asyncio import Redis

from sendoff.context import Context
from sendoff.errors import Conflict, Unavailable
from sendoff.operators.installation import reconciliation_runs, retention_runs, run_record
from sendoff.operators.installation.reconciliation_runs import ReconciliationRuns
from sendoff.operators.installation.retention_runs import RetentionRuns
from tests.support.app_fixture import ACTOR, AppFixture, open_app

Runs = Callable[[Context], RetentionRuns | ReconciliationRuns]
RECORDS: dict[Runs, run_record.RunRecord] = {
    RetentionRuns: retention_runs.RECORD,
    ReconciliationRuns: reconciliation_runs.RECORD,
}
WORK: dict[Runs, str] = {
    RetentionRuns: "sendoff.operators.installation.retention_runs.purge_expired",
    ReconciliationRuns: "sendoff.operators.installation.reconciliation_runs.reconcile",
}
both = pytest.mark.parametrize("runs", [RetentionRuns, ReconciliationRuns])


@pytest.fixture
async def app(sqlite_url: str, valkey_url: str) -> AsyncIterator[AppFixture]:
    async with open_app(sqlite_url, redis_url=valkey_url) as opened:
        yield opened


class Endless:
    """Work that goes on until it is cancelled, and then takes a while to end, as a transaction that rolls back does."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0
        self.has_begun = asyncio.Event()

    async def __call__(self, *_: object, **__: object) -> None:
        self.begun += 1
        self.has_begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            for _round in range(20):
                await asyncio.sleep(0)
            self.ended += 1


async def start(app: AppFixture, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> tuple[Endless, Redis]:
    """Work that a run of this process has begun."""
    work = Endless()
    monkeypatch.setattr(WORK[runs], work)
    await app.context.service(runs).start(ACTOR)
    await asyncio.wait_for(work.has_begun.wait(), 30)
    return work, app.context.redis


@both
async def test_no_second_run_begins_although_redis_lost_the_key_and_the_first_ends_before_the_process(
    app: AppFixture, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, redis = await start(app, runs, monkeypatch)
    await redis.delete(app.context.settings.redis_key(RECORDS[runs].running_key))
    with pytest.raises(Conflict, match=f"^{RECORDS[runs].name.capitalize()} is already running"):
        await app.context.service(runs).start(ACTOR)
    await app.context.service(runs).aclose()
    assert (work.begun, work.ended) == (1, 1)


@both
async def test_a_run_that_could_not_be_written_to_the_audit_log_may_be_started_again_at_once(
    app: AppFixture, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise Unavailable("the database does not answer")

    with monkeypatch.context() as failing:
        failing.setattr(run_record, "write_audit", fail)
        with pytest.raises(Unavailable):
            await app.context.service(runs).start(ACTOR)
    work, _ = await start(app, runs, monkeypatch)
    assert work.begun == 1
