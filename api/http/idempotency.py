"""Writes that may carry an Idempotency-Key: the same on every surface (Dialbird contract, "Idempotency")."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Protocol

from fastapi import Depends, Request
from pydantic import BaseModel
from starlette.responses import Response

from sendoff.idempotency import IdempotentRequest, StoredResponse, fingerprint, once

from .authentication import context_of
from .dependencies import IdempotencyKey

REPLAYED = "Idempotency-Replayed"
"""The header of an answer that was given before."""


class _Auth(Protocol):
    @property
    def organization_id(self) -> str: ...
    @property
    def client_id(self) -> str: ...


class WriteRequest:
    """A request that changes something, done once for each Idempotency-Key."""

    def __init__(self, request: Request, key: IdempotencyKey) -> None:
        self._request = request
        self._key = key

    async def once(
        self,
        auth: _Auth,
        work: Callable[[], Awaitable[BaseModel | None]],
        *,
        status: int = 200,
        shows_secret: bool = False,
    ) -> Response:
        """Do the work and answer with its result, or repeat the answer that the key was given before.

        An answer with a secret is repeated to the client that got it; another client of the organization has used the
        key for another request.
        """

        async def answer() -> StoredResponse:
            made = await work()
            return StoredResponse(status, b"" if made is None else made.model_dump_json().encode())

        client_id = auth.client_id if shows_secret else ""
        return respond(await once(context_of(self._request), await self.identified(auth, client_id), answer))

    async def identified(self, auth: _Auth, client_id: str = "") -> IdempotentRequest | None:
        """The request by its key, for operations that reserve the key in the transaction of their work.

        With a `client_id` the same request of another client is another request.
        """
        if self._key is None:
            return None
        request = self._request
        place = (request.method, request.url.path, request.url.query, *filter(None, [client_id]))
        asked = fingerprint(*(part.encode() for part in place), await request.body())
        return IdempotentRequest(auth.organization_id, self._key, asked)


def respond(stored: StoredResponse) -> Response:
    """The stored answer, marked when it was given before."""
    headers = {REPLAYED: "true"} if stored.replayed else {}
    return Response(stored.body, stored.status, headers, "application/json" if stored.body else None)


async def _write_request(request: Request, key: IdempotencyKey) -> WriteRequest:
    return WriteRequest(request, key)


Write = Annotated[WriteRequest, Depends(_write_request)]
