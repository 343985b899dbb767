"""The log line of an attempt: which attempts get one, and what it says."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from sendoff.audit import Actor
from sendoff.operators.actions import retry_delivery
from sendoff.operators.replays.replay import Selection, cancel_replay, start_replay
from sendoff.store.queries.traffic.dead_letters import DeadLetterFilter
from tests.support.app_fixture import ACTOR, AppFixture, open_app
from tests.support.receiver import Receiver


async def lines_of(app: AppFixture, receiver: Receiver, *answers: int) -> list[Any]:
    """The lines of a delivery that the receiver answers so, each attempt after its wait."""
    await app.register(receiver.url("/hook"))
    receiver.program("/hook", *answers)
    with capture_logs() as logs:
        await app.publish()
        for _ in answers:
            await app.work()
            app.clock.advance(61)
    return [line for line in logs if line["event"].startswith("attempt_")]


@pytest.mark.parametrize(
    ("asked", "events"),
    [
        ("none", []),
        ("failed", ["attempt_failed"]),
        ("all", ["attempt_failed", "attempt_succeeded"]),
        ("sample:0.01", ["attempt_failed", "attempt_succeeded"]),  # the random numbers of the fixture are all 0
    ],
)
async def test_attempts_get_a_line_as_the_setting_says(
    asked: str, events: list[str], sqlite_url: str, receiver: Receiver
) -> None:
    async with open_app(sqlite_url, retry_schedule="60s", log_attempts=asked) as app:
        lines = await lines_of(app, receiver, 500, 200)
    assert [line["event"] for line in lines] == events
    for line in lines:
        assert line["delivery"]
        assert line["event_id"].startswith("evt_")
        assert {"endpoint", "organization", "event_type", "attempt", "outcome", "status", "milliseconds"} <= set(line)


async def test_the_attempt_that_disables_its_endpoint_tells_of_no_other(sqlite_url: str, receiver: Receiver) -> None:
    async with open_app(sqlite_url, retry_schedule="60s,60s", disable_after_failures=2) as app:
        first, last = await lines_of(app, receiver, 500, 500)
    assert (first["dead"], first["next_attempt_at"] is None) == (None, False)
    assert (last["dead"], last["next_attempt_at"]) == ("endpoint_disabled", None)


async def test_replays_and_actions_get_a_line_that_names_who_asked(sqlite_url: str, receiver: Receiver) -> None:
    async with open_app(sqlite_url, retry_schedule="none") as app:
        await lines_of(app, receiver, 500)
        with capture_logs() as logs:
            started = await start_replay(app.context, Actor("cli:ada"), Selection(DeadLetterFilter()))
            await cancel_replay(app.context, ACTOR, started.replay.id)
            async with app.transaction() as tx:
                delivery_id = (await tx.execute(text("SELECT id FROM deliveries"))).scalar_one()
            await retry_delivery(app.context, ACTOR, delivery_id)
    told = {line["event"]: line for line in logs}
    assert (told["replay_started"]["total"], told["replay_started"]["requested_by"]) == (1, "cli:ada")
    assert (told["replay_finished"]["state"], told["replay_finished"]["replay"]) == ("cancelled", started.replay.id)
    actions = [line["action"] for line in logs if line["event"] == "action_audited"]
    assert actions == ["replay.start", "replay.cancel", "delivery.retry"]
