"""Which requests make their sender known, so that its next ones do not wait behind those of unknown senders."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.http.server.pacing import Pacer
from tests.integration.api.api_fixture import ApiFixture, open_api
from tests.integration.api.test_uploads import UPLOADS, uploaded
from tests.support.visitor import Visitor

EVENT = {"type": "upload.completed", "data": {}}


@pytest.fixture
def paced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses of the requests whose senders were not known."""
    addresses: list[str] = []

    async def wait(_pacer: Pacer, address: str) -> None:
        addresses.append(address)

    monkeypatch.setattr(Pacer, "wait", wait)
    return addresses


REQUESTS = {
    "a read": ("GET", "/api/v1/webhooks", None),
    "a small publish": ("POST", "/api/v1/events", EVENT),
    "a small batch": ("POST", "/api/v1/events/batch", {"events": [EVENT]}),
    "a request of a business's client": ("GET", "/api/v1/me", None),
    "a read of what is not there": ("GET", f"{UPLOADS}/0199c1f2-6f1e-7c3a-8f43-1f0c2f6d9a11", None),
}


@pytest.mark.parametrize("kind", REQUESTS)
async def test_a_request_with_a_valid_key_makes_it_known(kind: str, sqlite_api: ApiFixture, paced: list[str]) -> None:
    method, path, body = REQUESTS[kind]
    for _ in range(2):
        assert (await sqlite_api.call(method, path, json=body)).status_code != 401
    assert len(paced) == 1


async def test_a_page_of_a_valid_session_makes_it_known(sqlite_api: ApiFixture, paced: list[str]) -> None:
    visitor = Visitor.of(sqlite_api.asgi)
    await visitor.log_in(sqlite_api.key)
    await visitor.open("/dashboard/deliveries")
    paced.clear()
    for path in ("/dashboard/deliveries", "/docs"):
        assert (await visitor.open(path)).status_code == 200
    assert not paced
    await visitor.aclose()


async def test_a_link_to_a_file_makes_nobody_known_and_counts_as_a_request_without_a_key(
    sqlite_url: str, valkey_url: str, tmp_path: Path, paced: list[str]
) -> None:
    storage = f"file://{tmp_path}/storage"
    async with open_api(sqlite_url, valkey_url, storage_url=storage, anonymous_rate_limit=3) as api:
        shown = await uploaded(api)
        link = (await api.get(f"{UPLOADS}/{shown['id']}/download/original")).json()["url"]
        paced.clear()
        answers = [(await api.get(link, key="invented")).status_code for _ in range(4)]
        assert answers == [200, 200, 200, 429]
        assert len(paced) == 4
        assert (await api.get(link)).status_code == 200  # a valid key is served
