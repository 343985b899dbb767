"""Operators' everyday work in the dashboard, with and without scripts, and every page looked at by axe."""

from __future__ import annotations

from sendoff.accounts import organizations
from sendoff.operators.installation.reconciliation_runs import ReconciliationRuns
from sendoff.operators.replays.replay import tick_replay
from tests.browser.tabs import Site
from tests.integration.pages.test_dashboard import HOSTILE, pages
from tests.support.app_fixture import ACTOR
from tests.support.exchange import Reply
from tests.support.receiver import Receiver


async def fail(site: Site, receiver: Receiver) -> dict[str, str]:
    """A dead letter whose receiver answers with what is hostile, and the event that it is of."""
    hostile = Reply(status=500, body=HOSTILE, headers=(("X-Odd", HOSTILE), ("Content-Type", "text/html")))
    receiver.program("/hook", 200, hostile)
    letter = await site.api.die(receiver.url("/hook"), {"order": {"number": "O-4711", "note": HOSTILE}})
    await site.api.patch(f"/api/v1/webhooks/{letter['endpoint_id']}", {"description": HOSTILE, "is_active": True})
    receiver.program("/hook", 200)
    return letter


async def test_an_event_is_found_explained_replayed_and_delivered(site: Site, receiver: Receiver) -> None:
    await fail(site, receiver)
    tab = await site.tab()
    await site.log_in(tab)
    await tab.page.keyboard.press("/")
    await tab.page.keyboard.type("O-4711")
    await tab.page.keyboard.press("Enter")
    await tab.page.get_by_text("Every attempt of the schedule failed").wait_for()
    await tab.picture("event")
    await tab.page.get_by_role("link", name="Failures").click()
    await tab.page.get_by_role("link", name="Replay these…").click()
    await tab.page.get_by_role("button", name="Replay 1").click()
    await tab.page.get_by_text("The replay has started.").wait_for()
    await tab.page.get_by_text("of 1 ended: 0 succeeded").wait_for()
    replay_id = tab.page.url.partition("/replays/")[2].partition("?")[0]
    for _ in range(3):
        site.api.app.clock.advance(1)
        await tick_replay(site.api.app.context, replay_id)
        await site.api.app.work()
    await tab.page.get_by_text("1 of 1 ended: 1 succeeded").wait_for()  # it moved without being asked
    await tab.picture("replay")
    assert await tab.clicks() <= 6
    await tab.check()


async def test_work_is_done_by_the_keyboard_alone(site: Site, receiver: Receiver) -> None:
    letter = await fail(site, receiver)
    tab = await site.tab()
    await tab.open("/dashboard/login")
    await tab.page.keyboard.type(site.api.key)
    await tab.page.keyboard.press("Enter")
    await tab.page.get_by_role("heading", name="Overview").wait_for()
    await tab.page.keyboard.press("?")
    await tab.page.get_by_role("dialog", name="Keys").wait_for()
    await tab.page.keyboard.press("Escape")
    await tab.page.get_by_role("dialog", name="Keys").wait_for(state="hidden")
    await tab.page.keyboard.type("gd")
    await tab.page.wait_for_url("**/dashboard/deliveries")
    await tab.page.keyboard.press("j")
    await tab.page.keyboard.press("Enter")
    await tab.page.get_by_role("heading", name=f"Delivery {letter['delivery_id']}").wait_for()
    await tab.page.keyboard.press("r")
    await tab.page.keyboard.press("Enter")
    await tab.page.get_by_text("The delivery is being attempted now.").wait_for()
    assert await tab.clicks() == 0
    await tab.check()


async def test_a_session_ends_with_its_key(site: Site) -> None:
    key = await site.api.new_key("operator")
    tab = await site.tab()
    await site.log_in(tab, key)
    for listed in await organizations.list_keys(site.api.app.context, site.api.app.principal.organization_id):
        if key.startswith(listed.key.prefix):
            await organizations.revoke_key(site.api.app.context, ACTOR, listed.key.id)
    await tab.page.get_by_role("link", name="Deliveries").first.click()
    await tab.page.wait_for_url("**/dashboard/login?next=*")


async def test_work_is_done_without_scripts(site: Site, receiver: Receiver) -> None:
    letter = await fail(site, receiver)
    tab = await site.tab(scripts=False, width=360)
    await site.log_in(tab)
    await tab.open(f"/dashboard/dead-letters/{letter['id']}")
    await tab.page.get_by_role("button", name="Send again now").click()
    await tab.page.get_by_text("The delivery is being attempted now.").wait_for()
    await tab.picture("phone")


async def test_every_page_is_accessible_and_runs_nothing_of_others(site: Site, receiver: Receiver) -> None:
    letter = await fail(site, receiver)
    chosen = {"filter": {"delivery_ids": [letter["delivery_id"]]}}
    replay = (await site.api.post("/operator/v1/replays", chosen)).json()
    event = await site.api.publish({"order": HOSTILE})
    await site.api.app.context.service(ReconciliationRuns).start(ACTOR)  # so that its page has a result
    alert = await site.api.post("/operator/v1/alert-endpoints", {"url": receiver.url("/a"), "description": HOSTILE})
    ids = letter | {"alert_endpoint_id": alert.json()["id"]}
    ids |= {"dead_letter_id": letter["id"], "event_id": event["id"], "replay_id": replay["id"]}
    tab = await site.tab()
    await tab.open("/dashboard/login")
    found = await tab.inaccessible()
    await site.log_in(tab)
    for path in pages():
        if not path.endswith((".json", ".csv", "/data")):
            await tab.open(path.format(**ids))
            found += await tab.inaccessible()
            await tab.check()
    assert found == []
