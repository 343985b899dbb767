"""Two cells, one on each database, with secret keys of their own, and a router before them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import orjson
import pytest

from api.cells.router import Router
from sendoff.operators.installation.moving import Move
from sendoff.operators.installation.transfer import export_records, import_records
from sendoff.settings import load
from tests.integration.api.api_fixture import ApiFixture, open_api
from tests.support.app_fixture import ACTOR

SEAL_KEY = "s" * 32


class Network(httpx.AsyncBaseTransport):
    """Requests by host name to applications in this process; a cell whose name is in `away` cannot be reached."""

    def __init__(self, applications: dict[str, ApiFixture]) -> None:
        self._ways = {name: httpx.ASGITransport(api.asgi) for name, api in applications.items()}
        self.away: set[str] = set()
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if request.url.host in self.away:
            raise httpx.ConnectError("refused", request=request)
        return await self._ways[request.url.host].handle_async_request(request)


@dataclass
class Cells:
    """The cells by name, and clients of the router."""

    eu: ApiFixture
    us: ApiFixture
    network: Network
    client: httpx.AsyncClient

    async def call(self, method: str, path: str, key: str, **request: object) -> httpx.Response:
        """A request to the router."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return await self.client.request(method, path, headers=headers, **request)  # type: ignore[arg-type]

    async def operators_key(self) -> str:
        """A key that both cells know, as an export and an import of the operators' organization give."""
        key = await self.eu.new_key("operator")
        lines = [
            orjson.dumps(record)
            async for record in export_records(
                self.eu.app.context, seal_key=SEAL_KEY, organization_ids=[self.eu.app.principal.organization_id]
            )
        ]
        await import_records(self.us.app.context, ACTOR, lines, seal_key=SEAL_KEY)
        return key

    def move(self, organization_id: str) -> Move:
        """A move from `eu` to `us`."""
        return Move(self.eu.app.context, self.us.app.context, organization_id, "us", ACTOR)

    def advance(self, seconds: float) -> None:
        """Both clocks."""
        self.eu.app.clock.advance(seconds)
        self.us.app.clock.advance(seconds)


@pytest.fixture
async def cells(sqlite_url: str, postgres_url: str, valkey_url: str) -> AsyncIterator[Cells]:
    settings = load(cells="eu=http://eu,us=http://us")
    async with (
        open_api(sqlite_url, valkey_url) as eu,
        open_api(postgres_url, valkey_url, secret_keys=["m" * 32]) as us,
    ):
        network = Network({"eu": eu, "us": us})
        router = Router(settings, transport=network)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(router), base_url="http://router") as client:
            yield Cells(eu, us, network, client)
        await router.aclose()
