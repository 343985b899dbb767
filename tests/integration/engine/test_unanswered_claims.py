"""A claim that is committed while its answer is lost."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from sendoff.delivery import pipeline
from sendoff.delivery.dispatcher import Dispatcher
from sendoff.delivery.endpoint_bounds import hold_to_bounds
from sendoff.delivery.pipeline import claim, claim_held
from sendoff.errors import Unavailable
from sendoff.policy.delivery.admission import Quotas
from sendoff.recovery.unanswered_claims import UnansweredClaims
from sendoff.server_urls.database import check_database_url
from sendoff.store.engine.database import Database
from tests.support.app_fixture import open_app
from tests.support.polling import eventually
from tests.support.receiver import Receiver
from worker.sweeper import run_sweeps


@pytest.mark.parametrize("is_held", [False, True], ids=["due", "held"])
async def test_deliveries_claimed_without_an_answer_are_due_again_at_once(
    database_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, *, is_held: bool
) -> None:
    """Timeline: claim three deliveries, and lose the answer; give back what has none; claim them once more.

    What this proves: they need not wait for the lease to end, and what another worker claims meanwhile is left to it.
    """
    async with open_app(database_url) as app:
        await app.register(receiver.url("/hook"))
        ids = [delivery_id for _ in range(3) for event in await app.publish() for delivery_id in event.delivery_ids]
        [others] = (await claim(app.context, ids[:1])).to_send
        hot, name = app.context.hot, "claim_held" if is_held else "claim_due"
        committed = getattr(hot, name)

        async def lost(*given: Any, **options: Any) -> Any:
            await committed(*given, **options)
            raise Unavailable("The database cannot be reached; try again in a moment.")

        if is_held:
            await claim(app.context, ids[1:], quotas=Quotas({}, default=0, restricted=0))
        with monkeypatch.context() as patched:
            patched.setattr(hot, name, lost)
            with pytest.raises(Unavailable):
                await (claim_held(app.context, {others.endpoint.id: 5}) if is_held else claim(app.context, ids))
        assert not (await claim(app.context, ids)).to_send
        await UnansweredClaims.of(app.context).release()
        assert {one.delivery.id for one in (await claim(app.context, ids)).to_send} == set(ids[1:])
        await UnansweredClaims.of(app.context).release()
        assert not (await claim(app.context, ids)).to_send


async def test_a_lease_that_was_extended_is_given_back_too(
    database_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_app(database_url, lease_seconds=20, attempt_timeout_seconds=10) as app:
        await app.register(receiver.url("/hook"), timeout_seconds=30)
        [event] = await app.publish()

        async def lost(*given: Any, **options: Any) -> Any:
            await hold_to_bounds(*given, **options)
            raise Unavailable("The database cannot be reached; try again in a moment.")

        with monkeypatch.context() as patched:
            patched.setattr(pipeline, "hold_to_bounds", lost)
            with pytest.raises(Unavailable):
                await claim(app.context, event.delivery_ids)
        app.clock.advance(25)  # the lease as it was claimed would have ended
        assert not (await claim(app.context, event.delivery_ids)).to_send
        await UnansweredClaims.of(app.context).release()
        assert len((await claim(app.context, event.delivery_ids)).to_send) == 1


async def test_a_claim_that_found_no_server_leaves_nothing_to_give_back(sqlite_url: str) -> None:
    async with open_app(sqlite_url) as app:
        unreachable = Database.open(check_database_url("postgresql://sendoff@127.0.0.1:1/sendoff"))
        context = replace(app.context, database=unreachable)
        with pytest.raises(Unavailable):
            await claim_held(context, {app.principal.organization_id: 1})
        await UnansweredClaims.of(context).release()  # which would ask the database
        await unreachable.close()


async def test_a_defect_in_giving_back_is_told_by_a_name_of_its_own(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def break_down(_self: UnansweredClaims) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(UnansweredClaims, "release", break_down)
    async with open_app(sqlite_url, redis_url="redis://127.0.0.1:1") as app:
        consumers: Any = SimpleNamespace(is_unhealthy=False)
        with capture_logs() as logs:
            sweeping = asyncio.create_task(run_sweeps(app.context, Dispatcher(app.context), consumers))
            await eventually(lambda: logs or sweeping.done(), what="a line of the log")
            sweeping.cancel()
            await asyncio.gather(sweeping, return_exceptions=True)
        assert {one["event"] for one in logs} == {"release_failed"}
