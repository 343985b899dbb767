"""The dashboard's pages show what the API knows, and do what the API does, with the session's key as actor."""

from __future__ import annotations

import csv
import html
import io
import re
from typing import Any

import pytest
from sqlalchemy import text

from api.pages.dashboard.replays import CONFIRM_ABOVE
from api.pages.dashboard.routes import ROUTES
from sendoff.observability.statistics import Statistics
from sendoff.operators import search
from sendoff.operators.installation.backlog import note_backlog
from sendoff.operators.installation.workers import Heartbeat
from sendoff.operators.replays.replay import tick_replay
from sendoff.store.queries.traffic import dead_letters, delivery_history
from tests.integration.api.api_fixture import ApiFixture
from tests.support.exchange import Reply
from tests.support.polling import eventually
from tests.support.receiver import Receiver
from tests.support.visitor import Visitor, forms_of, token_of

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}"


@pytest.fixture
async def ids(api: ApiFixture, receiver: Receiver) -> dict[str, str]:
    """A failed delivery with everything that belongs to it, by the names of routes' parameters."""
    hostile = Reply(status=500, body=HOSTILE, headers=(("X-Odd", HOSTILE),))
    receiver.program("/hook", 200, hostile)
    letter = await api.die(receiver.url("/hook"))
    await api.patch(f"/api/v1/webhooks/{letter['endpoint_id']}", {"description": HOSTILE, "is_active": True})
    event = await api.publish({"order": HOSTILE})
    replay = (await api.post("/operator/v1/replays", {"filter": {"delivery_ids": [letter["delivery_id"]]}})).json()
    alert = {"url": receiver.url("/alerts"), "description": HOSTILE}
    return {
        "alert_endpoint_id": (await api.post("/operator/v1/alert-endpoints", alert)).json()["id"],
        "delivery_id": letter["delivery_id"],
        "dead_letter_id": letter["id"],
        "endpoint_id": letter["endpoint_id"],
        "organization_id": letter["organization_id"],
        "event_id": event["id"],
        "replay_id": replay["id"],
    }


async def logged_in(api: ApiFixture, visitor: Visitor) -> Visitor:
    """An operator whose session began after what the clock was moved for."""
    await visitor.log_in(api.key)
    return visitor


def _paths(method: str) -> list[str]:
    return [route.path for route in ROUTES if method in (route.methods or ())]


def pages() -> list[str]:
    """The paths of every page that can be looked at."""
    paths = _paths("GET")
    outside = ("/dashboard/login", "/dashboard/enter")
    return [path for path in paths if path.startswith("/dashboard") and path not in outside]


async def test_every_page_opens_and_escapes_what_is_hostile(
    api: ApiFixture, ids: dict[str, str], operator: Visitor
) -> None:
    for path in pages():
        answer = await operator.get(path.format(**ids))
        assert answer.status_code == 200, (path, answer.text)
        assert len(answer.content) < 100_000, path
        if answer.headers["content-type"].startswith("text/html"):
            assert "<script>alert" not in answer.text, path
            assert "<img src=x" not in answer.text, path
            assert " style=" not in answer.text, path
        else:
            assert answer.headers["content-disposition"].startswith("attachment"), path


async def test_every_page_needs_a_session(api: ApiFixture, visitor: Visitor, ids: dict[str, str]) -> None:
    for path in pages():
        answer = await visitor.get(path.format(**ids))
        assert answer.status_code == 303, path
        assert answer.headers["location"].startswith("/dashboard/login?next="), path


async def test_every_action_needs_the_right_to_act(api: ApiFixture, visitor: Visitor, ids: dict[str, str]) -> None:
    await visitor.log_in(await api.new_key("operator:read"))
    page = await visitor.open("/dashboard/system")
    token = token_of(page.text)
    actions = _paths("POST")
    acting = [path for path in actions if path.rpartition("/")[2] not in ("login", "logout", "scheme")]
    assert len(acting) > 10
    for path in acting:
        unknown = dict.fromkeys(("key_id", "worker_id"), ids["event_id"])
        answer = await visitor.post(path.format(**ids, **unknown), {"form_token": token})
        assert answer.status_code == 403, path
        assert "<code>act</code>" in answer.text, path
    entries = (await api.get("/operator/v1/audit")).json()["data"]
    assert {entry["action"] for entry in entries} <= {
        "key.create", "page_session.open", "endpoint.create", "endpoint.update", "replay.start", "organization.create"
    }  # fmt: skip


async def test_a_reader_sees_no_buttons(api: ApiFixture, visitor: Visitor, ids: dict[str, str]) -> None:
    await visitor.log_in(await api.new_key("operator:read"))
    for path in pages():
        answer = await visitor.open(path.format(**ids))
        actions = {form.action.rpartition("/")[2] for form in forms_of(answer.text) if form.method == "post"}
        assert actions <= {"logout", "scheme"}, path


async def test_an_event_says_of_every_endpoint_what_became_of_it(
    api: ApiFixture, operator: Visitor, receiver: Receiver
) -> None:
    await api.register(receiver.url("/wanted"))
    await api.register(receiver.url("/other"), events=["upload.failed"])
    event = await api.publish({"order": {"number": "4711"}})
    await api.app.work()
    page = (await operator.open(f"/dashboard/events/{event['id']}")).text
    assert "/wanted" in page
    assert "The receiver acknowledged it" in page
    assert "/other" in page
    assert "subscribed to upload.failed, not to upload.completed" in page
    assert "4711" in page
    data = await operator.open(f"/dashboard/events/{event['id']}/data")
    assert data.text == '{"order": {"number": "4711"}}' or data.json() == {"order": {"number": "4711"}}


@pytest.mark.parametrize("quoted", ["O-4711", "order:4711", "req_ticket", "{id}", "{url}"])
async def test_the_search_leads_to_what_a_ticket_quotes(
    api: ApiFixture, operator: Visitor, receiver: Receiver, quoted: str
) -> None:
    webhook = await api.register(receiver.url("/hook"))
    body = {"type": "upload.completed", "data": {"order": "O-4711"}, "tags": ["order:4711"]}
    event = (await api.post("/api/v1/events", body, headers={"X-Request-Id": "req_ticket"})).json()
    asked = quoted.format(id=event["id"], url=webhook["url"])
    found = await operator.client.get("/dashboard/search", params={"q": asked}, follow_redirects=True)
    assert found.status_code == 200
    where = f"/endpoints/{webhook['id']}" if quoted == "{url}" else f"/events/{event['id']}"
    assert str(found.url).endswith(where)


async def test_a_search_without_a_single_result_lists_them(api: ApiFixture, operator: Visitor) -> None:
    for _ in range(2):
        await api.publish({"order": "O-4711"})
    page = await operator.open("/dashboard/search?q=O-4711")
    assert page.text.count('href="/dashboard/events/evt_') >= 2
    assert "Nothing was found" in (await operator.open("/dashboard/search?q=O-4712")).text


async def test_a_search_for_text_in_data_goes_on_with_older_events_when_asked(
    api: ApiFixture, operator: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = await api.publish({"order": "O-4711"})
    for number in range(4):
        await api.publish({"order": f"O-{number}"})
    monkeypatch.setattr(search, "PAGE_SECONDS", 0)
    monkeypatch.setattr(search, "_READ_AT_ONCE", 2)
    page = await operator.open("/dashboard/search?q=O-4711")
    assert "Nothing was found yet." in page.text
    for _ in range(2):
        link = html.unescape(page.text.split('class="button" href="')[1].split('"')[0])
        page = await operator.client.get(link, follow_redirects=True)
    assert str(page.url).endswith(f"/events/{wanted['id']}")


async def test_a_search_for_what_is_rare_reads_some_and_goes_on_when_asked(
    api: ApiFixture, visitor: Visitor, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.program("/hook", 200, 500)
    await api.die(receiver.url("/hook"))
    receiver.program("/hook", 200)
    for _ in range(2):
        await api.publish()
    operator = await logged_in(api, visitor)
    monkeypatch.setattr(delivery_history, "SCANNED_AT_MOST", 1)
    monkeypatch.setattr(dead_letters, "SCANNED_AT_MOST", 1)
    monkeypatch.setattr("api.pages.dashboard.deliveries.PAGE_SECONDS", 0)
    monkeypatch.setattr("api.pages.dashboard.dead_letters.PAGE_SECONDS", 0)

    async def pages_read(path: str) -> int:
        page, number = await operator.open(path), 1
        while (link := re.search(r'href="([^"]+)">Go on with older ones', page.text)) is not None:
            page, number = await operator.open(html.unescape(link[1])), number + 1
        assert "Nothing matches." in page.text
        return number

    assert await pages_read("/dashboard/deliveries?response_status=404") == 4
    assert await pages_read("/dashboard/dead-letters?response_status=404") == 2
    assert "or more" in (await operator.open("/dashboard/replays/new?response_status=404")).text
    assert "Go on with" not in (await operator.open("/dashboard/deliveries")).text


async def test_events_are_listed_by_tag_and_text(api: ApiFixture, operator: Visitor) -> None:
    organization = api.app.principal.organization_id
    wanted = await api.publish({"order": "O-4711"}, tags=["order:4711"])
    other = await api.publish({"order": "O-4712"})
    for query in ("tag=order:4711", f"q=O-4711&organization_id={organization}"):
        page = await operator.open(f"/dashboard/events?{query}")
        assert wanted["id"] in page.text, query
        assert other["id"] not in page.text, query
    refused = await operator.open("/dashboard/events?q=O-4711")
    assert refused.status_code == 400
    assert "organization_id" in refused.text


async def test_a_dead_letter_is_replayed_from_the_failures_and_its_progress_moves(
    api: ApiFixture, visitor: Visitor, receiver: Receiver
) -> None:
    receiver.program("/hook", 200, 500)
    letter = await api.die(receiver.url("/hook"))
    await visitor.log_in(api.key)
    await api.post(f"/operator/v1/endpoints/{letter['endpoint_id']}/enable")
    failures = await visitor.open("/dashboard/failures")
    link = failures.text.split('href="/dashboard/replays/new?')[1].split('"')[0].replace("&amp;", "&")
    wizard = await visitor.open(f"/dashboard/replays/new?{link}")
    assert "<b>1</b> delivery would be sent again" in wizard.text
    receiver.program("/hook", 200)
    started = await visitor.submit(wizard, "/dashboard/replays", rate="50")
    assert "The replay has started." in started.text
    replay_id = str(started.url).partition("/replays/")[2].partition("?")[0]
    for _ in range(3):
        api.app.clock.advance(1)
        await tick_replay(api.app.context, replay_id)
        await api.app.work()
    part = await visitor.get(f"/dashboard/replays/{replay_id}", headers={"HX-Request": "true"})
    assert "<b>1</b> of <b>1</b> ended: 1 succeeded" in part.text
    assert "<html" not in part.text
    assert "hx-get" not in part.text
    [entry, *_] = (await api.get("/operator/v1/audit", params={"action": "replay.start"})).json()["data"]
    assert entry["actor"] == f"key:{api.key[:12]}"


async def test_dead_letters_that_a_filter_matches_are_counted_and_discarded(
    api: ApiFixture, visitor: Visitor, receiver: Receiver
) -> None:
    receiver.program("/hook", 200, 500)
    letter = await api.die(receiver.url("/hook"))
    operator = await logged_in(api, visitor)
    other = await operator.open("/dashboard/dead-letters/discard?response_status=404")
    assert "<b>0</b> open dead letters would be discarded" in other.text
    link = (await operator.open("/dashboard/failures")).text.split("/dashboard/dead-letters/discard?")[1].split('"')[0]
    page = await operator.open(f"/dashboard/dead-letters/discard?{link.replace('&amp;', '&')}")
    assert "<b>1</b> open dead letter would be discarded" in page.text
    done = await operator.submit(page, "/dead-letters/discard")
    assert "The dead letters are discarded" in done.text
    assert (await api.get(f"/operator/v1/dead-letters/{letter['id']}")).json()["state"] == "discarded"
    everything = await operator.post("/dashboard/dead-letters/discard", {"form_token": token_of(done.text)})
    assert (everything.status_code, "everything" in everything.text or "all" in everything.text) == (400, True)


async def test_selected_dead_letters_are_replayed(api: ApiFixture, visitor: Visitor, receiver: Receiver) -> None:
    receiver.program("/hook", 200, 500)
    letter = await api.die(receiver.url("/hook"))
    operator = await logged_in(api, visitor)
    page = await operator.open("/dashboard/dead-letters")
    assert f'value="{letter["delivery_id"]}" form="selected"' in page.text
    other = "0199c1f2-6f1e-7c3a-8f43-1f0c2f6d9a11"
    wizard = await operator.open(f"/dashboard/replays/new?delivery_ids={letter['delivery_id']}&delivery_ids={other}")
    assert letter["delivery_id"] in wizard.text
    assert other in wizard.text
    assert "<b>1</b> delivery would be sent again" in wizard.text


async def test_failures_are_muted_for_an_hour_and_nothing_else_changes(
    api: ApiFixture, visitor: Visitor, receiver: Receiver
) -> None:
    receiver.program("/hook", 200, 500)
    letter = await api.die(receiver.url("/hook"))
    operator = await logged_in(api, visitor)
    page = await operator.open("/dashboard/failures")
    group = f"{letter['endpoint_id']}:server_error:500:retries_exhausted"
    assert f'name="group" value="{group}"' in page.text
    muted = await operator.submit(page, "/failures/mute", group=group)
    assert "muted by key:" in muted.text
    overview = await operator.open("/dashboard")
    assert "1 muted" in overview.text
    assert "Nothing fails" in overview.text
    assert (await api.get("/operator/v1/dead-letters", params={"state": "open"})).json()["data"] != []
    shown = await operator.submit(muted, "/failures/unmute", group=group)
    assert "muted by" not in shown.text
    actions = [entry["action"] for entry in (await api.get("/operator/v1/audit")).json()["data"]]
    assert actions[:2] == ["failures.unmute", "failures.mute"]
    for wrong, status in (("nonsense", 400), (f"{letter['delivery_id']}:x::", 404)):
        answer = await operator.submit(await operator.open("/dashboard"), "/failures/mute", group=wrong)
        assert answer.status_code == status, wrong


async def test_a_disabled_endpoint_is_enabled_on_the_way_to_its_replay(
    api: ApiFixture, visitor: Visitor, receiver: Receiver
) -> None:
    receiver.program("/hook", 200, 500)
    letter = await api.die(receiver.url("/hook"))
    operator = await logged_in(api, visitor)
    path = f"/dashboard/endpoints/{letter['endpoint_id']}"
    page = await operator.submit(await operator.open(path), "/disable")
    event = (await operator.open(f"/dashboard/events/{letter['event_id']}")).text
    assert "Enable its endpoint first" in event
    wizard = await operator.submit(page, "/enable")  # the first of its two forms, which goes on to the wizard
    assert "Replay 1" in wizard.text
    assert (await api.get(f"/operator/v1/endpoints/{letter['endpoint_id']}")).json()["state"] == "active"


async def test_a_large_replay_has_to_be_confirmed_by_its_number(api: ApiFixture, operator: Visitor) -> None:
    wizard = await operator.open("/dashboard/replays/new")
    form = next(form for form in forms_of(wizard.text) if "form_token" in form.fields)
    fields = {"form_token": form.fields["form_token"], "counted": str(CONFIRM_ABOVE + 1), "confirm": "1"}
    refused = await operator.post("/dashboard/replays", fields)
    assert refused.status_code == 400
    assert "Type the number" in refused.text
    assert (await api.get("/operator/v1/replays")).json()["data"] == []


async def test_actions_on_an_endpoint_are_the_apis(api: ApiFixture, operator: Visitor, receiver: Receiver) -> None:
    webhook = await api.register(receiver.url("/hook"))
    path = f"/dashboard/endpoints/{webhook['id']}"
    page = await operator.submit(await operator.open(path), "/disable")
    assert "disabled" in page.text
    await operator.submit(page, "/enable")
    page = await operator.submit(await operator.open(path), "/limit", rate_limit="7")
    seen = (await api.get("/operator/v1/endpoints")).json()["data"][0]
    assert (seen["state"], seen["operator_rate_limit"]) == ("active", 7)
    page = await operator.submit(page, "/test", type="upload.completed", data='{"a": 1}')
    assert "the receiver answered 200" in page.text
    page = await operator.submit(page, "/rotate-secret")
    assert "shown this once" in page.text
    wrong = await operator.submit(await operator.open(path), "/limit", rate_limit="many")
    assert wrong.status_code == 400
    assert "<code>rate_limit</code>" in wrong.text


async def test_an_organization_gets_a_key_that_is_shown_once_and_can_be_revoked(
    api: ApiFixture, operator: Visitor
) -> None:
    page = await operator.submit(await operator.open("/dashboard/organizations"), "/organizations", name="New & Co")
    assert "New &amp; Co" in page.text
    page = await operator.submit(page, "/keys", email="dev@new.example", scope="events:write")
    key = page.text.split('<p class="secret">')[1].split()[0]
    assert (await api.call("GET", "/api/v1/events/evt_000000000000000000000000", key=key)).status_code == 404
    page = await operator.open(str(page.url).removesuffix("/keys"))
    assert key not in page.text
    await operator.submit(page, "/revoke")
    assert (await api.call("GET", "/api/v1/events/evt_000000000000000000000000", key=key)).status_code == 401


async def test_a_worker_is_drained_from_its_page(api: ApiFixture, operator: Visitor) -> None:
    heartbeat = Heartbeat(api.app.context, slots=7)
    await heartbeat.beat(in_flight=3)
    page = await operator.open("/dashboard/workers")
    assert "working" in page.text
    page = await operator.submit(page, "/drain")
    assert "draining" in page.text
    assert "/drain" not in page.text
    assert await heartbeat.beat(in_flight=1)
    [entry] = (await api.get("/operator/v1/audit", params={"action": "worker.drain"})).json()["data"]
    assert entry["actor"].startswith("key:")


async def test_lists_have_twins_for_programs(api: ApiFixture, ids: dict[str, str], operator: Visitor) -> None:
    for name in ("events", "deliveries", "dead-letters", "endpoints", "replays", "audit", "workers"):
        listed = (await operator.open(f"/dashboard/{name}.json")).json()
        table = list(csv.reader(io.StringIO((await operator.open(f"/dashboard/{name}.csv")).text)))
        assert len(table) == (len(listed["data"]) + 1 if listed["data"] else 0), name
        same = (await api.get(f"/operator/v1/{name}")).json()
        assert listed["data"] == same["data"], name


async def test_text_that_a_spreadsheet_would_run_is_defused(
    api: ApiFixture, operator: Visitor, receiver: Receiver
) -> None:
    await api.register(receiver.url("/hook"), description='=HYPERLINK("https://evil.example")')
    rows: list[dict[str, Any]] = list(
        csv.DictReader(io.StringIO((await operator.open("/dashboard/endpoints.csv")).text))
    )
    assert rows[0]["description"].startswith("'=")


async def test_a_list_that_is_followed_refreshes_itself(operator: Visitor) -> None:
    for name in ("events", "deliveries", "dead-letters"):
        page = await operator.open(f"/dashboard/{name}?tail=1")
        assert f'hx-get="/dashboard/{name}?tail=1"' in page.text
        assert "hx-get" not in (await operator.open(f"/dashboard/{name}")).text


async def test_a_filter_that_is_wrong_is_named(operator: Visitor) -> None:
    for query in ("state=deda", "since=yesterday", "stat=dead", "cursor=x"):
        answer = await operator.get(f"/dashboard/deliveries?{query}")
        assert answer.status_code == 400
        assert query.partition("=")[0] in answer.text
        assert '<form class="filters"' in answer.text  # to correct it where it was made


async def test_a_form_that_is_wrong_comes_back_with_what_was_typed(
    api: ApiFixture, operator: Visitor, receiver: Receiver
) -> None:
    webhook = await api.register(receiver.url("/hook"))
    for path in ("/dashboard/replays/new", "/dashboard/dead-letters/discard"):
        answer = await operator.get(f"{path}?since=yesterday")
        assert answer.status_code == 400, path
        assert 'value="yesterday"' in answer.text, path
    ids = await operator.get("/dashboard/replays/new?delivery_ids=some")
    assert (ids.status_code, ">some</textarea>" in ids.text) == (400, True)
    page = await operator.open(f"/dashboard/endpoints/{webhook['id']}")
    wrong = await operator.submit(page, "/test", type="upload.completed", data='{"a": ')
    assert wrong.status_code == 400
    assert "{&#34;a&#34;: </textarea>" in wrong.text


async def test_the_colour_scheme_is_kept(operator: Visitor) -> None:
    page = await operator.open("/dashboard/deliveries?state=dead")
    assert 'data-scheme="auto"' in page.text
    after = await operator.submit(page, "/scheme", scheme="dark")
    assert 'data-scheme="dark"' in after.text
    assert str(after.url).endswith("/dashboard/deliveries?state=dead")


async def test_retention_is_run_from_the_page_and_says_what_it_removed(
    api: ApiFixture, visitor: Visitor, receiver: Receiver
) -> None:
    await api.register(receiver.url("/hook"))
    await api.publish()
    await api.app.work()
    api.app.clock.advance((api.app.context.settings.retention_days + 1) * 86_400)
    operator = await logged_in(api, visitor)
    path = "/dashboard/system/retention"
    page = await operator.open(path)
    assert re.search(r'data-label="Past it">1<', page.text)
    started = await operator.submit(page, "/retention")
    assert "What is past its retention is being removed." in started.text

    async def part() -> str:
        return (await operator.get(path, headers={"HX-Request": "true"})).text

    async def is_done() -> bool:
        return "hx-get" not in await part()

    await eventually(is_done, within=20, what="the end of the run")
    assert "1 delivered" in await part()
    assert re.search(r'data-label="Past it">0<', (await operator.open(path)).text)
    [entry] = (await api.get("/operator/v1/audit", params={"action": "retention.run"})).json()["data"]
    assert entry["actor"].startswith("key:")
    await api.app.context.redis.set("sendoff:retention-running", 1)
    refused = await operator.post(path, {"form_token": token_of(started.text)})
    assert (refused.status_code, "is already running" in refused.text) == (409, True)


async def test_charts_have_a_table_of_the_same_numbers(api: ApiFixture, operator: Visitor, receiver: Receiver) -> None:
    await api.register(receiver.url("/hook"))
    await api.publish()
    await api.app.work()
    await Statistics.of(api.app.context).flush()
    await note_backlog(api.app.context)
    charts = (await operator.open("/dashboard")).text
    assert "data-series=" in charts
    organization = await operator.open(f"/dashboard/organizations/{api.app.principal.organization_id}")
    assert "1 event accepted, 1 delivery made; 100 % of 1 attempts succeeded" in organization.text
    assert "Backlog" in charts
    table = (await operator.open("/dashboard?view=table&range=1h")).text
    assert "data-series=" not in table
    assert re.search(r'colspan="2">Deliveries, per minute<', table)
    assert re.search(r'colspan="2">Backlog, at its fullest<', table)
    assert re.search(r'<th scope="row">[^<]+</th><td class="n">1</td><td class="n">1</td>', table)


async def test_a_reconciliation_is_started_from_the_page_and_its_result_is_shown(
    api: ApiFixture, operator: Visitor, receiver: Receiver
) -> None:
    await api.register(receiver.url("/hook"))
    await api.publish()
    await api.app.work()
    path = "/dashboard/system/reconciliation"
    assert "Nothing was checked from here lately." in (await operator.open(path)).text
    started = await operator.submit(await operator.open(path), "/reconciliation")
    assert "The check has started." in started.text

    async def part() -> str:
        return (await operator.get(path, headers={"HX-Request": "true"})).text

    async def is_done() -> bool:
        return "Everything adds up." in await part()

    await eventually(is_done, within=20, what="the result of the check")
    assert "hx-get" not in await part()
    assert "<html" not in await part()
    [entry] = (await api.get("/operator/v1/audit", params={"action": "reconciliation.start"})).json()["data"]
    assert entry["actor"].startswith("key:")
    async with api.app.context.database.write() as tx:
        await tx.execute(text("DELETE FROM attempts"))
    await operator.submit(await operator.open(path), "/reconciliation")

    async def has_faults() -> bool:
        return "What does not add up" in await part() and "hx-get" not in await part()

    await eventually(has_faults, within=20, what="the fault")
    await api.app.context.redis.set("sendoff:reconciling", 1)
    assert "interrupted" not in await part()
    refused = await operator.post(path, {"form_token": token_of((await operator.open("/dashboard")).text)})
    assert (refused.status_code, "is already running" in refused.text) == (409, True)
    await api.app.context.redis.delete("sendoff:reconciling")


async def test_settings_are_shown_without_secrets(api: ApiFixture, operator: Visitor) -> None:
    page = (await operator.open("/dashboard/system")).text
    assert "SENDOFF_RETENTION_DAYS" in page
    assert "k" * 32 not in page
