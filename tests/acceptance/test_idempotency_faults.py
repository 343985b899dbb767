"""One Idempotency-Key, whatever happens: the write is done once (Dialbird contract, "Idempotency")."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import httpx

from sendoff.accounts.authentication import SCOPES
from sendoff.accounts.organizations import create_key, create_organization
from sendoff.audit import Actor
from sendoff.processes.startup import open_context
from sendoff.settings import load
from tests.acceptance.conftest import Install, mostly_postgres
from tests.support.databases import LiveDatabase
from tests.support.installation import Installation

NUMBERS = [f"+1{area}555{line:04d}" for area in (212, 213, 312, 415, 617) for line in range(100, 10_000)]
LARGE = {"phone_numbers": NUMBERS}
CREDITS = 200_000
BODIES: dict[str, Any] = {
    "/api/v1/events": {"type": "upload.completed", "data": {"n": 1}},
    "/api/v1/events/batch": {"events": [{"type": "upload.completed", "data": {"n": n}} for n in range(3)]},
    "/api/v1/subscriptions": {"event_type": "call.incoming.completed", "target_url": "https://127.0.0.1:9999/hook"},
    "/api/v1/uploads": {"phone_numbers": NUMBERS[:150]},
}
COUNTS = {
    "/api/v1/events": ("SELECT count(*) FROM events", 1),
    "/api/v1/events/batch": ("SELECT count(*) FROM events", 3),
    "/api/v1/subscriptions": ("SELECT count(*) FROM endpoints", 1),
    "/api/v1/uploads": ("SELECT count(*) FROM uploads", 1),
}
"""How to count what a write leaves, and how much that is."""


@dataclass
class Customer:
    """A client with a key of every scope."""

    installation: Installation
    key: str

    @classmethod
    def of(cls, installation: Installation) -> Customer:
        async def make() -> str:
            async with open_context(load(**installation.settings)) as context:
                actor = Actor(name="test")
                organization = await create_organization(context, actor, name="Acme", credits=CREDITS)
                minted = await create_key(
                    context, actor, organization_id=organization.id, email="ada@example.com", scopes=SCOPES
                )
                return minted.key

        return cls(installation, asyncio.run(make()))

    async def ask(self, path: str, body: Any, *, ports: list[int], times: int, key: str) -> list[httpx.Response]:
        """The same request several times at once, to each of the ports in turn."""
        headers = {"Authorization": f"Bearer {self.key}", "Idempotency-Key": key}
        limits = httpx.Limits(max_connections=times)
        async with httpx.AsyncClient(headers=headers, timeout=60, limits=limits) as client:
            urls = [f"http://127.0.0.1:{ports[turn % len(ports)]}{path}" for turn in range(times)]
            return list(await asyncio.gather(*(client.post(url, json=body) for url in urls)))

    def count(self, path: str) -> int:
        """How much of what the path writes there is."""
        [(count,)] = self.installation.database.query(COUNTS[path][0])
        return int(count)


@mostly_postgres
def test_requests_at_once_with_one_key_at_two_processes_write_once(database: LiveDatabase, install: Install) -> None:
    """Setup: two API processes on one database.

    Timeline: the same request with the same key, 200 times at once (uploads 50 times, for their rate limit), at both.
    What this proves: one request writes; all others get its answer, byte for byte, or an error that says to send them
    again. Sent again, they get the answer.
    """
    installation = install(database)
    customer = Customer.of(installation)
    installation.start(workers=0)
    ports = [installation.port, installation.start_another_api()]
    for path, body in BODIES.items():
        before, times = customer.count(path), 50 if path == "/api/v1/uploads" else 200
        answers = asyncio.run(customer.ask(path, body, ports=ports, times=times, key=path))
        good = [answer for answer in answers if answer.status_code < 300]
        refused = [answer for answer in answers if answer.status_code >= 300]
        assert [answer.text for answer in refused if not _may_be_sent_again(answer)] == []
        assert sum("Idempotency-Replayed" not in answer.headers for answer in good) <= 1
        again = asyncio.run(customer.ask(path, body, ports=ports, times=2, key=path))
        assert all("Idempotency-Replayed" in answer.headers for answer in again)
        assert len({answer.content for answer in good + again}) == 1
        assert customer.count(path) - before == COUNTS[path][1]


def _may_be_sent_again(answer: httpx.Response) -> bool:
    """The first request still runs, or more wait than the key's line or the caller's five seconds hold."""
    return (answer.status_code == 409 and "still runs" in answer.text) or (
        answer.status_code in (429, 503) and "Retry-After" in answer.headers
    )


@mostly_postgres
def test_an_upload_whose_api_is_killed_can_be_repeated_at_once_and_is_done_once(
    database: LiveDatabase, install: Install
) -> None:
    """Setup: the API, and an upload of 49,500 numbers, which takes it a moment.

    Timeline: the API is killed at several moments while it works at the upload, started again and asked again.
    What this proves: the key holds the first answer or is free; what was charged was charged for one upload.
    """
    installation = install(database)
    customer = Customer.of(installation)
    installation.start(workers=0)
    for moment in (0.1, 0.6):
        uploads = customer.count("/api/v1/uploads")
        asyncio.run(_ask_and_kill(customer, f"key {moment}", moment))
        installation.api.start()
        asked = customer.ask("/api/v1/uploads", LARGE, ports=[installation.port], times=1, key=f"key {moment}")
        [again] = asyncio.run(asked)
        assert again.status_code == 200, again.text
        assert customer.count("/api/v1/uploads") - uploads == 1


async def _ask_and_kill(customer: Customer, key: str, moment: float) -> None:
    port = customer.installation.port
    asking = asyncio.create_task(customer.ask("/api/v1/uploads", LARGE, ports=[port], times=1, key=key))
    await asyncio.sleep(moment)
    customer.installation.api.kill()
    await asyncio.wait({asking})
    asking.exception()
