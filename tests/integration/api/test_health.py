"""`/health`, `/ready` and `/metrics`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from math import isnan
from typing import Any

import pytest
from sqlalchemy import text

from api.health import start_draining
from sendoff import __version__
from sendoff.context import Context
from sendoff.errors import Unavailable
from sendoff.operators.installation.measurements import Measurement, Measurements, measure, update_metrics
from sendoff.operators.installation.workers import Heartbeat
from sendoff.store.vault import Vault
from tests.integration.api.api_fixture import ApiFixture
from tests.support.receiver import Receiver


def sample(text: str, start: str) -> float:
    [line] = [line for line in text.splitlines() if line.startswith(start)]
    return float(line.rpartition(" ")[2])


async def test_health_says_that_the_process_serves_whatever_it_depends_on(sqlite_api: ApiFixture) -> None:
    async with sqlite_api.without_redis(), sqlite_api.without_database():
        response = await sqlite_api.get("/health", key="")
        assert (response.status_code, response.json()) == (200, {"status": "ok", "version": __version__})
        head = await sqlite_api.call("HEAD", "/health", key="")
        assert (head.status_code, head.content) == (200, b"")


async def test_ready_is_a_200_when_all_it_depends_on_answers(api: ApiFixture) -> None:
    await Heartbeat(api.app.context, slots=1).beat(in_flight=0)
    response = await api.get("/ready", key="")
    assert (response.status_code, response.json()) == (200, {"status": "ready", "warnings": []})


async def test_ready_names_each_dependency_that_fails(sqlite_api: ApiFixture) -> None:
    async with sqlite_api.without_database():
        response = await sqlite_api.get("/ready", key="")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
    detail = response.json()["detail"]
    assert (detail["error"], detail["failing"]) == ("not_ready", ["database", "schema"])
    assert all(name in detail["message"] for name in detail["failing"])


async def test_without_redis_requests_are_served_so_it_is_ready(sqlite_api: ApiFixture) -> None:
    async with sqlite_api.without_redis():
        response = await sqlite_api.get("/ready", key="")
        assert (response.status_code, response.json()) == (200, {"status": "ready", "warnings": ["redis", "workers"]})
        await sqlite_api.publish()


async def test_a_hanging_redis_is_a_warning_and_delays_no_request(sqlite_api: ApiFixture) -> None:
    async with sqlite_api.hanging_redis():
        response = await sqlite_api.get("/ready", key="")
        assert (response.status_code, response.json()["warnings"]) == (200, ["redis", "workers"])
        path = "/api/v1/webhooks/0199c1f2-6f1e-7c3a-8f43-1f0c2f6d9a11"
        assert (await sqlite_api.delete(path)).status_code == 404


@pytest.mark.parametrize(
    ("runs_beside", "status", "body"),
    [("0001", 200, {"status": "ready", "warnings": ["schema", "workers"]}), ("9999", 503, None)],
)
async def test_a_newer_schema_is_a_warning_when_this_version_runs_on_it(
    sqlite_api: ApiFixture, runs_beside: str, status: int, body: object
) -> None:
    async with sqlite_api.app.transaction() as tx:
        await tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        await tx.execute(text("UPDATE schema_compatibility SET runs_beside = :it"), {"it": runs_beside})
        await tx.commit()
    response = await sqlite_api.get("/ready", key="")
    assert response.status_code == status
    assert body in (None, response.json())
    if body is None:
        assert response.json()["detail"]["failing"] == ["schema"]


async def test_secrets_that_no_key_opens_are_a_warning_and_all_of_them_a_failure(
    sqlite_api: ApiFixture, receiver: Receiver
) -> None:
    await sqlite_api.register(receiver.url("/hook"))
    original = sqlite_api.app.context
    for keys, status in ((["n" * 32], 503), (["n" * 32, "k" * 32], 200)):
        sqlite_api.asgi.state.context = replace(original, vault=Vault(keys), _services={})
        response = await sqlite_api.get("/ready", key="")
        assert response.status_code == status
        assert "secrets" not in response.json().get("warnings", [])
        if status == 503:
            assert response.json()["detail"]["failing"] == ["secrets"]
        else:
            await sqlite_api.register(receiver.url("/other"))  # sealed with the newest key
    sqlite_api.asgi.state.context = replace(original, _services={})
    await sqlite_api.app.context.redis.flushdb()
    response = await sqlite_api.get("/ready", key="")
    assert (response.status_code, response.json()["warnings"]) == (200, ["secrets", "workers"])


async def test_a_database_that_takes_no_writes_is_named_and_asked_again_seconds_later(sqlite_api: ApiFixture) -> None:
    database = sqlite_api.app.context.database
    tried = 0

    async def refuse() -> None:
        nonlocal tried
        tried += 1
        raise Unavailable("The database cannot be reached.", detail="database or disk is full")

    database.check_writable = refuse  # type: ignore[method-assign]
    for seconds, tries in ((0, 1), (2, 1), (4, 2)):
        sqlite_api.app.clock.advance(seconds)
        response = await sqlite_api.get("/ready", key="")
        assert (response.status_code, response.json()["detail"]["failing"]) == (503, ["writable"])
        assert "disk" not in response.text
        assert tried == tries


async def test_while_it_drains_it_is_not_ready_and_serves(sqlite_api: ApiFixture) -> None:
    start_draining(sqlite_api.asgi.state)
    response = await sqlite_api.get("/ready", key="")
    assert (response.status_code, response.json()["detail"]["failing"]) == (503, ["draining"])
    await sqlite_api.publish()


async def test_metrics_count_requests_by_route_and_never_by_what_callers_made_up(sqlite_api: ApiFixture) -> None:
    for path in ("/api/v1/webhooks/made-up", "/made-up", "/api/v1/events/made-up"):
        await sqlite_api.get(path)
    await sqlite_api.publish()
    response = await sqlite_api.get("/metrics", key="")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "made-up" not in response.text
    for start in (
        'sendoff_http_requests_total{method="GET",route="/api/v1/webhooks/{webhook_id}",status="404"}',
        'sendoff_http_requests_total{method="GET",route="unmatched",status="404"}',
        'sendoff_http_requests_total{method="POST",route="/api/v1/events",status="202"}',
        'sendoff_http_request_seconds_count{route="/api/v1/events/{event_id}"}',
        "sendoff_events_accepted_total",
    ):
        assert sample(response.text, start) >= 1
    assert "_created" not in response.text
    assert "sendoff_worker_" not in response.text  # of which this process is none


async def test_figures_of_the_database_are_asked_for_by_one_process_every_ten_seconds(
    sqlite_api: ApiFixture, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    async def counting(context: Context, **before: Any) -> Measurement:
        nonlocal asked
        asked += 1
        return await measure(context, **before)

    monkeypatch.setattr("sendoff.operators.installation.measurements.measure", counting)
    await sqlite_api.register(receiver.url("/hook"))
    other = replace(sqlite_api.app.context, _services={})  # another process on the same database and Redis
    for _ in range(3):
        text = (await sqlite_api.get("/metrics", key="")).text
        assert sample(text, 'sendoff_endpoints{state="active"}') == 1
        await update_metrics(other)
    assert asked == 1
    assert await other.service(Measurements.of).current(other) == await sqlite_api.app.context.service(
        Measurements.of
    ).current(sqlite_api.app.context)


async def test_figures_of_a_database_that_is_away_are_no_numbers(sqlite_api: ApiFixture) -> None:
    async with sqlite_api.without_redis(), sqlite_api.without_database():
        sqlite_api.asgi.state.context = replace(sqlite_api.asgi.state.context, _services={})
        text = (await sqlite_api.get("/metrics", key="")).text
    assert isnan(sample(text, "sendoff_oldest_due_seconds"))
    assert isnan(sample(text, "sendoff_workers "))
    assert sample(text, "sendoff_redis_up") == 0
    assert "sendoff_deliveries_open{" not in text


async def test_errors_of_the_database_are_not_shown_to_clients(sqlite_api: ApiFixture) -> None:
    async with sqlite_api.without_database():
        for path in ("/ready", "/api/v1/webhooks"):
            refused = await sqlite_api.get(path)
            assert refused.status_code == 503
            assert "ConnectionRefused" not in refused.text


async def test_an_unknown_method_does_not_become_a_label(sqlite_api: ApiFixture) -> None:
    await sqlite_api.call("BREW", "/api/v1/webhooks")
    assert "BREW" not in (await sqlite_api.get("/metrics")).text


async def test_requests_share_a_check_of_the_dependencies(sqlite_api: ApiFixture) -> None:
    context, asked = sqlite_api.app.context, 0
    before = context.database.ping

    async def ping() -> None:
        nonlocal asked
        asked += 1
        await before()

    context.database.ping = ping  # type: ignore[method-assign]
    for seconds, expected in ((0.0, 1), (0.5, 1), (0.6, 2)):
        sqlite_api.app.clock.advance(seconds)
        answers = await asyncio.gather(*(sqlite_api.get("/ready", key="") for _ in range(5)))
        assert ({answer.status_code for answer in answers}, asked) == ({200}, expected)


async def test_the_root_says_what_this_is_and_where_to_go(sqlite_api: ApiFixture) -> None:
    response = await sqlite_api.get("/", key="", headers={"Host": "evil.example"})
    assert (response.status_code, response.json()["name"]) == (200, "Sendoff")
    assert "evil.example" not in response.text
    for path in response.json()["links"].values():
        assert (await sqlite_api.get(path)).status_code in (200, 303, 401, 405)
