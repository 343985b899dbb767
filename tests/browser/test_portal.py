"""Customers' everyday work in the portal, and every page of it looked at by axe, in both schemes."""

from __future__ import annotations

import re

from sendoff.operators.replays.replay import tick_replay
from tests.browser.tabs import Site, Tab
from tests.integration.pages.test_portal import HOSTILE
from tests.integration.pages.test_portal_sessions import NEEDS, new_link, walk_ids
from tests.support.exchange import Reply
from tests.support.receiver import Receiver

RETURN_URL = "https://app.example.com/hooks"


async def enter(site: Site, *, scripts: bool = True, width: int = 1280) -> Tab:
    """A tab in the portal, with every right; the product's page that it leads back to is there as well."""
    tab = await site.tab(scripts=scripts, width=width)
    await tab.page.route(RETURN_URL, lambda route: route.fulfill(content_type="text/html", body="<h1>Product</h1>"))
    await tab.open(await new_link(site.api, return_url=RETURN_URL))
    await tab.page.get_by_role("heading", name="Endpoints").wait_for()
    return tab


async def add_an_endpoint(site: Site, receiver: Receiver) -> None:
    """The ping fails first, and the form says why."""
    receiver.program("/hook", Reply(404, body=f"no such route {HOSTILE}"), 204)
    tab = await enter(site)
    page = tab.page
    await page.get_by_role("link", name="Add an endpoint").click()
    await page.get_by_label("URL of your receiver").fill(receiver.url("/hook"))
    await page.get_by_label("upload.completed").check()
    await page.get_by_role("button", name="Ping it and add it").click()
    await page.get_by_text("no such route").wait_for()
    await page.get_by_text("Compare the URL's path").wait_for()
    await tab.picture("portal-ping-failed")
    await page.get_by_role("button", name="Ping it and add it").click()
    await page.get_by_text("The receiver answered the ping with 204.").wait_for()
    assert re.fullmatch("[0-9a-f]{64}", await page.locator("#secret").inner_text())
    await page.get_by_text("Ruby", exact=True).click()
    await page.get_by_text("WEBrick::HTTPServer.new").wait_for()
    await tab.picture("portal-secret")
    await tab.check()


async def mend_and_recover(site: Site, receiver: Receiver) -> None:
    """From a delivery that failed to its URL's correction, and to its delivery."""
    receiver.program("/wrong", 200, 404)
    await site.api.die(receiver.url("/wrong"))
    tab = await enter(site)
    page = tab.page
    await page.get_by_role("link", name=receiver.url("/wrong")).click()
    await page.get_by_role("link", name="upload.completed").click()
    await page.get_by_text("There is nothing at this path of the receiver.").wait_for()
    await tab.picture("portal-delivery")
    await page.get_by_role("link", name=receiver.url("/wrong")).click()
    await page.get_by_role("link", name="Edit").click()
    await page.get_by_label("URL of your receiver").fill(receiver.url("/right"))
    await page.get_by_role("button", name="Save").click()
    await page.get_by_role("link", name="Recover what failed").click()
    await page.get_by_role("button", name="Send 1 again").click()
    await page.get_by_text("0 of 1 sent").wait_for()
    replay_id = page.url.rpartition("/")[2]
    for _ in range(3):
        site.api.app.clock.advance(1)
        await tick_replay(site.api.app.context, replay_id)
        await site.api.app.work()
    await page.get_by_text("1 of 1 sent, 1 delivered, 0 failed").wait_for()  # it moved without being asked
    assert len(receiver.requests("/right")) == 2
    assert await tab.clicks() <= 7  # two of them to see why it failed
    await tab.check()


async def send_again_by_phone(site: Site, receiver: Receiver) -> None:
    """Without scripts."""
    receiver.program("/hook", 200, Reply(500, body="broken"), 200)
    await site.api.register(receiver.url("/hook"))
    await site.api.publish()
    await site.api.app.work()
    tab = await enter(site, scripts=False, width=360)
    page = tab.page
    await page.get_by_role("link", name="Deliveries").click()
    await page.get_by_role("link", name="upload.completed").first.click()
    await page.get_by_role("button", name="Send again").click()
    await page.get_by_text("The delivery is being sent again.").wait_for()
    await tab.picture("portal-phone")
    await page.get_by_role("button", name="Leave").click()
    await page.get_by_role("heading", name="Product").wait_for()


async def test_customers_add_mend_recover_and_send_again_alone(site: Site, receiver: Receiver) -> None:
    await mend_and_recover(site, receiver)
    await add_an_endpoint(site, receiver)
    await send_again_by_phone(site, receiver)


async def test_every_page_is_accessible_and_runs_nothing_of_others(site: Site, receiver: Receiver) -> None:
    ids = await walk_ids(site.api, receiver)
    change = {"description": HOSTILE, "events": ["*"]}
    await site.api.patch(f"/api/v1/webhooks/{ids['endpoint_id']}", change)
    receiver.program("/private-path", Reply(500, body=HOSTILE, headers=(("X-Odd", HOSTILE),)))
    event = await site.api.publish({"text": HOSTILE})
    await site.api.app.work()
    listed = await site.api.get("/api/v1/deliveries", params={"event_id": event["id"]})
    ids["delivery_id"] = listed.json()["data"][0]["id"]
    tab = await enter(site)
    found = []
    for method, path in sorted(NEEDS):
        if method == "GET" and path not in ("/portal/enter", "/portal/expired", "/portal/brand/{name}"):
            await tab.open(path.format(**ids))
            found += await tab.inaccessible()
            await tab.check()
    assert found == []
