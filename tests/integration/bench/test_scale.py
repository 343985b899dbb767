"""What the scale benchmark seeds is what the product would have written, and a new run replaces its own sections."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest

from bench.scale.experiments.hot_statements import background, hot_path
from bench.scale.options import EXPERIMENTS, parse_scale_options
from bench.scale.report import TITLES, read_sections, render
from bench.scale.rows import COLUMNS, DEAD, DELIVERED, DUE, WAITING, Seed, SeedEndpoint, SeedState, lines
from bench.scale.seeding import find_endpoints, seed
from sendoff.clock import SystemClock
from sendoff.ids import is_event_id, is_uuid
from sendoff.operators.installation.reconcile import reconcile
from sendoff.policy.states import DeliveryState
from sendoff.store.queries.traffic import delivery_history
from sendoff.store.queries.traffic.delivery_history import DeliveryFilter
from tests.support.app_fixture import open_app
from tests.support.receiver import Receiver

STATES = (DELIVERED, DEAD, WAITING)
ENDPOINT = SeedEndpoint("0199c5a0-0000-7000-8000-000000000001", "0199c5a0-0000-7000-8000-000000000002", "https://a.b")


@dataclass(frozen=True)
class ObservedDatabase:
    """The test's database, as the benchmark connects to it."""

    url: str

    async def open_connection(self) -> asyncpg.Connection:
        return await asyncpg.connect(self.url.replace("postgresql+asyncpg", "postgresql"))


def seed_of(rows: int, *states: SeedState, until: datetime) -> Seed:
    return Seed(
        rows,
        endpoint_of=lambda _: ENDPOINT,
        state_of=lambda number: states[number % len(states)],
        since=until - timedelta(minutes=10),
        until=until,
    )


def written(rows: Seed, table: str) -> list[dict[str, str]]:
    text = "".join(lines(rows, table))
    return [dict(zip(COLUMNS[table], line.split("\t"), strict=True)) for line in text.splitlines()]


def test_ids_are_of_the_products_kind_and_in_the_order_of_creation() -> None:
    rows = seed_of(2_500, *STATES, until=SystemClock().now())
    more = replace(rows, first=2_500, since=rows.until, until=rows.until + timedelta(minutes=1))
    ids = [row["id"] for part in (rows, more) for row in written(part, "deliveries")]
    events = [row["id"] for part in (rows, more) for row in written(part, "events")]
    assert len(set(ids)) == len(set(events)) == 5_000
    assert ids == sorted(ids)
    assert events == sorted(events)
    assert all(is_uuid(f"{key[:8]}-{key[8:12]}-{key[12:16]}-{key[16:20]}-{key[20:]}") for key in ids)
    assert all(map(is_event_id, events))


def test_each_state_has_its_attempts_and_the_dead_their_letters() -> None:
    rows = seed_of(300, *STATES, until=SystemClock().now())
    attempts = Counter(row["delivery_id"] for row in written(rows, "attempts"))
    expected = {row["id"]: int(row["attempt_count"]) for row in written(rows, "deliveries")}
    assert attempts == expected
    dead = [row["id"] for row in written(rows, "deliveries") if row["state"] == "dead"]
    assert [row["delivery_id"] for row in written(rows, "dead_letters")] == dead
    assert len(dead) == 100


def test_seeded_deliveries_wait_or_are_due_at_once() -> None:
    now = SystemClock().now()
    [waiting] = {row["due_at"] > str(now) for row in written(seed_of(50, WAITING, until=now), "deliveries")}
    assert waiting
    due = written(seed_of(50, DUE, until=now), "deliveries")
    assert all(row["due_at"] == row["created_at"] and row["attempt_count"] == "0" for row in due)
    assert written(seed_of(50, DUE, until=now), "attempts") == []


async def test_the_products_own_audit_finds_nothing_wrong_with_what_is_seeded(
    postgres_url: str, receiver: Receiver
) -> None:
    async with open_app(postgres_url) as app:
        await app.register(receiver.url("/hook/0"))
        await app.register(receiver.url("/hook/1"))
        endpoints = await find_endpoints(ObservedDatabase(postgres_url))
        until = app.clock.now() - timedelta(minutes=1)
        rows = replace(seed_of(3_000, *STATES, until=until), endpoint_of=lambda number: endpoints[number % 2])
        await seed(ObservedDatabase(postgres_url), rows)
        found = await reconcile(app.context)
    assert found.findings == []
    assert found.checked["deliveries"] == 3_000
    assert found.checked["dead_letters"] == 1_000


async def test_the_measured_statements_run_and_record_what_they_claim(postgres_url: str, receiver: Receiver) -> None:
    async with open_app(postgres_url) as app:
        await app.register(receiver.url("/hook/0"))
        endpoints = await find_endpoints(ObservedDatabase(postgres_url))
        for routine in (hot_path(app.context, endpoints), *background(app.context)):
            given: Any = None
            for step in routine:
                given = await step.ask(given)
        async with app.transaction() as tx:
            delivered = DeliveryFilter(states=(DeliveryState.DELIVERED,))
            page = await delivery_history.scan_page(tx, delivered, limit=1_000)
    assert len(page.rows) == 100


def test_a_new_run_replaces_its_own_sections_and_leaves_the_others() -> None:
    first = render({"waiting": "old\n\n| a |\n|---|", "workers": "kept"})
    second = render(read_sections(first) | {"waiting": "new"})
    assert read_sections(second) == {"workers": "kept", "waiting": "new"}
    assert second.index("kept") < second.index("new")
    assert list(TITLES) == list(EXPERIMENTS)


def test_quick_is_a_fraction_of_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse_scale_options(["--quick", "--rows", "1000000"]).rows == 10_000
    with pytest.raises(SystemExit):
        parse_scale_options(["--only", "nonsense"])
    assert "nonsense is none of" in capsys.readouterr().err
