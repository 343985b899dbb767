"""The dashboard's pages of alert endpoints: added after a ping, tested, changed, and their failures seen."""

from __future__ import annotations

from tests.integration.api.api_fixture import ApiFixture
from tests.support.exchange import Reply
from tests.support.receiver import Receiver
from tests.support.visitor import Visitor

PATH = "/operator/v1/alert-endpoints"


async def test_an_alert_endpoint_is_added_after_its_ping_and_shows_its_secret_once(
    api: ApiFixture, operator: Visitor, receiver: Receiver
) -> None:
    receiver.program("/alerts", Reply(503, body="<b>not yet</b>"), 200)
    form = await operator.open("/dashboard/alerts/new")
    fields = {"url": receiver.url("/alerts"), "events": "endpoint.disabled", "description": "On call"}
    failed = await operator.submit(form, "/dashboard/alerts", **fields)
    assert (failed.status_code, "&lt;b&gt;not yet&lt;/b&gt;" in failed.text) == (400, True)
    assert (await api.get(PATH)).json()["data"] == []
    added = await operator.submit(failed, "/dashboard/alerts", **fields)
    assert "answered the ping with 200" in added.text
    [made] = (await api.get(PATH)).json()["data"]
    assert (made["events"], made["organization_ids"]) == (["endpoint.disabled"], None)
    secret = added.text.split('<p class="secret">')[1].split()[0]
    assert secret not in (await operator.open(f"/dashboard/alerts/{made['id']}")).text


async def test_a_test_shows_the_answer_and_the_page_what_failed(
    api: ApiFixture, visitor: Visitor, receiver: Receiver
) -> None:
    made = (await api.post(PATH, {"url": receiver.url("/alerts")})).json()
    receiver.program("/hook", 200, 500)
    receiver.program("/alerts", 500)
    await api.die(receiver.url("/hook"))
    await visitor.log_in(api.key)
    page = await visitor.open(f"/dashboard/alerts/{made['id']}")
    tested = await visitor.submit(page, "/test", type="endpoint.disabled")
    assert "the receiver answered 500" in tested.text
    assert (
        await visitor.submit(await visitor.open(f"/dashboard/alerts/{made['id']}"), "/test", type="x")
    ).status_code == 400


async def test_an_alert_endpoint_is_changed_paused_and_deleted(
    api: ApiFixture, operator: Visitor, receiver: Receiver
) -> None:
    made = (await api.post(PATH, {"url": receiver.url("/alerts")})).json()
    path = f"/dashboard/alerts/{made['id']}"
    mine = api.app.principal.organization_id
    edited = await operator.submit(
        await operator.open(f"{path}/edit"), "/edit", organization_ids=f"{mine},", description="Ours", events="*"
    )
    assert "The alert endpoint is saved." in edited.text
    [seen] = (await api.get(PATH)).json()["data"]
    assert (seen["organization_ids"], seen["description"], seen["events"]) == ([mine], "Ours", ["*"])
    wrong = await operator.submit(await operator.open(f"{path}/edit"), "/edit", organization_ids="acme")
    assert (wrong.status_code, "organization_ids" in wrong.text) == (400, True)
    paused = await operator.submit(edited, "/pause")
    assert "no alerts go to it until you resume it" in paused.text
    resumed = await operator.submit(paused, "/resume")
    assert "Alerts go to it again." in resumed.text
    rotated = await operator.submit(resumed, "/rotate-secret")
    assert "shown this once" in rotated.text
    gone = await operator.submit(await operator.open(path), "/delete")
    assert "The alert endpoint is deleted." in gone.text
    assert (await operator.get(path)).status_code == 404


async def test_an_endpoint_of_a_customer_is_no_alert_endpoint(
    api: ApiFixture, operator: Visitor, receiver: Receiver
) -> None:
    webhook = await api.register(receiver.url("/hook"))
    assert (await operator.get(f"/dashboard/alerts/{webhook['id']}")).status_code == 404
