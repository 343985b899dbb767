"""A database with what commands list: an organization, endpoints, and events with deliveries in several states."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from sendoff.accounts.organizations import create_key, create_organization
from sendoff.audit import Actor
from sendoff.context import Context
from sendoff.idempotency import StoredResponse
from sendoff.ids import new_id
from sendoff.policy.states import DeadLetterReason
from sendoff.processes.startup import open_context
from sendoff.publishing.publish import AcceptedEvent, NewEvent, publish
from sendoff.settings import load
from sendoff.store.tables import Attempt, DeadLetter, Delivery, Endpoint
from tests.integration.cli.installation import environment_without_settings
from tests.support.shell import Shell

URLS = (
    "https://hooks.customer-with-a-long-name.example/webhooks/orders/production",
    "https://crm.example/in",
    "https://warehouse.example/events/incoming",
)


@dataclass(frozen=True)
class Seeded:
    """What is there, by id; `environment` makes a command work on it."""

    environment: Mapping[str, str]
    organization: str
    key: str
    operator_key: str
    endpoints: list[str]
    events: list[str]
    deliveries: list[str]
    dead_letter: str


def run(shell: Shell, seeded: Seeded, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """`sendoff ARGUMENTS…` on what is seeded."""
    return shell.run(list(arguments), environment_without_settings() | dict(seeded.environment) | more)


def seed(settings: Mapping[str, str]) -> Seeded:
    """Fill the database that `settings`, by the names of fields, name."""
    environment = {f"SENDOFF_{name.upper()}": value for name, value in settings.items()}
    return asyncio.run(_seed(settings, environment))


async def _seed(settings: Mapping[str, str], environment: Mapping[str, str]) -> Seeded:
    async with open_context(load(**settings)) as context:
        actor = Actor("test")
        organization = (await create_organization(context, actor, name="Acme", credits=None)).id
        key = await _mint(context, actor, organization, "events:write", "webhooks:manage")
        operator_key = await _mint(context, actor, organization, "operator")
        endpoints = [await _add_endpoint(context, organization, url) for url in URLS]
        accepted: list[AcceptedEvent] = []

        def answer(found: list[AcceptedEvent]) -> StoredResponse:
            accepted.extend(found)
            return StoredResponse(202, b"")

        events = [NewEvent("upload.completed", b'{"order": "order-%d"}' % number) for number in (1, 2)]
        await publish(context, organization, events, answer=answer, request_id="req_0123456789abcdef")
        deliveries = sorted(one.id for event in accepted for one in event.deliveries)
        letter = await _give_up(context, deliveries[0])
    ids = [one.id for one in accepted]
    return Seeded(environment, organization, key, operator_key, endpoints, ids, deliveries, letter)


async def _mint(context: Context, actor: Actor, organization: str, *scopes: str) -> str:
    minted = await create_key(context, actor, organization_id=organization, email="ada@example.com", scopes=scopes)
    return minted.key


async def _add_endpoint(context: Context, organization: str, url: str) -> str:
    now, identifier = context.clock.now(), new_id()
    async with context.database.write() as tx:
        tx.add(
            Endpoint(
                id=identifier,
                organization_id=organization,
                dialect="default",
                url=url,
                events=["upload.completed"],
                secret=context.vault.seal("s" * 40, bound_to=identifier),
                created_at=now,
                updated_at=now,
            )
        )
    return identifier


async def _give_up(context: Context, delivery_id: str) -> str:
    now, identifier = context.clock.now(), new_id()
    async with context.database.write() as tx:
        delivery = await tx.get(Delivery, delivery_id)
        assert delivery is not None
        endpoint = await tx.get(Endpoint, delivery.endpoint_id)
        assert endpoint is not None
        delivery.state, delivery.due_at, delivery.attempt_count = "dead", None, 7
        tx.add(
            Attempt(
                delivery_id=delivery.id,
                number=7,
                started_at=now,
                duration_ms=12,
                outcome="http_error",
                response_status=500,
                error="The receiver answered 500.",
            )
        )
        delivery.last_response_status, delivery.last_error = 500, "The receiver answered 500."
        tx.add(
            DeadLetter(
                id=identifier,
                delivery_id=delivery.id,
                event_id=delivery.event_id,
                event_type="upload.completed",
                endpoint_id=endpoint.id,
                endpoint_url=endpoint.url,
                organization_id=delivery.organization_id,
                reason=DeadLetterReason.RETRIES_EXHAUSTED,
                last_response_status=500,
                last_error="The receiver answered 500.",
                attempt_count=7,
                died_at=now,
                state="open",
            )
        )
    return identifier
