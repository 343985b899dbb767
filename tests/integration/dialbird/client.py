"""Calls the Dialbird surface and holds every answer to what the contract says of all of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import httpx

from tests.integration.api.api_fixture import ApiFixture

SUBSCRIPTIONS = "/api/v1/subscriptions"
ME = "/api/v1/me"
TYPE = "message.incoming.received"

STATUSES = {
    "validation_error": 400,
    "invalid_phone_number": 400,
    "invalid_event_type": 400,
    "missing_token": 401,
    "invalid_token": 401,
    "expired_token": 401,
    "insufficient_scope": 403,
    "forbidden": 403,
    "business_suspended": 403,
    "not_found": 404,
    "conflict": 409,
    "idempotency_key_reused": 409,
    "idempotency_in_progress": 409,
    "gone": 410,
    "unprocessable_entity": 422,
    "rate_limited": 429,
    "internal_error": 500,
}
"""The contract's table."""

WITHOUT_CODE = {405: "not_found", 408: "validation_error", 413: "validation_error", 415: "validation_error"} | {
    503: "internal_error"
}
"""HTTP's own statuses, with the nearest code of the table."""


@dataclass
class DialbirdClient:
    """A client with a key of scope `api:webhooks`."""

    api: ApiFixture
    key: str

    @classmethod
    async def of(cls, api: ApiFixture) -> DialbirdClient:
        return cls(api, await api.new_key("api:webhooks"))

    async def call(self, method: str, path: str, *, key: str | None = None, **request: Any) -> httpx.Response:
        """A request with `key`, by default the client's own; an empty one sends none. The answer is checked."""
        answer = await self.api.call(method, path, key=self.key if key is None else key, **request)
        check(answer)
        return answer

    async def get(self, path: str = SUBSCRIPTIONS, **request: Any) -> httpx.Response:
        return await self.call("GET", path, **request)

    async def post(self, body: Any, **request: Any) -> httpx.Response:
        return await self.call("POST", SUBSCRIPTIONS, json=body, **request)

    async def patch(self, subscription_id: str, body: Any, **request: Any) -> httpx.Response:
        return await self.call("PATCH", f"{SUBSCRIPTIONS}/{subscription_id}", json=body, **request)

    async def delete(self, subscription_id: str, **request: Any) -> httpx.Response:
        return await self.call("DELETE", f"{SUBSCRIPTIONS}/{subscription_id}", **request)

    async def subscribe(self, target_url: str, event_type: str = TYPE, **request: Any) -> dict[str, Any]:
        """A subscription, with its secret."""
        answer = await self.post({"event_type": event_type, "target_url": target_url}, **request)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def status(self, subscription_id: str) -> str:
        """The subscription's status in the list."""
        found = [one for one in (await self.get()).json() if one["id"] == subscription_id]
        assert len(found) == 1
        status: str = found[0]["status"]
        return status

    async def happen(self, event_type: str = TYPE, data: Any = None) -> str:
        """An event, published by the product's backend; its id."""
        accepted: str = (await self.api.publish(data or {"text": "Hi"}, type=event_type))["id"]
        return accepted


def check(answer: httpx.Response) -> None:
    """What every answer of the surface carries, and what every error looks like."""
    assert re.fullmatch("[A-Za-z0-9_-]{1,64}", answer.headers["X-Request-Id"])
    limit, remaining, reset = (int(answer.headers[f"X-RateLimit-{name}"]) for name in ("Limit", "Remaining", "Reset"))
    assert 0 <= remaining <= limit
    assert reset % 60 == 0
    if answer.status_code < 400:
        return
    body = answer.json()
    assert list(body) == ["error"]
    error = body["error"]
    assert set(error) - {"field"} == {"code", "message", "request_id"}
    assert error["request_id"] == answer.headers["X-Request-Id"]
    assert isinstance(error["message"], str)
    assert error["message"]
    if answer.status_code in WITHOUT_CODE:
        assert error["code"] == WITHOUT_CODE[answer.status_code]
    else:
        assert STATUSES[error["code"]] == answer.status_code
    if "field" in error:
        assert error["code"] in ("validation_error", "invalid_event_type", "invalid_phone_number")
    assert ("Retry-After" in answer.headers) == (answer.status_code in (429, 503))
    assert ("WWW-Authenticate" in answer.headers) == (answer.status_code == 401)


def code_of(answer: httpx.Response) -> str:
    """The code of an error."""
    code: str = answer.json()["error"]["code"]
    return code
