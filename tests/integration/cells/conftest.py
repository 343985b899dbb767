"""Two cells, one on each database, with secret keys of their own, and a router before them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import orjson
import pytest
import uvicorn
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api.cells.router import Router
from api.http.server.protocol import BoundedProtocol
from sendoff.operators.installation.moving import Move
from sendoff.operators.installation.transfer import export_records, import_records
from sendoff.settings import load
from tests.integration.api.api_fixture import ApiFixture, open_api
from tests.support.app_fixture import ACTOR

SEAL_KEY = "s" * 32


class Network:
    """The cells on sockets of this machine; one whose name is in `away` ends every connection that it is asked on."""

    def __init__(self) -> None:
        self.away: set[str] = set()
        self.requests: list[Request] = []
        self.urls: dict[str, str] = {}
        self._servers: list[asyncio.Server] = []

    async def serve(self, name: str, app: ASGIApp) -> None:
        """Serve an application as a cell."""
        config = uvicorn.Config(self._noting(app), http=BoundedProtocol, log_config=None, lifespan="off", ws="none")
        config.load()
        state = uvicorn.server.ServerState()
        network = self

        class Protocol(BoundedProtocol):
            def data_received(self, data: bytes) -> None:
                if name in network.away:
                    self.transport.abort()
                else:
                    super().data_received(data)

        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Protocol(config, state, {}), "127.0.0.1", 0)
        self._servers.append(server)
        self.urls[name] = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    def close(self) -> None:
        for server in self._servers:
            server.close()

    @property
    def setting(self) -> str:
        """SENDOFF_CELLS."""
        return ",".join(f"{name}={url}" for name, url in self.urls.items())

    def _noting(self, app: ASGIApp) -> ASGIApp:
        async def noted(scope: Scope, receive: Receive, send: Send) -> None:
            self.requests.append(Request(scope))
            await app(scope, receive, send)

        return noted


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


@asynccontextmanager
async def open_router(cells: Mapping[str, ApiFixture]) -> AsyncIterator[tuple[Network, httpx.AsyncClient]]:
    """The cells on sockets, and a client of a router before them."""
    network = Network()
    for name, api in cells.items():
        await network.serve(name, api.asgi)
    router = Router(load(cells=network.setting))
    transport = httpx.ASGITransport(router)
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://router", timeout=30) as client:
            yield network, client
    finally:
        router.close()
        network.close()


@pytest.fixture
async def cells(sqlite_url: str, postgres_url: str, valkey_url: str) -> AsyncIterator[Cells]:
    async with (
        open_api(sqlite_url, valkey_url) as eu,
        open_api(postgres_url, valkey_url, secret_keys=["m" * 32]) as us,
        open_router({"eu": eu, "us": us}) as (network, client),
    ):
        yield Cells(eu, us, network, client)
