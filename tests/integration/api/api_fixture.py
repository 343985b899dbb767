"""The API in one process: real databases, real Valkey, HTTP without a socket in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import httpx
from fastapi import FastAPI

from api.app import create_app
from sendoff.accounts import organizations
from sendoff.accounts.authentication import SCOPES, key_lookups
from sendoff.context import Context
from sendoff.errors import Unavailable
from sendoff.rate_windows import counting
from tests.support.app_fixture import ACTOR, AppFixture, open_app


@dataclass
class ApiFixture:
    """An API process, and a key of its organization with every scope. `asgi` is the FastAPI application."""

    app: AppFixture
    asgi: FastAPI
    client: httpx.AsyncClient
    key: str

    async def call(self, method: str, path: str, *, key: str | None = None, **request: Any) -> httpx.Response:
        """A request with `key`, by default the one with every scope; an empty one sends none."""
        token = self.key if key is None else key
        headers = dict(request.pop("headers", {}))
        if token:
            headers.setdefault("Authorization", f"Bearer {token}")
        return await self.client.request(method, path, headers=headers, **request)

    async def get(self, path: str, **request: Any) -> httpx.Response:
        return await self.call("GET", path, **request)

    async def post(self, path: str, json: Any = None, **request: Any) -> httpx.Response:
        return await self.call("POST", path, **({} if json is None else {"json": json}), **request)

    async def patch(self, path: str, json: Any, **request: Any) -> httpx.Response:
        return await self.call("PATCH", path, json=json, **request)

    async def delete(self, path: str, **request: Any) -> httpx.Response:
        return await self.call("DELETE", path, **request)

    async def register(self, url: str, **fields: Any) -> dict[str, Any]:
        """A webhook of the organization."""
        response = await self.post("/api/v1/webhooks", {"url": url, **fields})
        assert response.status_code == 200, response.text
        webhook: dict[str, Any] = response.json()["webhook"]
        return webhook

    async def publish(self, data: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
        """An event of the organization, by default an `upload.completed`."""
        event = {"type": "upload.completed", "data": data or {"upload": {"id": "1"}}, **fields}
        response = await self.post("/api/v1/events", event)
        assert response.status_code == 202, response.text
        accepted: dict[str, Any] = response.json()
        return accepted

    async def die(self, url: str, data: dict[str, Any] | None = None) -> dict[str, Any]:
        """A webhook at `url`, an event for it, and its dead letter: the receiver must fail from now on."""
        webhook = await self.register(url)
        await self.publish(data)
        for wait in (0.0, *self.app.context.settings.retry_schedule):
            self.app.clock.advance(wait)
            await self.app.work()
        found = (await self.get("/operator/v1/dead-letters", params={"endpoint_id": webhook["id"]})).json()
        letter: dict[str, Any] = found["data"][0]
        return letter

    async def new_key(
        self, *scopes: str, organization_id: str | None = None, expires_at: datetime | None = None
    ) -> str:
        """Another key of the organization, or one of another, by default with every scope."""
        minted = await organizations.create_key(
            self.app.context,
            ACTOR,
            organization_id=organization_id or self.app.principal.organization_id,
            email="dev@example.com",
            scopes=scopes or SCOPES,
            expires_at=expires_at,
        )
        return minted.key

    async def new_organization(self) -> str:
        """The id of another organization."""
        return (await organizations.create_organization(self.app.context, ACTOR, name="Other", credits=1_000)).id

    @asynccontextmanager
    async def without_redis(self) -> AsyncIterator[None]:
        """Redis cannot be reached within the block."""
        before = self.asgi.state.context
        dead = before.redis.__class__.from_url("unix:///nonexistent/valkey.sock")
        self.asgi.state.context = _replace(before, redis=dead)
        yield
        self.asgi.state.context = before
        await dead.aclose()

    @asynccontextmanager
    async def hanging_redis(self) -> AsyncIterator[None]:
        """Redis takes connections and never answers within the block."""
        taken: list[asyncio.StreamWriter] = []
        server = await asyncio.start_server(lambda _reader, writer: taken.append(writer), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        before = self.asgi.state.context
        mute = before.redis.__class__.from_url(f"redis://127.0.0.1:{port}")
        self.asgi.state.context = _replace(before, redis=mute)
        yield
        self.asgi.state.context = before
        await mute.aclose()
        server.close()
        for writer in taken:
            writer.close()
            await writer.wait_closed()

    @asynccontextmanager
    async def without_database(self) -> AsyncIterator[None]:
        """The database cannot be reached within the block."""
        before = self.asgi.state.context
        self.asgi.state.context = _replace(before, database=_Gone())
        yield
        self.asgi.state.context = before


def _replace(context: Context, **changes: Any) -> Context:
    """The context with a way out replaced, and without what holds on to the one that it had."""
    kept = {make: one for make, one in context._services.items() if make not in (counting, key_lookups)}
    return replace(context, _services=kept, **changes)


class _Gone:
    """A database that cannot be reached."""

    def __getattr__(self, name: str) -> Any:
        @asynccontextmanager
        async def refuse(**_: object) -> AsyncIterator[None]:
            await self.ping()
            yield

        return refuse

    @property
    def direct(self) -> _Gone:
        return self

    @property
    def aside(self) -> _Gone:
        return self

    async def fetch(self, *_: object) -> None:
        await self.ping()

    async def ping(self) -> None:
        raise Unavailable("The database cannot be reached.", detail="ConnectionRefusedError: nobody listens")

    async def check_schema(self) -> None:
        await self.ping()

    async def check_writable(self) -> None:
        await self.ping()


@asynccontextmanager
async def open_api(database_url: str, redis_url: str, **settings: Any) -> AsyncIterator[ApiFixture]:
    """An API on a migrated database and a Redis; `settings` by field name."""
    async with open_app(database_url, redis_url=redis_url, **settings) as app:
        asgi = create_app(app.context.settings)
        asgi.state.context = app.context
        transport = httpx.ASGITransport(asgi, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://sendoff") as client:
            api = ApiFixture(app, asgi, client, key="")
            api.key = await api.new_key()
            yield api
