"""Operational events: each is committed with the change that it tells of, once, and none comes of an alert itself."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from sendoff.accounts.organizations import create_organization
from sendoff.context import Context
from sendoff.delivery.pipeline import claim, deliver
from sendoff.delivery.record import record
from sendoff.endpoints import manage
from sendoff.endpoints.fields import NewAlertEndpoint, NewEndpoint
from sendoff.endpoints.secrets import rotate_secret
from sendoff.endpoints.state import mark_deleted
from sendoff.errors import Unavailable, UnsafeUrl
from sendoff.operators import actions, alert_endpoints
from sendoff.operators.installation.reconcile import reconcile
from sendoff.operators.replays.replay import Selection, start_replay, tick_replay
from sendoff.policy.operational_events import OperationalEventType
from sendoff.policy.states import EndpointState
from sendoff.publishing.dead_letter_rate import watch_dead_letters
from sendoff.publishing.operational_events import publish_operational_events
from sendoff.publishing.publish import NewEvent
from sendoff.store.queries import operational_events
from sendoff.store.queries.traffic.dead_letters import DeadLetterFilter
from sendoff.store.tables import Endpoint, OperationalEvent
from tests.support.app_fixture import ACTOR, AppFixture, open_app
from tests.support.query_counter import count_queries
from tests.support.receiver import Receiver

COMPLETED = NewEvent("upload.completed", b"{}")
NO_RETRIES: dict[str, Any] = {"retry_schedule": "none"}


async def alert_at(app: AppFixture, url: str, *events: str, **fields: Any) -> Endpoint:
    new = NewAlertEndpoint(url=url, events=list(events) or None, **fields)
    return (await alert_endpoints.create_alert_endpoint(app.context, ACTOR, new)).endpoint


async def waiting(app: AppFixture) -> list[OperationalEvent]:
    """What was written down and is not published yet."""
    async with app.transaction() as tx:
        return await operational_events.oldest(tx, limit=10_000)


def told(receiver: Receiver, path: str = "/alerts") -> list[dict[str, Any]]:
    """The operational events that came, without the ping."""
    return [body for body in bodies(receiver, path) if body["type"] != "webhook.ping"]


def bodies(receiver: Receiver, path: str) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in receiver.requests(path)]


async def fail(app: AppFixture, times: int) -> None:
    """Publish this number of events and attempt each once, together."""
    accepted = await app.publish(*[COMPLETED] * times)
    await attempt(app, [one for event in accepted for one in event.delivery_ids])


async def attempt(app: AppFixture, delivery_ids: list[str]) -> None:
    claims = await claim(app.context, delivery_ids)
    await record(app.context, [await deliver(app.context, one) for one in claims.to_send])


async def test_the_life_of_an_endpoint_is_told_in_its_order_each_change_once(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url, disable_after_failures=4, public_url="https://send.example.com") as app:
        await alert_at(app, receiver.url("/alerts"))
        endpoint = (await app.register(receiver.url("/hook?token=hush"))).endpoint
        own = app.principal.organization_id
        change = manage.EndpointChange({"description": "New"})
        await manage.update_endpoint(app.context, own, ACTOR, endpoint.id, change)
        await rotate_secret(app.context, own, ACTOR, endpoint.id)
        receiver.program("/hook", 503)
        for _ in range(4):
            await fail(app, 1)
            app.clock.advance(2)
        await actions.switch_endpoint(app.context, ACTOR, endpoint.id, on=True)
        receiver.program("/hook", 200)
        await fail(app, 1)
        await manage.delete_endpoint(app.context, own, ACTOR, endpoint.id)
        await app.work()
        events = told(receiver)
        assert Counter(event["type"] for event in events) == {
            "endpoint.created": 1,
            "endpoint.updated": 2,
            "secret.rotated": 1,
            "endpoint.failing": 1,
            "endpoint.disabled": 1,
            "delivery.dead_lettered": 4,
            "endpoint.recovered": 1,
            "endpoint.deleted": 1,
        }
        by_type = {event["type"]: event["data"] for event in events}
        failing, disabled, recovered = (by_type[f"endpoint.{name}"] for name in ("failing", "disabled", "recovered"))
        assert (failing["consecutive_failures"], disabled["consecutive_failures"]) == (2, 4)
        assert (disabled["reason"], disabled["actor"], disabled["last_response_status"]) == (
            "too_many_failures",
            "worker",
            503,
        )
        assert disabled["last_error"].startswith("The receiver answered 503")
        assert recovered["unhealthy_since"] < recovered["last_success_at"]
        for data in by_type.values():
            assert (data["organization_id"], data["organization_name"]) == (own, "Acme")
            assert data["endpoint_id"] == endpoint.id
            assert data["dashboard"].startswith("https://send.example.com/dashboard/")
        letters = [event["data"] for event in events if event["type"] == "delivery.dead_lettered"]
        assert Counter(letter["reason"] for letter in letters) == {"endpoint_disabled": 1, "endpoint_deleted": 3}
        assert len({letter["dead_letter_id"] for letter in letters}) == 4
        assert "hush" not in json.dumps(events)
        updated = next(event["data"] for event in events if event["type"] == "endpoint.updated")
        assert (updated["before"], updated["after"]) == ({"description": None}, {"description": "New"})
        assert (await reconcile(app.context)).is_clean


async def test_a_change_that_is_rolled_back_leaves_no_event(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url) as app:
        await alert_at(app, receiver.url("/alerts"))
        endpoint = (await app.register(receiver.url("/hook"))).endpoint
        before = len(await waiting(app))
        with pytest.raises(ZeroDivisionError):
            await _delete_and_fail(app, endpoint.id)
        assert len(await waiting(app)) == before
        async with app.transaction() as tx:
            kept = await tx.get_one(Endpoint, endpoint.id)
        assert kept.state == EndpointState.ACTIVE


async def _delete_and_fail(app: AppFixture, endpoint_id: str) -> None:
    async with app.context.database.write() as tx:
        found = await manage.find_endpoint(tx, app.principal.organization_id, endpoint_id, lock=True)
        await mark_deleted(tx, ACTOR, found, app.clock.now())
        raise ZeroDivisionError


async def test_an_attempt_whose_lease_was_lost_tells_nothing(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url, disable_after_failures=2, **NO_RETRIES) as app:
        await alert_at(app, receiver.url("/alerts"), "delivery.*", "endpoint.failing")
        await app.register(receiver.url("/hook"))
        receiver.program("/hook", 500)
        [event] = await app.publish()
        [claimed] = (await claim(app.context, event.delivery_ids)).to_send
        finished = await deliver(app.context, claimed)
        lost = replace(finished, claim=replace(claimed, lease_token="0199c1f2-6f1e-7c3a-8f43-1f0c2f6d9a11"))
        await record(app.context, [lost])
        assert await waiting(app) == []
        await record(app.context, [finished])
        assert [one.type for one in await waiting(app)] == ["delivery.dead_lettered", "endpoint.failing"]


async def test_committed_events_are_published_once_by_the_next_process(database_url: str, receiver: Receiver) -> None:
    """The process that made the change, or published half of it, may have been killed right after."""
    async with open_app(database_url) as app:
        await alert_at(app, receiver.url("/alerts"), "endpoint.created")
        for number in range(5):
            await app.register(receiver.url(f"/hook{number}"))
        broken = replace(app.context)
        broken.__dict__["hot"] = _DiesAfter(app.context.hot)
        with pytest.raises(Unavailable):
            await publish_operational_events(broken)
        assert len(await waiting(app)) == 5
        await asyncio.gather(*(publish_operational_events(app.context) for _ in range(3)))
        assert await waiting(app) == []
        await app.work()
        assert len(told(receiver)) == 5
        assert len({event["id"] for event in told(receiver)}) == 5


class _DiesAfter:
    """Inserts the deliveries, and then the process ends before its commit."""

    def __init__(self, hot: Any) -> None:
        self._hot = hot

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hot, name)

    async def accept(self, *arguments: Any, **options: Any) -> None:
        await self._hot.accept(*arguments, **options)
        raise ConnectionAbortedError


async def test_without_alert_endpoints_nothing_is_written_and_recording_costs_no_statement_more(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url, disable_after_failures=2, **NO_RETRIES) as app:
        await app.register(receiver.url("/hook"))
        receiver.program("/hook", 500)
        [event] = await app.publish()
        claims = await claim(app.context, event.delivery_ids)
        finished = [await deliver(app.context, one) for one in claims.to_send]
        with count_queries() as spent:
            await record(app.context, finished)
        assert (spent.statements, spent.commits) == ((1, 1) if not app.context.database.is_sqlite else (0, 0))
        assert await waiting(app) == []


async def test_alerts_that_fail_make_no_alerts_and_do_not_end_alerting(sqlite_url: str, receiver: Receiver) -> None:
    async with open_app(sqlite_url, disable_after_failures=3, **NO_RETRIES) as app:
        alert = await alert_at(app, receiver.url("/alerts"))
        receiver.program("/alerts", 500)
        for number in range(5):
            await app.register(receiver.url(f"/hook{number}"))
        await app.work()
        assert len(told(receiver)) == 5
        assert await waiting(app) == []
        async with app.transaction() as tx:
            found = await tx.get_one(Endpoint, alert.id)
        assert (found.state, found.consecutive_failures) == (EndpointState.ACTIVE, 5)
        change = manage.EndpointChange({"description": "changed"})
        await alert_endpoints.update_alert_endpoint(app.context, ACTOR, alert.id, change)
        await alert_endpoints.delete_alert_endpoint(app.context, ACTOR, alert.id)
        assert await waiting(app) == []


async def test_an_alert_endpoint_gets_the_types_and_the_organizations_that_it_asked_for(
    sqlite_url: str, receiver: Receiver
) -> None:
    async with open_app(sqlite_url) as app:
        own = app.principal.organization_id
        await alert_at(app, receiver.url("/mine"), "endpoint.*", organization_ids=[own])
        await alert_at(app, receiver.url("/letters"), "delivery.*")
        await alert_at(app, receiver.url("/csv"), filter="data.endpoint_url.endsWith('csv')")
        endpoint = (await app.register(receiver.url("/csv-hook.csv"))).endpoint
        other = (await create_organization(app.context, ACTOR, name="Other", credits=1)).id
        await app.register(receiver.url("/hook"))
        theirs = manage.EndpointChange({"description": "theirs"})
        stranger = await register_for(app, other, receiver.url("/theirs"))
        await manage.update_endpoint(app.context, other, ACTOR, stranger.id, theirs)
        await app.work()
        assert [event["data"]["organization_id"] for event in told(receiver, "/mine")] == [own, own]
        assert told(receiver, "/letters") == []
        assert [event["data"]["endpoint_id"] for event in told(receiver, "/csv")] == [endpoint.id]


async def register_for(app: AppFixture, organization_id: str, url: str) -> Endpoint:
    owner = replace(app.principal, organization_id=organization_id)
    return (await manage.register_endpoint(app.context, owner, ACTOR, NewEndpoint(url=url))).endpoint


async def test_a_replay_that_ends_is_told_with_its_counts(sqlite_url: str, receiver: Receiver) -> None:
    async with open_app(sqlite_url, **NO_RETRIES) as app:
        await alert_at(app, receiver.url("/alerts"), "replay.finished")
        await app.register(receiver.url("/hook"))
        receiver.program("/hook", 500, 200)
        await app.publish()
        await app.work()
        report = await start_replay(app.context, ACTOR, Selection(DeadLetterFilter()), rate=100)
        for _ in range(3):
            app.clock.advance(1)
            await tick_replay(app.context, report.replay.id)
            await app.work()
        [event] = told(receiver)
        assert {name: event["data"][name] for name in ("replay_id", "state", "total", "succeeded", "failed")} == {
            "replay_id": report.replay.id,
            "state": "completed",
            "total": 1,
            "succeeded": 1,
            "failed": 0,
        }


async def test_a_storm_makes_two_messages_for_people_and_one_event_each_for_programs(
    sqlite_url: str, receiver: Receiver
) -> None:
    async with open_app(sqlite_url, disable_after_failures=20, alert_group_seconds=300) as app:
        await alert_at(app, receiver.url("/alerts"), "delivery.dead_lettered")
        await alert_at(app, receiver.url("/slack"), "delivery.dead_lettered", dialect="slack")
        await app.register(receiver.url("/hook"))
        receiver.program("/hook", 410)
        await app.publish(*[COMPLETED] * 60)
        await app.work()
        assert len(told(receiver)) == 60
        assert len(bodies(receiver, "/slack")) == 2  # the ping and the first
        app.clock.advance(299)
        await app.work()
        assert len(bodies(receiver, "/slack")) == 2
        app.clock.advance(1)
        await app.work()
        assert len(bodies(receiver, "/slack")) == 3
        summary = bodies(receiver, "/slack")[-1]
        assert summary["text"] == "59 more deliveries were given up"
        assert "/hook" in json.dumps(summary["blocks"])
        app.clock.advance(300)
        await app.work()
        async with app.transaction() as tx:
            assert await operational_events.groups(tx) == {}


async def test_events_that_a_filter_refuses_are_not_in_a_group_either(sqlite_url: str, receiver: Receiver) -> None:
    async with open_app(sqlite_url) as app:
        only = "data.endpoint_url.contains('csv')"
        await alert_at(app, receiver.url("/slack"), "endpoint.created", dialect="slack", filter=only)
        for path in ("/a", "/b.csv", "/c", "/d.csv", "/e"):
            await app.register(receiver.url(path))
        await app.work()
        app.clock.advance(300)
        await app.work()
        _ping, first, together = bodies(receiver, "/slack")
        assert "/b.csv" in first["text"]
        assert together["text"] == "1 more endpoint was registered"
        assert "/d.csv" in json.dumps(together)


async def test_internal_addresses_are_for_alert_endpoints_alone_and_only_if_a_setting_says_so(
    sqlite_url: str, receiver: Receiver
) -> None:
    closed: dict[str, Any] = {"dangerously_allow_networks": "", "dangerously_allow_http": False}
    async with open_app(sqlite_url, **closed) as app:
        with pytest.raises(UnsafeUrl):
            await alert_at(app, receiver.url("/alerts"))
    async with open_app(sqlite_url, **closed, alert_allow_networks="127.0.0.0/8") as app:
        with pytest.raises(UnsafeUrl, match="https"):
            await alert_at(app, receiver.url("/alerts"))
    async with open_app(sqlite_url, **closed, alert_allow_networks="127.0.0.0/8", alert_allow_http=True) as app:
        await alert_at(app, receiver.url("/alerts"), "replay.finished")
        with pytest.raises(UnsafeUrl):
            await app.register(receiver.url("/hook"))
        await start_replay(app.context, ACTOR, Selection(DeadLetterFilter()))
        await app.work()
        assert [event["type"] for event in told(receiver)] == ["replay.finished"]


async def test_too_many_dead_letters_within_an_hour_are_told_once_an_hour(
    database_url: str, receiver: Receiver
) -> None:
    async with open_app(database_url, alert_dead_letters_per_hour=5, **NO_RETRIES) as app:
        await alert_at(app, receiver.url("/alerts"), "dead_letters.*")
        await app.register(receiver.url("/hook"))
        receiver.program("/hook", 500)
        await app.publish(*[COMPLETED] * 5)
        await app.work()
        await watch_dead_letters(app.context)
        assert await waiting(app) == []
        await app.publish()
        await app.work()
        await asyncio.gather(*(watch_dead_letters(app.context) for _ in range(3)))
        [event] = await waiting(app)
        assert event.facts is not None
        assert (event.type, event.facts["count"]) == (OperationalEventType.DEAD_LETTERS_EXCEEDED, 6)
        await app.work()
        app.clock.advance(3599)
        await watch_dead_letters(app.context)
        assert await waiting(app) == []
        [body] = told(receiver)
        assert body["data"]["endpoints"][0]["count"] == 6


async def test_failures_must_spread_over_the_time_that_is_set_over_restarts_and_workers(
    database_url: str, receiver: Receiver
) -> None:
    settings: dict[str, Any] = {"disable_after_failures": 4, "disable_after_seconds": 600}
    async with open_app(database_url, **settings) as app:
        endpoint = (await app.register(receiver.url("/hook"))).endpoint
        receiver.program("/hook", 503)
        began = app.clock.now()
        await fail(app, 10)
        found = await look(app, endpoint.id)
        assert (found.state, found.first_failure_at, found.unhealthy_since) == (EndpointState.ACTIVE, began, began)
        app.clock.advance(599)
        await fail(app, 1)
        assert (await look(app, endpoint.id)).state == EndpointState.ACTIVE
        app.clock.advance(1)
        another = restarted(app.context)
        accepted = await app.publish()
        claims = await claim(another, [one for event in accepted for one in event.delivery_ids])
        await record(another, [await deliver(another, one) for one in claims.to_send])
        found = await look(app, endpoint.id)
        assert (found.state, found.consecutive_failures) == (EndpointState.DISABLED, 12)
        await actions.switch_endpoint(app.context, ACTOR, endpoint.id, on=True)
        await fail(app, 3)
        app.clock.advance(700)
        receiver.program("/hook", 200)
        await fail(app, 1)
        found = await look(app, endpoint.id)
        assert (found.consecutive_failures, found.first_failure_at, found.unhealthy_since) == (0, None, None)


async def test_a_burst_is_told_as_failing_and_as_disabled_once_each(database_url: str, receiver: Receiver) -> None:
    async with open_app(database_url, disable_after_failures=20) as app:
        await alert_at(app, receiver.url("/alerts"), "endpoint.*")
        endpoint = (await app.register(receiver.url("/hook"))).endpoint
        receiver.program("/hook", 503)
        await fail(app, 20)
        assert (await look(app, endpoint.id)).state == EndpointState.DISABLED
        types = [event.type for event in await waiting(app)]
        assert types == ["endpoint.created", "endpoint.failing", "endpoint.disabled"]


def restarted(context: Context) -> Context:
    """A process that remembers nothing."""
    return replace(context, _services={})


async def look(app: AppFixture, endpoint_id: str) -> Endpoint:
    async with app.transaction() as tx:
        return await tx.get_one(Endpoint, endpoint_id)
