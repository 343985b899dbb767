"""Reconciling: an undamaged database is clean, and each kind of damage, made by hand, is found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, text

from sendoff.delivery.pipeline import claim
from sendoff.operators.installation.reconcile import Reconciliation, reconcile
from sendoff.operators.replays.replay import Selection, start_replay, tick_replay
from sendoff.publishing.publish import NewEvent
from sendoff.store.queries.installation.reconciliation import WALKS
from sendoff.store.queries.traffic import delivery_history
from sendoff.store.queries.traffic.dead_letters import DeadLetterFilter
from sendoff.store.tables import Attempt, DeadLetter, Delivery, Endpoint, Event, Replay, ReplayItem
from tests.support.app_fixture import ACTOR, AppFixture, open_app
from tests.support.receiver import Receiver

LONG_AGO = "2026-04-24T00:00:00.000000+00:00"
MODELS: tuple[Any, ...] = (Event, Endpoint, Delivery, Attempt, DeadLetter, Replay, ReplayItem)
TABLES = [model.__table__ for model in MODELS]
NOBODY = "00000000-0000-7000-8000-000000000000"


@dataclass(frozen=True)
class Damage:
    """Statements that break something, with names of rows in braces, and what must be found then."""

    kinds: tuple[str, ...]
    statements: tuple[str, ...]


def damage(kinds: str, *statements: str) -> Damage:
    return Damage(tuple(kinds.split()), statements)


DAMAGES = {
    "a delivery vanished": damage(
        "attempts_without_delivery delivery_count", "DELETE FROM deliveries WHERE id = '{delivered}'"
    ),
    "a delivery was never made": damage("delivery_count", "DELETE FROM deliveries WHERE id = '{pending}'"),
    "a delivery too many": damage(
        "delivery_count endpoint_missing",
        "INSERT INTO deliveries (id, event_id, endpoint_id, organization_id, state, attempt_count, due_at,"
        " created_at) SELECT '{nobody}', event_id, '{nobody}', organization_id, state, 0, due_at,"
        " created_at FROM deliveries WHERE id = '{pending}'",
    ),
    "an event vanished": damage("event_missing", "DELETE FROM events WHERE id = '{event}'"),
    "an attempt vanished": damage(
        "attempt_numbers", "DELETE FROM attempts WHERE delivery_id = '{dead}' AND number = 1"
    ),
    "an attempt's number jumps": damage(
        "attempt_numbers", "UPDATE attempts SET number = 7 WHERE delivery_id = '{dead}' AND number = 2"
    ),
    "an attempt is not counted": damage(
        "attempt_numbers", "UPDATE deliveries SET attempt_count = 1 WHERE id = '{dead}'"
    ),
    "a failed delivery counts as delivered": damage(
        "delivered_unproven", "UPDATE attempts SET response_status = 500 WHERE delivery_id = '{delivered}'"
    ),
    "an unsent delivery counts as delivered": damage(
        "delivered_unproven", "UPDATE deliveries SET state = 'delivered' WHERE id = '{pending}'"
    ),
    "a dead letter vanished": damage("dead_without_letter", "DELETE FROM dead_letters WHERE delivery_id = '{dead}'"),
    "a dead letter counts as replayed": damage(
        "dead_without_letter", "UPDATE dead_letters SET state = 'replayed' WHERE delivery_id = '{dead}'"
    ),
    "a delivery is never due": damage("never_due", "UPDATE deliveries SET due_at = NULL WHERE id = '{pending}'"),
    "a state that nobody knows": damage("never_due", "UPDATE deliveries SET state = 'lost' WHERE id = '{pending}'"),
    "in flight without a lease": damage(
        "never_due", "UPDATE deliveries SET lease_token = NULL WHERE id = '{in_flight}'"
    ),
    "in flight without an end": damage(
        "never_due", "UPDATE deliveries SET leased_until = NULL WHERE id = '{in_flight}'"
    ),
    "a lease that ended long ago": damage(
        "lease_expired", "UPDATE deliveries SET leased_until = '{long_ago}' WHERE id = '{in_flight}'"
    ),
    "due for long": damage("overdue", "UPDATE deliveries SET due_at = '{long_ago}' WHERE id = '{pending}'"),
    "waiting for an endpoint that is off": damage(
        "waits_for_closed_endpoint",
        "UPDATE endpoints SET state = 'paused', updated_at = '{long_ago}'",
        "UPDATE deliveries SET created_at = '{long_ago}' WHERE id = '{pending}'",
    ),
    "a dead letter of a delivery on its way": damage(
        "open_letter_of_live_delivery",
        "UPDATE deliveries SET state = 'held', replay_id = NULL WHERE id = '{dead}'",
    ),
    "a replay that miscounts": damage("replay_total", "UPDATE replays SET total = total + 1"),
    "a completed replay with something left": damage(
        "replay_item_adrift replay_total", "UPDATE replay_items SET state = 'sent' WHERE delivery_id = '{dead}'"
    ),
    "on its way for a replay that does not know": damage(
        "replay_unaware", "UPDATE deliveries SET replay_id = '{replay}' WHERE id = '{pending}'"
    ),
}


@pytest.fixture(autouse=True)
def _short_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges of two rows, so that there are many."""
    monkeypatch.setattr(
        "sendoff.operators.installation.reconcile.WALKS", tuple(replace(scan, size=2) for scan in WALKS)
    )


async def inhabit(app: AppFixture, receiver: Receiver) -> dict[str, str]:
    """Deliveries in every state, a replay that is over, and their names."""
    await app.register(receiver.url("/well"))
    await app.register(receiver.url("/ill"))
    receiver.program("/ill", 500)
    [event, _, _] = await app.publish(*[NewEvent("upload.completed", b"{}") for _ in range(3)])
    await app.work()
    replay = (await start_replay(app.context, ACTOR, Selection(DeadLetterFilter()))).replay
    for _ in range(2):
        app.clock.advance(1)
        await tick_replay(app.context, replay.id)
        await app.work()
    [later] = await app.publish()
    app.queue.deliveries.clear()
    in_flight, pending = later.delivery_ids
    assert len((await claim(app.context, [in_flight])).to_send) == 1
    async with app.transaction() as tx:
        named = {row.state: row.id for row in await delivery_history.of_event(tx, event.id)}
    return {
        "nobody": NOBODY,
        "long_ago": LONG_AGO,
        "event": event.id,
        "delivered": named["delivered"],
        "dead": named["dead"],
        "in_flight": in_flight,
        "pending": pending,
        "replay": replay.id,
    }


async def copy_all(app: AppFixture) -> dict[Any, list[Any]]:
    """Every row of the tables that can be damaged."""
    async with app.transaction() as tx:
        return {table: [dict(row) for row in (await tx.execute(select(table))).mappings()] for table in TABLES}


async def restore(app: AppFixture, whole: dict[Any, list[Any]]) -> None:
    """Make it as it was."""
    async with app.context.database.write() as tx:
        for table, rows in whole.items():
            await tx.execute(delete(table))
            await tx.execute(insert(table), rows)


async def look_closely(app: AppFixture) -> Reconciliation:
    return await reconcile(app.context, grace=timedelta(minutes=10))


async def test_a_sound_installation_is_clean_and_every_row_is_read_once(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url, retry_schedule="none") as app:
        await inhabit(app, receiver)
        result = await look_closely(app)
        assert (result.is_clean, result.findings) == (True, [])
        assert result.checked == {"events": 4, "deliveries": 8, "dead_letters": 6, "replays": 1}


async def test_every_damage_is_found_and_nothing_else(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url, retry_schedule="none") as app:
        names = await inhabit(app, receiver)
        whole = await copy_all(app)
        for name, done in DAMAGES.items():
            async with app.context.database.write() as tx:
                for statement in done.statements:
                    await tx.execute(text(statement.format(**names)))
            result = await look_closely(app)
            assert sorted(result.counts) == sorted(done.kinds), name
            assert all(finding.ids for finding in result.findings), name
            await restore(app, whole)
        assert (await look_closely(app)).is_clean


def test_every_check_has_a_damage_that_it_finds() -> None:
    known = {check.kind for scan in WALKS for check in scan.checks}
    assert known == {kind for one in DAMAGES.values() for kind in one.kinds}


async def test_much_damage_of_a_kind_is_counted_and_not_all_kept(sqlite_url: str, receiver: Receiver) -> None:
    async with open_app(sqlite_url, retry_schedule="none") as app:
        await inhabit(app, receiver)
        async with app.context.database.write() as tx:
            await tx.execute(text("DELETE FROM dead_letters"))
        result = await reconcile(app.context, limit_per_check=2)
        assert result.counts == {"dead_without_letter": 3}
        assert len(result.findings) == 2


async def test_overdue_deliveries_are_a_finding_and_waiting_ones_are_not(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url, retry_schedule="none") as app:
        await inhabit(app, receiver)
        app.clock.advance(9 * 60)
        assert (await look_closely(app)).is_clean
        app.clock.advance(2 * 60)
        assert (await look_closely(app)).counts == {"lease_expired": 1, "overdue": 1}
        await app.work()
        assert (await look_closely(app)).is_clean
