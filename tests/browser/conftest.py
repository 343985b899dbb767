"""The pages in a real Chromium, against an API on a socket of its own; skipped where no Chromium can be had."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uvicorn

from tests.browser.tabs import Site
from tests.integration.api.api_fixture import open_api
from tests.support.debian import find_program
from tests.support.polling import eventually
from tests.support.ports import free_port


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Debian's Chromium, which root gets from its packages if it is missing."""
    pytest.importorskip("playwright", reason="playwright is not installed; `make setup` does it")
    found = find_program("chromium", "chromium-browser", package="chromium")
    if found is None:
        pytest.skip("Chromium is not installed; `apt-get install chromium` does it on Debian")
    return found


@pytest.fixture
async def site(sqlite_url: str, valkey_url: str, chromium: str) -> AsyncIterator[Site]:
    """An API that listens on this machine, and a browser in front of it. The test moves clock and worker by hand."""
    from playwright.async_api import async_playwright

    port = free_port()
    async with open_api(sqlite_url, valkey_url, public_url=f"http://127.0.0.1:{port}") as api:
        server = uvicorn.Server(uvicorn.Config(api.asgi, port=port, log_config=None, lifespan="off", ws="none"))
        serving = asyncio.create_task(server.serve())
        await eventually(lambda: server.started, within=10, what=lambda: "the API's socket")
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
            )
            yield Site(api, f"http://127.0.0.1:{port}", browser)
            await browser.close()
        server.should_exit = True
        await serving
