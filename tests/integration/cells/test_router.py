"""The router: each request reaches the cell of its organization, operators see all cells, and an outage stays one."""

from __future__ import annotations

from itertools import count
from typing import Any
from urllib.parse import quote

import pytest

from sendoff.store.queries.traffic import delivery_history
from tests.integration.cells.conftest import Cells
from tests.support.receiver import Receiver

EVENT = {"type": "upload.completed", "data": {"upload": {"id": "1"}}}


async def test_a_customers_requests_reach_the_cell_of_its_key(cells: Cells, receiver: Receiver) -> None:
    for cell in (cells.eu, cells.us):
        registered = await cells.call("POST", "/api/v1/webhooks", cell.key, json={"url": receiver.url("/hook")})
        assert registered.status_code == 200, registered.text
        accepted = await cells.call("POST", "/api/v1/events", cell.key, json=EVENT)
        assert accepted.status_code == 202, accepted.text
        there = await cell.get(f"/operator/v1/events/{accepted.json()['id']}")
        assert there.status_code == 200
        listed = await cells.call("GET", "/api/v1/webhooks", cell.key)
        assert [one["id"] for one in listed.json()] == [registered.json()["webhook"]["id"]]


async def test_a_placement_is_asked_once(cells: Cells) -> None:
    for _ in range(3):
        await cells.call("POST", "/api/v1/events", cells.eu.key, json=EVENT)
    assert [request.url.path for request in cells.network.requests].count("/api/v1/me") == 2  # one of each cell


async def test_a_client_is_seen_with_its_own_address_and_request_id(cells: Cells) -> None:
    answer = await cells.client.get(
        "/api/v1/webhooks",
        headers={"Authorization": f"Bearer {cells.eu.key}", "X-Request-ID": "req-1", "X-Forwarded-For": "9.9.9.9"},
    )
    forwarded = cells.network.requests[-1]
    assert (answer.headers["x-request-id"], forwarded.headers["x-request-id"]) == ("req-1", "req-1")
    assert forwarded.headers["x-forwarded-for"] == "127.0.0.1"  # nobody's word is taken for another address
    assert answer.headers.get_list("x-request-id") == ["req-1"]


@pytest.mark.parametrize(("key", "status"), [("", 401), ("od_live_" + "x" * 32, 401), ("nonsense", 401)])
async def test_a_token_that_no_cell_knows_is_a_401(cells: Cells, key: str, status: int) -> None:
    assert (await cells.call("GET", "/api/v1/webhooks", key)).status_code == status


async def test_an_unknown_token_is_asked_about_once_in_seconds(cells: Cells) -> None:
    answers = [await cells.call("GET", "/api/v1/webhooks", "nonsense") for _ in range(3)]
    assert [one.status_code for one in answers] == [401] * 3
    assert [request.url.path for request in cells.network.requests].count("/api/v1/me") == 2


async def test_an_outage_of_one_cell_is_one_of_its_organizations_alone(cells: Cells) -> None:
    cells.network.away = {"eu"}
    lost = await cells.call("POST", "/api/v1/events", cells.eu.key, json=EVENT)
    assert (lost.status_code, lost.headers["retry-after"]) == (503, "5")  # not a 401: it may know the key
    assert (await cells.call("POST", "/api/v1/events", cells.us.key, json=EVENT)).status_code == 202
    ready = await cells.client.get("/ready")
    assert (ready.status_code, ready.json()["warnings"]) == (200, ["eu"])
    metrics = (await cells.client.get("/metrics")).text
    assert 'sendoff_cell_requests_total{cell="eu",result="away"}' in metrics
    cells.network.away = {"eu", "us"}
    assert (await cells.client.get("/ready")).status_code == 503
    assert (await cells.client.get("/health")).status_code == 200


async def test_operators_lists_are_merged_newest_first_without_gap_or_repetition(cells: Cells) -> None:
    key = await cells.operators_key()
    ids = []
    for number in range(7):
        cell = (cells.eu, cells.us, cells.us)[number % 3]
        ids.append((await cell.publish())["id"])
        cells.advance(1)
    seen, cursor = [], None
    while True:
        query = {"limit": "2", **({"cursor": cursor} if cursor else {})}
        page = (await cells.call("GET", "/operator/v1/events", key, params=query)).json()
        seen += [(one["id"], one["cell"]) for one in page["data"]]
        assert page["incomplete"] == []
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert [id_ for id_, _ in seen] == ids[::-1]
    assert [cell for _, cell in seen] == [("eu", "us", "us")[number % 3] for number in range(7)][::-1]


async def test_a_merged_list_leaves_out_nothing_when_a_cell_stops_its_search_early(
    cells: Cells, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await cells.operators_key()
    monkeypatch.setattr(delivery_history, "SCANNED_AT_MOST", 1)
    for cell in (cells.eu, cells.us):
        await cell.register(receiver.url("/hook"))
        monkeypatch.setattr(cell.app.clock, "monotonic", count(step=10.0).__next__)
    rare: list[str] = []
    for cell in (cells.us, cells.eu):  # those of one cell are all newer than those of the other
        for type_ in ("upload.failed", "upload.completed", "upload.completed"):
            event = await cell.publish(type=type_)
            rare += [event["id"]] if type_ == "upload.failed" else []
            cells.advance(1)
    seen: list[str] = []
    page: dict[str, Any] = {"next_cursor": ""}
    while page["next_cursor"] is not None:
        query = {"event_type": "upload.failed", "cursor": page["next_cursor"]}
        page = (await cells.call("GET", "/operator/v1/deliveries", key, params=query)).json()
        assert ("scanned_back_to" in page) == (page["next_cursor"] is not None)
        seen += [one["event_id"] for one in page["data"]]
    assert seen == rare[::-1]


async def test_operators_find_one_thing_wherever_it_is(cells: Cells, receiver: Receiver) -> None:
    key = await cells.operators_key()
    webhook = await cells.us.register(receiver.url("/hook"))
    path = f"/operator/v1/endpoints/{webhook['id']}"
    assert (await cells.call("GET", path, key)).json()["id"] == webhook["id"]
    disabled = await cells.call("POST", f"{path}/disable", key)
    assert disabled.status_code == 200, disabled.text
    assert (await cells.us.get(path)).json()["state"] == "disabled"
    absent = await cells.call("GET", "/operator/v1/deliveries/00000000-0000-7000-8000-000000000000", key)
    assert absent.status_code == 404
    assert (await cells.call("GET", "/operator/v1/deliveries/nonsense", key)).status_code == 404


@pytest.mark.parametrize(
    "named", ["x HTTP/1.1\r\nhost: a\r\n\r\nGET /health", "x?limit=1", "\u00e9", "%2e%2e/%2e%2e/health"]
)
async def test_a_name_in_a_request_does_not_change_the_routers_question(cells: Cells, named: str) -> None:
    key = await cells.operators_key()
    webhook = f"/operator/v1/endpoints/{quote(named, safe='')}"
    assert (await cells.call("GET", webhook, key)).status_code == 404
    body = {"filter": {"organization_id": named}, "dry_run": True}
    assert (await cells.call("POST", "/operator/v1/replays", key, json=body)).status_code in (400, 404)
    for _ in range(3):  # answers belong to their questions still
        assert "data" in (await cells.call("GET", "/operator/v1/events", key)).json()


async def test_the_drain_of_a_worker_needs_its_cell(cells: Cells) -> None:
    key = await cells.operators_key()
    drain = "/operator/v1/workers/00000000-0000-7000-8000-000000000000/drain"
    unclear = await cells.call("POST", drain, key)
    assert (unclear.status_code, "?cell=" in unclear.json()["detail"]) == (400, True)
    assert (await cells.call("POST", f"{drain}?cell=us", key)).status_code == 404


async def test_a_write_for_no_certain_cell_needs_its_name(cells: Cells) -> None:
    key = await cells.operators_key()
    unclear = await cells.call("POST", "/operator/v1/organizations", key, json={"name": "New"})
    assert (unclear.status_code, "eu, us" in unclear.json()["detail"]) == (400, True)
    made = await cells.call("POST", "/operator/v1/organizations?cell=us", key, json={"name": "New"})
    assert made.status_code < 300, made.text
    body = {"filter": {"organization_id": made.json()["id"]}, "dry_run": True}
    counted = await cells.call("POST", "/operator/v1/replays", key, json=body)
    assert counted.status_code == 200, counted.text
    unknown = await cells.call("GET", "/operator/v1/events?cell=mars", key)
    assert (unknown.status_code, "eu, us" in unknown.json()["detail"]) == (400, True)


async def test_lists_say_which_cells_are_missing(cells: Cells) -> None:
    key = await cells.operators_key()
    await cells.eu.publish()
    assert (await cells.call("GET", "/operator/v1/events", key)).json()["incomplete"] == []
    cells.network.away = {"us"}
    page = (await cells.call("GET", "/operator/v1/events", key)).json()
    assert (len(page["data"]), page["incomplete"]) == (1, ["us"])
    overview = (await cells.call("GET", "/operator/v1/overview", key)).json()
    assert (list(overview["cells"]), overview["incomplete"]) == (["eu"], ["us"])


async def test_a_wrong_query_is_refused_as_by_a_cell(cells: Cells) -> None:
    key = await cells.operators_key()
    refused = await cells.call("GET", "/operator/v1/events?limt=3", key)
    assert (refused.status_code, "limit" in refused.json()["detail"]) == (400, True)


async def test_a_page_that_all_cells_share_comes_from_any(cells: Cells) -> None:
    cells.network.away = {"eu"}
    assert (await cells.client.get("/docs")).status_code == 200
    assert (await cells.client.get("/dashboard")).status_code == 404


async def test_a_browser_is_told_where_the_pages_are(cells: Cells) -> None:
    accept = {"Accept": "text/html,application/xhtml+xml"}
    for path, status in (("/", 200), ("/dashboard", 404), ("/portal/enter?t=x", 404)):
        page = await cells.client.get(path, headers=accept)
        assert (page.status_code, page.headers["content-type"]) == (status, "text/html; charset=utf-8")
        assert "Pages are served by each cell under its own address" in page.text
    assert (await cells.client.get("/docs", headers=accept)).status_code == 200
    assert (await cells.client.get("/dashboard")).json()["detail"].startswith("Pages are served by each cell")
