"""Workers that are killed while deliveries die: each dead letter is reported once, and none that is not there."""

from __future__ import annotations

import asyncio
import json
from functools import partial

import pytest

from sendoff.audit import Actor
from sendoff.endpoints.fields import NewAlertEndpoint
from sendoff.operators.alert_endpoints import create_alert_endpoint
from sendoff.operators.queries import list_dead_letters
from sendoff.processes.startup import open_context
from sendoff.settings import load
from sendoff.store.queries.traffic.dead_letters import DeadLetterFilter
from tests.acceptance.conftest import Install
from tests.support.databases import LiveDatabase
from tests.support.installation import STEADY, Installation
from tests.support.polling import eventually_blocking
from tests.support.tenants import Tenant

EVENTS = 400


@pytest.mark.chaos
def test_each_dead_letter_is_told_once_whenever_a_worker_is_killed(database: LiveDatabase, install: Install) -> None:
    """Setup: two workers, a receiver that answers 500, no retries, an alert endpoint for dead letters.

    Timeline: 400 events; a worker is killed and replaced five times while their deliveries die and are reported.
    What this proves: dead letters and operational events are one to one, whatever was under way when a worker died.
    """
    settings = {**STEADY, "RETRY_SCHEDULE": "none", "DISABLE_AFTER_FAILURES": "100000"}
    installation = install(database, settings)
    tenant = installation.add_tenant("/hook")
    asyncio.run(_add_alert_endpoint(installation, tenant))
    installation.receiver.program("/hook", 500)
    installation.start(workers=2, api=False)
    tenant.publish(EVENTS)
    for attempts in range(60, 360, 60):
        eventually_blocking(partial(_has_arrived, installation, attempts), what="attempts")
        installation.kill(installation.workers[-1])
        installation.new_worker().start()
    eventually_blocking(lambda: installation.count("pending", "in_flight", "held") == 0, within=60, what="an end")
    dead = asyncio.run(_dead_letters(tenant))
    eventually_blocking(lambda: set(dead) <= set(_told(installation)), within=60, what="an event for each")
    assert len(dead) == EVENTS
    assert set(_told(installation)) == set(dead)
    assert all(len(event_ids) == 1 for event_ids in _told(installation).values())


def _has_arrived(installation: Installation, attempts: int) -> bool:
    return installation.receiver.arrived("/hook") >= attempts


async def _add_alert_endpoint(installation: Installation, tenant: Tenant) -> None:
    async with open_context(load(**tenant.settings)) as context:
        new = NewAlertEndpoint(url=installation.receiver.url("/alerts"), events=["delivery.dead_lettered"])
        await create_alert_endpoint(context, Actor("test"), new)


async def _dead_letters(tenant: Tenant) -> list[str]:
    async with open_context(load(**tenant.settings)) as context:
        found = (await list_dead_letters(context, DeadLetterFilter(), limit=2 * EVENTS)).rows
        return [letter.id for letter in found]


def _told(installation: Installation) -> dict[str, set[str]]:
    """The events that came, by the dead letter that they tell of."""
    told: dict[str, set[str]] = {}
    for request in installation.receiver.requests("/alerts"):
        event = json.loads(request.body)
        if event["type"] == "delivery.dead_lettered":
            told.setdefault(event["data"]["dead_letter_id"], set()).add(event["id"])
    return told
