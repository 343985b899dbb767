"""`retry_schedule`, `timeout_seconds` and `max_in_flight` of a webhook."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.api.api_fixture import ApiFixture
from tests.support.receiver import Receiver

BOUNDS = {"retry_schedule": ["30s", "5m", "2h"], "timeout_seconds": 30, "max_in_flight": 20}


async def test_bounds_are_given_shown_changed_and_cleared(api: ApiFixture, receiver: Receiver) -> None:
    webhook = await api.register(receiver.url("/hook"), **BOUNDS)
    assert BOUNDS.items() <= webhook.items()
    path = f"/api/v1/webhooks/{webhook['id']}"
    assert (await api.get(path)).json() == webhook
    [listed] = (await api.get("/operator/v1/endpoints")).json()["data"]
    assert BOUNDS.items() <= listed.items()
    changed = (await api.patch(path, {"retry_schedule": [], "timeout_seconds": 1})).json()
    assert (changed["retry_schedule"], changed["timeout_seconds"], changed["max_in_flight"]) == ([], 1, 20)
    cleared = (await api.patch(path, dict.fromkeys(BOUNDS))).json()
    assert not BOUNDS.keys() & cleared.keys()


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("retry_schedule", ["25h"], "longer than 24h"),
        ("retry_schedule", ["24h"] * 8, "longer than 7d"),
        ("retry_schedule", ["1s"] * 21, "at most 20 items"),
        ("retry_schedule", ["soon"], "invalid duration 'soon'"),
        ("retry_schedule", [60], "valid string"),
        ("retry_schedule", "5m", "valid list"),
        ("timeout_seconds", 0, "greater than or equal to 1"),
        ("timeout_seconds", 31, "less than or equal to 30"),
        ("timeout_seconds", "5", "valid integer"),
        ("max_in_flight", 0, "greater than or equal to 1"),
        ("max_in_flight", 21, "this installation allows an endpoint 20"),
    ],
)
async def test_a_value_beyond_its_bounds_is_refused_by_its_name(
    sqlite_api: ApiFixture, receiver: Receiver, field: str, value: Any, said: str
) -> None:
    refused = await sqlite_api.post("/api/v1/webhooks", {"url": receiver.url("/hook"), field: value})
    assert refused.status_code == 400
    assert field in refused.json()["detail"]
    assert said in refused.json()["detail"]
    assert receiver.requests() == []
    webhook = await sqlite_api.register(receiver.url("/hook"))
    assert (await sqlite_api.patch(f"/api/v1/webhooks/{webhook['id']}", {field: value})).status_code == 400
