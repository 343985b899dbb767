"""Statistics: what was accepted, attempted and delivered, counted by processes, folded, and read as series."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from sendoff.clock import SystemClock
from sendoff.errors import Unavailable
from sendoff.idempotency import StoredResponse
from sendoff.maintenance import statistics as maintenance
from sendoff.maintenance.statistics import fold_statistics, purge_statistics
from sendoff.observability import statistics as counting
from sendoff.observability.metrics import REGISTRY
from sendoff.observability.statistics import Statistics
from sendoff.operators.installation.backlog import note_backlog, read_backlog
from sendoff.operators.installation.statistics import Bucket, StatisticsQuery, get_statistics
from sendoff.operators.replays.replay import Selection, start_replay, tick_replay
from sendoff.policy.states import DeliveryState
from sendoff.policy.statistics import SPANS, minute_of
from sendoff.publishing.publish import NewEvent, publish
from sendoff.store.engine.batch import execute
from sendoff.store.queries.installation import backlog
from sendoff.store.queries.installation import statistics as queries
from sendoff.store.queries.traffic import ordering
from sendoff.store.queries.traffic.dead_letters import DeadLetterFilter
from sendoff.store.tables.statistics import STATISTICS
from tests.integration.api.api_fixture import ApiFixture, open_api
from tests.support.app_fixture import ACTOR, START
from tests.support.exchange import Reply
from tests.support.receiver import Receiver

OPERATOR, OWN = "/operator/v1/statistics", "/api/v1/statistics"
MEASURES = ("accepted", "attempts", "failed_attempts", "retries", "delivered", "dead")


@pytest.fixture
async def api(database_url: str, valkey_url: str) -> AsyncIterator[ApiFixture]:
    async with open_api(database_url, valkey_url) as opened:
        yield opened


async def read(api: ApiFixture, path: str = OPERATOR, *, key: str | None = None, **params: Any) -> dict[str, Any]:
    """The answer, once everything that was counted is written."""
    await Statistics.of(api.app.context).flush()
    response = await api.get(path, key=key, params=params)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def counts(sums: dict[str, Any]) -> dict[str, int]:
    """The measures that are not 0."""
    return {name: sums[name] for name in MEASURES if sums[name]}


def by_key(answer: dict[str, Any]) -> dict[str, dict[str, int]]:
    return {next(iter(one["key"].values()), ""): counts(one["totals"]) for one in answer["series"]}


async def deliver_and_fail(api: ApiFixture, receiver: Receiver) -> tuple[str, str]:
    """Three events for two endpoints, one of which answers 500 once for each; the ids of both."""
    good, bad = await api.register(receiver.url("/good")), await api.register(receiver.url("/bad"))
    receiver.program("/bad", 500)
    for _ in range(3):
        await api.publish()
    await api.app.work()
    receiver.program("/bad", 200)
    api.app.clock.advance(60)
    await api.app.work()
    return good["id"], bad["id"]


async def test_sums_agree_with_what_happened_before_and_after_they_are_folded(
    api: ApiFixture, receiver: Receiver
) -> None:
    good, bad = await deliver_and_fail(api, receiver)
    everything = {"accepted": 3, "attempts": 9, "failed_attempts": 3, "retries": 3, "delivered": 6}
    organization = api.app.principal.organization_id
    for _ in range(2):
        assert by_key(await read(api)) == {"": everything}
        assert by_key(await read(api, organization_id=organization)) == {"": everything}
        assert by_key(await read(api, by="organization")) == {organization: everything}
        assert by_key(await read(api, by="event_type")) == {"upload.completed": everything}
        assert by_key(await read(api, by="outcome")) == {
            "ok": {"attempts": 6, "retries": 3, "delivered": 6},
            "server_error": {"attempts": 3, "failed_attempts": 3},
        }
        of_endpoints = {
            bad: {"accepted": 3, "attempts": 6, "failed_attempts": 3, "retries": 3, "delivered": 3},
            good: {"accepted": 3, "attempts": 3, "delivered": 3},
        }
        assert by_key(await read(api, by="endpoint")) == of_endpoints
        assert by_key(await read(api, by="endpoint", organization_id=organization)) == of_endpoints
        assert by_key(await read(api, endpoint_id=bad)) == {"": of_endpoints[bad]}
        assert by_key(await read(api, endpoint_id=bad, by="outcome"))["ok"]["delivered"] == 3
        assert (await read(api, by="endpoint", order="failed_attempts"))["series"][0]["key"] == {"endpoint_id": good}
        await fold_statistics(api.app.context)
        assert await fold_statistics(api.app.context) == 0


async def test_folding_in_parts_writes_the_sums_of_the_whole(api: ApiFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "FOLDED_AT_ONCE", 7)
    context, now = api.app.context, minute_of(START)
    expected: Counter[tuple[str, ...]] = Counter()
    for seed in range(3):  # most sums exist already when the second and the third are added
        dice = random.Random(seed)  # noqa: S311 - the same counts every time
        for _ in range(40):
            owner = dice.randrange(3)
            organization, endpoint = str(UUID(int=owner + 1)), str(UUID(int=10 * (owner + 1) + dice.randrange(3)))
            kind, outcome = dice.choice(("a", "b")), dice.choice(("ok", "timeout"))
            minute = now - dice.randrange(70)
            Statistics.of(context).count_attempt(
                (minute, organization, endpoint, kind, outcome),
                milliseconds=9,
                is_retry=False,
                becomes=DeliveryState.PENDING,
                latency=None,
            )
            for span in SPANS:
                for scope, subject, of_kind, of_outcome in (
                    ("endpoint", endpoint, kind, outcome),
                    ("organization", organization, "", outcome),
                    ("organization", organization, kind, ""),
                    ("all", queries.EVERYTHING, "", outcome),
                    ("all", queries.EVERYTHING, kind, ""),
                ):
                    expected[str(span), scope, subject, str(minute // span * span), of_kind, of_outcome] += 1
        await Statistics.of(context).flush()
        assert await fold_statistics(context) > maintenance.FOLDED_AT_ONCE
        async with context.database.read() as tx:
            rows = (await execute(tx, "SELECT * FROM statistics")).mappings().all()
        key = [column.name for column in STATISTICS.primary_key]
        found = {tuple(str(row[name]) for name in key): row for row in rows}
        assert {name: row["attempts"] for name, row in found.items()} == expected
        assert {name: row["duration_total"] // 9 for name, row in found.items()} == expected


async def test_points_are_complete_and_lie_in_their_buckets(api: ApiFixture, receiver: Receiver) -> None:
    await deliver_and_fail(api, receiver)  # at 12:34:56 and a minute later
    answer = await read(api, since="2026-04-24T12:30:00Z", bucket="1m")
    [series] = answer["series"]
    assert [point["at"][11:16] for point in series["points"]] == [f"12:3{minute}" for minute in range(6)]
    assert [point["attempts"] for point in series["points"]] == [0, 0, 0, 0, 6, 3]
    assert series["points"][0]["latency_ms"] == {"p50": None, "p95": None, "p99": None}
    assert (answer["bucket"], answer["since"], answer["truncated"]) == ("1m", "2026-04-24T12:30:00.000+00:00", False)
    for bucket, points in (("5m", [6, 3]), ("1h", [9]), ("1d", [9])):
        wide = await read(api, since="2026-04-24T12:30:00Z", bucket=bucket)
        assert [point["attempts"] for point in wide["series"][0]["points"]] == points
    default = await read(api)
    assert default["bucket"] == "5m"
    assert len(default["series"][0]["points"]) == 289


async def test_a_truncated_answer_says_so(api: ApiFixture, receiver: Receiver) -> None:
    await deliver_and_fail(api, receiver)
    assert (await read(api, by="endpoint", limit=1))["truncated"] is True
    assert (await read(api, by="endpoint", limit=2))["truncated"] is False
    long = await read(api, since="2026-04-23T00:00:00Z", bucket="1m")
    assert (len(long["series"][0]["points"]), long["truncated"]) == (1_500, True)
    old = await read(api, since="2026-04-20T00:00:00Z", bucket="5m")
    assert old["truncated"] is True  # five minutes are kept for two days
    assert len(old["series"][0]["points"]) < 1_500
    assert (await read(api, since="2026-04-20T00:00:00Z", bucket="1h"))["truncated"] is False


async def test_percentiles_are_near_what_receivers_took(api: ApiFixture, receiver: Receiver) -> None:
    await api.register(receiver.url("/slow"))
    receiver.program("/slow", Reply(delay=0.3))
    api.app.context = replace(api.app.context, clock=SystemClock())
    api.asgi.state.context = api.app.context
    await api.publish()
    await api.app.work()
    [series] = (await read(api))["series"]
    found = series["totals"]["duration_ms"]
    assert found["p50"] >= 290
    assert found["p50"] == found["p99"]
    assert series["totals"]["latency_ms"]["p50"] >= found["p50"]


async def test_dead_letters_count_whatever_made_them(api: ApiFixture, receiver: Receiver) -> None:
    receiver.program("/hook", 200, 500)
    letter = await api.die(receiver.url("/hook"))
    await api.publish()
    await api.post(f"/operator/v1/endpoints/{letter['endpoint_id']}/disable")
    await api.register(receiver.url("/other"), transform="{'n': data.missing}")
    await api.publish()
    dead = {key: sums["dead"] for key, sums in by_key(await read(api, by="outcome")).items() if "dead" in sums}
    assert dead == {"server_error": 1, "endpoint_disabled": 1, "transform_failed": 1}
    assert by_key(await read(api))[""]["dead"] == 3


async def test_dead_letters_of_failed_transforms_count_when_they_are_committed(
    api: ApiFixture, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.publish()
    await api.register(receiver.url("/hook"), transform="{'n': data.missing}")
    context, organization_id = api.app.context, api.app.principal.organization_id
    before, event = counted_transform_failures(), NewEvent("upload.created", b"{}")
    with pytest.raises(ZeroDivisionError):  # in the transaction, after the insertion
        await publish(context, organization_id, [event], answer=lambda _accepted: StoredResponse(1 // 0, b""))
    assert counted_transform_failures() == before
    chosen = DeadLetterFilter(organization_id=organization_id, since=START - timedelta(hours=1))
    started = await start_replay(context, ACTOR, Selection(chosen, missing=True))
    with monkeypatch.context() as patch:
        patch.setattr(ordering, "advance", refuse)
        api.app.clock.advance(1)
        with pytest.raises(Unavailable):
            await tick_replay(context, started.replay.id)
    assert counted_transform_failures() == before
    await tick_replay(context, started.replay.id)
    api.app.clock.advance(1)
    await tick_replay(context, started.replay.id)
    assert counted_transform_failures() == before + 1
    assert by_key(await read(api, by="outcome"))["transform_failed"] == {"dead": 1}


def counted_transform_failures() -> float:
    """What the metric counts."""
    return REGISTRY.get_sample_value("sendoff_dead_letters_total", {"reason": "transform_failed"}) or 0


async def refuse(*_args: Any, **_kwargs: Any) -> None:
    raise Unavailable("The database is away.")


async def test_an_organization_sees_its_own(api: ApiFixture, receiver: Receiver) -> None:
    good, _ = await deliver_and_fail(api, receiver)
    stranger = await api.new_key(organization_id=await api.new_organization())
    assert by_key(await read(api, OWN))[""]["delivered"] == 6
    for query in ({}, {"by": "endpoint"}, {"by": "organization"}, {"by": "event_type"}):
        assert all(not sums for sums in by_key(await read(api, OWN, key=stranger, **query)).values()), query
    assert (await api.get(OWN, key=stranger, params={"endpoint_id": good})).status_code == 404
    assert (await api.get(OWN, params={"organization_id": api.app.principal.organization_id})).status_code == 400


async def test_bad_questions_name_the_parameter(api: ApiFixture) -> None:
    for params, name in (
        ({"since": "2026-04-24T12:00:00Z", "until": "2026-04-24T11:00:00Z"}, "since"),
        ({"bucket": "2m"}, "bucket"),
        ({"by": "host"}, "by"),
        ({"order": "-colour"}, "order"),
        ({"limit": 0}, "limit"),
        ({"bucke": "5m"}, "bucket"),
    ):
        refused = await api.get(OPERATOR, params=params)
        assert (refused.status_code, name in refused.json()["detail"]) == (400, True), refused.text


async def test_the_worst_endpoints_of_the_last_hour_are_in_the_overview(api: ApiFixture, receiver: Receiver) -> None:
    good, bad = await deliver_and_fail(api, receiver)
    await Statistics.of(api.app.context).flush()
    found = (await api.get("/operator/v1/overview")).json()
    [failing] = found["most_failing"]
    assert (failing["endpoint_id"], failing["failed_attempts"], failing["url"]) == (bad, 3, receiver.url("/bad"))
    assert {one["endpoint_id"] for one in found["slowest"]} <= {good, bad}
    api.app.clock.advance(3_700)
    await fold_statistics(api.app.context)
    assert (await api.get("/operator/v1/overview")).json()["most_failing"] == []


async def test_counts_survive_a_database_that_is_away(api: ApiFixture, receiver: Receiver) -> None:
    await deliver_and_fail(api, receiver)
    statistics = Statistics.of(api.app.context)

    def refuse(*_: object, **__: object) -> Any:
        raise Unavailable("The database is away.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queries, "insert", refuse)
        with pytest.raises(Unavailable):
            await statistics.flush()
    await api.publish()
    assert by_key(await read(api))[""]["accepted"] == 4
    await statistics.flush()
    assert by_key(await read(api))[""]["accepted"] == 4


async def test_memory_is_bounded_while_the_database_is_away(
    api: ApiFixture, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "MOST_ROWS", 1)
    await deliver_and_fail(api, receiver)
    assert by_key(await read(api))[""] == {"accepted": 3}


async def test_an_orderly_end_writes_what_was_counted(api: ApiFixture, receiver: Receiver) -> None:
    await deliver_and_fail(api, receiver)
    await api.app.context.close_services()
    response = await api.get(OPERATOR)
    assert response.json()["series"][0]["totals"]["delivered"] == 6


async def test_sums_have_a_retention(api: ApiFixture, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "REMOVED_AT_ONCE", 3)
    await deliver_and_fail(api, receiver)
    await read(api)
    await fold_statistics(api.app.context)
    assert await purge_statistics(api.app.context) == 0
    api.app.clock.advance(timedelta(days=3).total_seconds())
    assert await purge_statistics(api.app.context) > 3
    day = {"since": "2026-04-24T00:00:00Z", "until": "2026-04-25T00:00:00Z"}
    assert (await read(api, **day, bucket="1h"))["series"][0]["totals"]["delivered"] == 6
    api.app.clock.advance(timedelta(days=90).total_seconds())
    await purge_statistics(api.app.context)
    assert (await read(api, **day, bucket="1d"))["series"][0]["totals"]["delivered"] == 6
    api.app.clock.advance(timedelta(days=730).total_seconds())
    await purge_statistics(api.app.context)
    assert await purge_statistics(api.app.context) == 0


async def test_times_may_be_given_as_a_time_ago(api: ApiFixture) -> None:
    def_since = (await read(api, since="2h", until="2126-01-01T00:00:00Z", bucket="1d"))["since"]
    assert def_since.endswith("T00:00:00.000+00:00")
    for since in ("2x", "h", "-2h", "99999999999d"):
        refused = await api.get(OPERATOR, params={"since": since})
        assert (refused.status_code, "since" in refused.json()["detail"]) == (400, True), refused.text


async def test_the_backlog_is_noted_once_a_minute_and_read_at_its_fullest(api: ApiFixture, receiver: Receiver) -> None:
    context, clock = api.app.context, api.app.clock
    receiver.program("/hook", 200, 500)
    await api.register(receiver.url("/hook"))

    async def note() -> None:
        await context.redis.delete(context.settings.redis_key("sendoff:measuring"))  # its time is not the test's clock
        await note_backlog(context)

    for waiting in range(3):
        clock.advance(59.99)  # as a worker wakes that notes it every minute, since measuring took a moment
        await note()
        await note()
        if waiting < 2:
            await api.publish()
    report = await get_statistics(context, StatisticsQuery(bucket=Bucket.HOUR))
    *before, last = await read_backlog(context, report)
    assert last is not None
    assert (last.waiting, last.in_flight, last.dead_letters) == (2, 0, 0)
    assert not any(before)
    assert await samples(api) == [("12:35", 0), ("12:36", 1), ("12:37", 2)]
    clock.advance(49 * 3_600)
    await note()
    assert await samples(api) == [("12:00", 2), ("13:37", 2)]
    clock.advance(90 * 86_400 - 3_600)
    await note()
    assert await samples(api) == [("13:00", 2), ("12:37", 2)]


async def samples(api: ApiFixture) -> list[tuple[str, int]]:
    """The samples of the backlog: the time of day, and how many deliveries waited."""
    context = api.app.context
    async with context.database.read() as tx:
        found = await backlog.read(tx, start=0, end=minute_of(context.clock.now()) + 1, span=1)
    return [(f"{one.minute // 60 % 24:02}:{one.minute % 60:02}", one.waiting) for one in found]
