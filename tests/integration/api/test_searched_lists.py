"""Lists that search for what is rare: they answer in time what they have found, and where the search goes on."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from sendoff.store.queries.traffic import dead_letters, delivery_history
from tests.integration.api.api_fixture import ApiFixture
from tests.support.receiver import Receiver


@pytest.fixture
def hurried(sqlite_api: ApiFixture, monkeypatch: pytest.MonkeyPatch) -> ApiFixture:
    """An API whose scans read one row, and for which more time than a search may take passes with each look."""
    monkeypatch.setattr(delivery_history, "SCANNED_AT_MOST", 1)
    monkeypatch.setattr(dead_letters, "SCANNED_AT_MOST", 1)
    monkeypatch.setattr(sqlite_api.app.clock, "monotonic", count(step=10.0).__next__)
    return sqlite_api


async def pages(api: ApiFixture, path: str, **query: str) -> list[dict[str, Any]]:
    """The pages of the list, until there is no further one."""
    found: list[dict[str, Any]] = []
    while not found or found[-1]["next_cursor"]:
        cursor = {"cursor": found[-1]["next_cursor"]} if found else {}
        found.append((await api.get(path, params=query | cursor)).json())
    return found


@pytest.mark.parametrize("path", ["/operator/v1/deliveries", "/api/v1/deliveries"])
async def test_a_search_that_ends_early_says_how_far_it_came_and_finds_the_rest(
    hurried: ApiFixture, receiver: Receiver, path: str
) -> None:
    await hurried.register(receiver.url("/hook"))
    rare = await hurried.publish(type="upload.failed")
    accepted = [rare, await hurried.publish(), await hurried.publish()]
    found = await pages(hurried, path, event_type="upload.failed")
    assert [[one["event_id"] for one in page["data"]] for page in found] == [[], [], [rare["id"]], []]
    assert ["scanned_back_to" in page for page in found] == [True, True, True, False]
    assert found[0]["scanned_back_to"] > found[1]["scanned_back_to"]
    common = await pages(hurried, path)
    assert [[one["event_id"] for one in page["data"]] for page in common] == [[one["id"] for one in accepted[::-1]]]
    assert set(common[0]) == {"data", "next_cursor"}


async def test_dead_letters_are_searched_in_the_same_way(
    sqlite_api: ApiFixture, receiver: Receiver, request: pytest.FixtureRequest
) -> None:
    receiver.program("/hook", 200, 500)
    await sqlite_api.die(receiver.url("/hook"))
    hurried = request.getfixturevalue("hurried")
    found = await pages(hurried, "/operator/v1/dead-letters", response_status="404")
    assert [page["data"] for page in found] == [[], []]
    assert ["scanned_back_to" in page for page in found] == [True, False]


async def test_rare_rows_are_found_at_once_within_the_time(
    sqlite_api: ApiFixture, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_history, "SCANNED_AT_MOST", 1)
    await sqlite_api.register(receiver.url("/hook"))
    rare = await sqlite_api.publish(type="upload.failed")
    await sqlite_api.publish()
    [page] = await pages(sqlite_api, "/operator/v1/deliveries", event_type="upload.failed")
    assert [one["event_id"] for one in page["data"]] == [rare["id"]]
