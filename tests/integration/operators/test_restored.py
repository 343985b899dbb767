"""After a restore: what the log knows and the database does not."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from sendoff.accounts import organizations
from sendoff.errors import Invalid
from sendoff.ids import new_event_id, new_id
from sendoff.operators.installation.restored import MARGIN, audit_restore
from sendoff.publishing.publish import AcceptedEvent
from tests.support.app_fixture import ACTOR, START, AppFixture, open_app
from tests.support.receiver import Receiver

LATER = START + timedelta(minutes=10)


def line(event: str, at: datetime = LATER, **fields: Any) -> str:
    return json.dumps({"event": event, "timestamp": at.isoformat().replace("+00:00", "Z"), "level": "info", **fields})


def attempt(event: AcceptedEvent, delivery: str, outcome: str = "attempt_succeeded", **fields: Any) -> str:
    described = {
        "event_id": event.id,
        "event_type": event.type,
        "delivery": delivery,
        "endpoint": "e",
        "request_id": "r",
    }
    return line(outcome, **{**described, "organization": event.organization_id, **fields})


def unknown_event(app: AppFixture) -> AcceptedEvent:
    return AcceptedEvent(new_event_id(), app.principal.organization_id, "upload.completed", [])


async def test_events_that_only_receivers_know_are_listed_with_where_they_went(database_url: str) -> None:
    async with open_app(database_url) as app:
        event = unknown_event(app)
        log = [
            attempt(event, new_id(), "attempt_failed", endpoint="a"),
            attempt(event, new_id(), "attempt_failed", endpoint="b"),
            "2026-04-24T12:44:56Z worker-1 | " + attempt(event, new_id(), endpoint="a"),
            attempt(unknown_event(app), new_id()),
        ]
        report = await audit_restore(app.context, log)
        assert not report.is_clean
        assert report.counts["unknown_events"] == 2
        found = report.unknown_events[0]
        assert (found.event_id, found.request_id) == (event.id, "r")
        assert (found.delivered_to, found.attempted_at) == ({"a"}, {"b"})
        assert (report.counts["attempts_succeeded"], report.counts["attempts_failed"]) == (2, 2)


async def test_deliveries_that_will_come_twice_are_those_that_are_open_here(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url) as app:
        await app.register(receiver.url("/hook"))
        [finished] = await app.publish()
        await app.work()
        [waiting] = await app.publish()
        log = [attempt(event, event.deliveries[0].id) for event in (finished, waiting)]
        log.append(attempt(waiting, waiting.deliveries[0].id, "attempt_failed"))
        report = await audit_restore(app.context, log)
        assert [one.delivery_id for one in report.repeated] == [waiting.deliveries[0].id]
        assert report.unknown_events == []


async def test_changes_that_were_undone_come_with_their_remedy_and_the_urgent_ones_first(database_url: str) -> None:
    async with open_app(database_url) as app:
        known = await organizations.create_organization(app.context, ACTOR, name="Known", credits=None)
        audited: dict[str, Any] = {"actor": "key:od_live_AbCd", "organization": known.id}
        log = [
            line("action_audited", action="endpoint.delete", target="e1", **audited),
            line("action_audited", action="key.revoke", target="k1", **audited),
            line("action_audited", START, action="organization.create", target=known.id, **audited),
        ]
        report = await audit_restore(app.context, log)
        assert [(one.action, one.target) for one in report.undone] == [("key.revoke", "k1"), ("endpoint.delete", "e1")]
        assert "sendoff keys revoke k1" in report.undone[0].remedy


async def test_events_before_the_backup_are_left_out(database_url: str) -> None:
    async with open_app(database_url) as app:
        at = app.clock.now()
        report = await audit_restore(app.context, [])
        assert abs(report.restored_to - at) < timedelta(seconds=1) or report.restored_to > at
        assert report.publish_again_since == report.restored_to - MARGIN
        log = [attempt(unknown_event(app), new_id(), timestamp=(START - timedelta(hours=1)).isoformat())]
        assert (await audit_restore(app.context, log)).is_clean
        far = await audit_restore(app.context, log, restored_to=START - timedelta(hours=2))
        assert far.counts["unknown_events"] == 1


async def test_lists_are_bounded_and_counts_are_not(sqlite_url: str) -> None:
    async with open_app(sqlite_url) as app:
        log = [attempt(unknown_event(app), new_id()) for _ in range(1_200)]
        report = await audit_restore(app.context, log, at_most=10)
        assert (len(report.unknown_events), report.counts["unknown_events"]) == (10, 1_200)


@pytest.mark.parametrize(
    "noise",
    [
        "",
        "not JSON",
        "{broken",
        "[1]",
        '{"event": "attempt_succeeded"}',
        '{"timestamp": 7}',
        "null",
        '{"a": "\\ud800"}',
    ],
)
async def test_other_lines_are_passed_over(sqlite_url: str, noise: str) -> None:
    async with open_app(sqlite_url) as app:
        hostile = attempt(unknown_event(app), "'; DROP TABLE events", timestamp=LATER.isoformat())
        report = await audit_restore(app.context, [noise, hostile, attempt(unknown_event(app), new_id())])
        assert report.counts["unknown_events"] == 1


async def test_a_log_without_times_is_refused_with_what_to_do(sqlite_url: str) -> None:
    async with open_app(sqlite_url) as app:
        with pytest.raises(Invalid) as refused:
            await audit_restore(app.context, ["2026-04-24 [info] attempt_succeeded event_id=evt_1"])
        assert "SENDOFF_LOG_FORMAT=json" in refused.value.message
