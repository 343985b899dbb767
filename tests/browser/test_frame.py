"""The portal in a frame of another site's page, over https, in a Chromium that blocks cookies of other sites."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from tests.integration.api.api_fixture import ApiFixture, open_api
from tests.integration.pages.test_portal_sessions import new_link
from tests.support.polling import eventually
from tests.support.ports import free_port
from tests.support.tls import Authority

if TYPE_CHECKING:
    from playwright.async_api import Browser, FrameLocator, Page

ALLOWED, STRANGE = "https://app.example.com", "https://evil.example.com"
AROUND = """<!doctype html><title>Around</title><iframe src="{url}" width="900" height="300"></iframe><script>
window.told = [];
window.addEventListener("message", (event) => window.told.push([event.origin, event.data.type, event.data.height]));
</script>"""


@asynccontextmanager
async def serving(api: ApiFixture, port: int, certificate: Path) -> AsyncIterator[None]:
    config = uvicorn.Config(api.asgi, port=port, log_config=None, lifespan="off", ws="none", ssl_certfile=certificate)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    await eventually(lambda: server.started, within=10, what=lambda: "the API's socket")
    yield
    server.should_exit = True
    await task


async def page_around(browser: Browser, origin: str, url: str) -> Page:
    """A page of the origin with a frame that shows `url`; the origin's host does not exist."""
    context = await browser.new_context(ignore_https_errors=True)
    context.set_default_timeout(10_000)

    async def answer(route: Any) -> None:
        await route.fulfill(content_type="text/html", body=AROUND.format(url=url))

    await context.route(f"{origin}/", answer)
    page = await context.new_page()
    await page.goto(f"{origin}/")
    return page


async def walk(frame: FrameLocator) -> None:
    """Over pages and a form, each of which needs the session's cookie."""
    await frame.get_by_role("link", name="Deliveries").click()
    await frame.get_by_role("heading", name="Deliveries").wait_for()
    await frame.get_by_role("button", name="Colours: dark").click()
    await frame.locator("html[data-scheme=dark]").wait_for()
    await frame.get_by_role("link", name="Signature helper").click()
    await frame.get_by_role("heading", name="Why does a signature not verify?").wait_for()


async def test_an_allowed_site_frames_the_portal_and_is_told_its_height(
    sqlite_url: str, valkey_url: str, chromium: str, tmp_path: Path
) -> None:
    from playwright.async_api import async_playwright

    port = free_port()
    base_url, certificate = f"https://127.0.0.1:{port}", Authority(tmp_path).certificate("127.0.0.1")
    settings = {"public_url": base_url, "portal_frame_ancestors": "https://*.example.org,https://app.example.com"}
    async with (
        open_api(sqlite_url, valkey_url, **settings) as api,
        serving(api, port, certificate),
        async_playwright() as playwright,
    ):
        browser = await playwright.chromium.launch(
            executable_path=chromium,
            args=[
                *("--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"),
                "--test-third-party-cookie-phaseout",
                "--disable-features=LocalNetworkAccessChecks",  # the API is on loopback, the page around it seems not
            ],
        )
        page = await page_around(browser, ALLOWED, base_url + await new_link(api))
        frame = page.frame_locator("iframe")
        await walk(frame)
        await page.wait_for_function("window.told.length > 1")
        told = await page.evaluate("window.told")
        assert {(origin, kind) for origin, kind, _ in told} == {(base_url, "sendoff:height")}
        assert all(200 < height < 5_000 for *_, height in told)
        await frame.get_by_role("button", name="Leave").click()
        await frame.get_by_text("You have left this page.").wait_for()
        assert "sendoff-portal" not in str(await page.context.cookies(base_url))

        strange = await page_around(browser, STRANGE, base_url + await new_link(api))
        await eventually(lambda: len(strange.frames) == 2, within=10, what=lambda: "the frame")
        await strange.frames[1].wait_for_load_state()
        assert "Endpoints" not in await strange.frames[1].content()  # an error of the browser's
        assert await strange.evaluate("window.told") == []
        await browser.close()
