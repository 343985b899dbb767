"""The portal's pages: what customers see of their endpoints and deliveries, and mend without help."""

from __future__ import annotations

import hmac
import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from api.optimaldial.schemas import WebhookChange
from api.pages.portal import surface
from sendoff.errors import BadSettings
from sendoff.observability.statistics import Statistics
from sendoff.operators.replays.replay import tick_replay
from tests.integration.api.api_fixture import ApiFixture, open_api
from tests.integration.pages.test_portal_sessions import new_link
from tests.support.exchange import Reply
from tests.support.receiver import Receiver
from tests.support.visitor import Visitor, token_of

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7*7}}"


@pytest.fixture
async def customer(api: ApiFixture, visitor: Visitor) -> Visitor:
    """In the portal of the fixture's organization, with every right."""
    assert (await visitor.open(await new_link(api))).status_code == 200
    return visitor


async def limited(api: ApiFixture, *capabilities: str) -> Visitor:
    """Somebody with these rights alone."""
    visitor = Visitor.of(api.asgi)
    assert (await visitor.open(await new_link(api, capabilities=list(capabilities)))).status_code == 200
    return visitor


def text_of(page: str) -> str:
    """What a reader sees of a page."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page)))


async def test_a_ping_that_fails_shows_the_answer_and_the_second_try_shows_the_secret_once(
    api: ApiFixture, receiver: Receiver, customer: Visitor
) -> None:
    receiver.program("/hook", Reply(404, body="no route /hook, " + HOSTILE), Reply(200))
    form = await customer.open("/portal/endpoints/new")
    assert "upload.completed" in form.text
    fields = {"url": receiver.url("/hook"), "description": "Mine", "events": "upload.completed"}
    failed = await customer.submit(form, "/portal/endpoints", **fields)
    assert failed.status_code == 400
    assert "404" in failed.text
    assert "no route /hook" in failed.text
    assert "<script>alert" not in failed.text
    assert "Compare the URL" in failed.text
    assert receiver.url("/hook") in failed.text
    assert (await api.get("/api/v1/webhooks")).json() == []
    added = await customer.submit(failed, "/portal/endpoints", **fields)
    assert added.status_code == 200
    assert "answered the ping with 200" in added.text
    secret = re.search(r'id="secret">([0-9a-f]{64})<', added.text)
    assert secret is not None
    for language in ("Python", "Node.js", "Go", "PHP", "Ruby"):
        assert f"<summary>{language}</summary>" in added.text
    (endpoint,) = (await api.get("/api/v1/webhooks")).json()
    assert (endpoint["events"], endpoint["description"]) == (["upload.completed"], "Mine")
    assert endpoint["user_id"] == api.app.principal.user_id
    assert secret[1] not in (await customer.open(f"/portal/endpoints/{endpoint['id']}")).text
    entry = (await api.get("/operator/v1/audit", params={"action": "endpoint.create"})).json()["data"][0]
    assert entry["actor"].startswith("key:od_live_")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"url": "https://10.0.0.1/x", "events": "*"}, "not public"),
        ({"url": "nonsense", "events": "*"}, "url"),
        ({"url": "https://example.com/", "events": ""}, "event"),
        ({"url": "https://example.com/", "events": "upload.complete"}, "upload.completed"),
    ],
)
async def test_a_form_with_a_mistake_comes_back_with_what_was_typed_and_what_is_wrong(
    customer: Visitor, fields: dict[str, str], expected: str
) -> None:
    form = await customer.open("/portal/endpoints/new")
    answer = await customer.post("/portal/endpoints", {"form_token": token_of(form.text), **fields})
    assert answer.status_code == 400
    assert expected in text_of(answer.text), text_of(answer.text)
    assert f'value="{fields["url"]}"' in answer.text


async def test_a_customer_mends_a_wrong_url_and_recovers_what_failed_alone(
    api: ApiFixture, receiver: Receiver, customer: Visitor
) -> None:
    receiver.program("/wrong", 200, 404)
    letter = await api.die(receiver.url("/wrong"))
    await Statistics.of(api.app.context).flush()
    page = await customer.open(f"/portal/endpoints/{letter['endpoint_id']}")
    assert "failing" in page.text
    assert "0 % of" in text_of((await customer.open("/portal")).text)
    assert "0 % of" in text_of(page.text)
    failed = await customer.open(f"/portal/deliveries/{letter['delivery_id']}")
    assert "Compare the URL" in text_of(failed.text)

    edit = await customer.open(f"/portal/endpoints/{letter['endpoint_id']}/edit")
    saved = await customer.submit(edit, "/edit", url=receiver.url("/right"), events="upload.completed")
    assert "The endpoint is saved." in saved.text

    counted = await customer.open(f"/portal/endpoints/{letter['endpoint_id']}/recover")
    assert "1 given up since then" in text_of(counted.text)
    progress = await customer.submit(counted, "/recover")
    replay_id = str(progress.url).rpartition("/")[2]
    assert "0 of 1 sent" in progress.text
    api.app.clock.advance(2)
    await tick_replay(api.app.context, replay_id)
    await api.app.work()
    await tick_replay(api.app.context, replay_id)
    done = await customer.get(f"/portal/recoveries/{replay_id}", headers={"HX-Request": "true"})
    assert "1 of 1 sent, 1 delivered, 0 failed" in text_of(done.text)
    assert "<html" not in done.text
    assert len(receiver.requests("/right")) == 2  # the ping, and what had failed


async def test_an_endpoint_that_is_off_says_why_and_is_resumed_with_its_recovery(
    api: ApiFixture, receiver: Receiver, customer: Visitor
) -> None:
    receiver.program("/hook", 200, 500)
    letter = await api.die(receiver.url("/hook"))
    path = f"/portal/endpoints/{letter['endpoint_id']}"
    paused = await customer.submit(await customer.open(path), "/pause")
    assert "resume it</a> first" in (await customer.open(f"/portal/deliveries/{letter['delivery_id']}")).text
    assert "nothing is sent to it until you resume it" in paused.text
    assert "paused" in text_of((await customer.open("/portal")).text)
    counted = await customer.open(f"{path}/recover?since=2026-04-01T00:00:00Z")
    assert "Resume and send 1 again" in counted.text
    await customer.submit(counted, "/recover")
    assert (await api.get(f"/api/v1/webhooks/{letter['endpoint_id']}")).json()["is_active"] is True

    rights = await limited(api, "view", "resend")
    await customer.submit(await customer.open(path), "/pause")
    refused = await rights.submit(await rights.open(f"{path}/recover?since=2026-04-01T00:00:00Z"), "/recover")
    assert refused.status_code == 409 or "Nothing was given up" in refused.text
    assert (await api.get(f"/api/v1/webhooks/{letter['endpoint_id']}")).json()["is_active"] is False
    await rights.aclose()


async def test_waiting_and_missed_deliveries_are_recovered_as_well(
    api: ApiFixture, receiver: Receiver, customer: Visitor
) -> None:
    receiver.program("/hook", 200, 500)
    endpoint = await api.register(receiver.url("/hook"))
    path = f"/portal/endpoints/{endpoint['id']}"
    await api.publish()
    await api.app.work()  # fails, and waits for its retry
    await customer.submit(await customer.open(path), "/pause")
    await api.publish()  # nothing is made of it
    await customer.submit(await customer.open(path), "/resume")
    counted = await customer.open(f"{path}/recover?since=2026-04-01T00:00:00Z&waiting=yes&missed=yes")
    assert "1 never made" in text_of(counted.text)
    progress = await customer.submit(counted, "/recover")
    assert re.search(r"0 of [12] sent", progress.text)


async def test_a_wrong_time_is_named(api: ApiFixture, receiver: Receiver, customer: Visitor) -> None:
    endpoint = await api.register(receiver.url("/hook"))
    answer = await customer.open(f"/portal/endpoints/{endpoint['id']}/recover?since=yesterday")
    assert (answer.status_code, "since" in text_of(answer.text)) == (400, True)
    answer = await customer.open("/portal/deliveries?since=yesterday&colour=blue")
    assert answer.status_code == 400


async def test_a_delivery_is_sent_again_whether_it_failed_or_arrived(
    api: ApiFixture, receiver: Receiver, customer: Visitor
) -> None:
    receiver.program("/hook", 200, 500, 200)
    await api.register(receiver.url("/hook"))
    await api.publish()
    await api.app.work()
    listed = await customer.open("/portal/deliveries?state=pending")
    path = re.search(r"/portal/deliveries/[0-9a-f-]{36}", listed.text)
    assert path is not None
    page = await customer.open(path[0])
    assert "The receiver failed on the request." in page.text
    resent = await customer.submit(page, "/resend")
    assert "being sent again" in resent.text
    await api.app.work()
    delivered = await customer.open(path[0])
    assert "state-delivered" in delivered.text
    await customer.submit(delivered, "/resend")
    assert api.app.queue.replays


async def test_bodies_and_headers_are_for_sessions_that_may_see_them(
    api: ApiFixture, receiver: Receiver, customer: Visitor
) -> None:
    receiver.program("/hook", 200, Reply(500, body="stack trace of theirs"))
    await api.register(receiver.url("/hook"))
    event = await api.publish({"upload": {"id": "very-private"}})
    await api.app.work()
    delivery = (await api.get("/api/v1/deliveries", params={"event_id": event["id"]})).json()["data"][0]
    path = f"/portal/deliveries/{delivery['id']}"
    assert "very-private" in (await customer.open(path)).text
    assert "stack trace of theirs" in (await customer.open(path)).text
    viewer = await limited(api, "view")
    seen = (await viewer.open(path)).text
    assert "very-private" not in seen
    assert "stack trace" not in seen
    assert "/resend" not in seen
    await viewer.aclose()


async def test_a_test_event_shows_the_receivers_answer(api: ApiFixture, receiver: Receiver, customer: Visitor) -> None:
    receiver.program("/hook", 200, Reply(422, body=HOSTILE), 204)
    endpoint = await api.register(receiver.url("/hook"), events=["upload.completed"])
    page = await customer.open(f"/portal/endpoints/{endpoint['id']}/test")
    assert "&#34;status&#34;: &#34;completed&#34;" in page.text  # the type's example
    shown = await customer.submit(page, "/test", data='{"n": 1}')
    assert "answered 422" in shown.text
    assert "<script>alert" not in shown.text
    assert "X-OptimalDial-Signature" in shown.text
    assert "answered 204" in (await customer.submit(shown, "/test", data='{"n": 1}')).text
    assert (await api.get("/api/v1/deliveries")).json()["data"] == []


@pytest.mark.parametrize(("data", "expected"), [("{", "not JSON"), ("[1]", "JSON object")])
async def test_a_test_event_with_wrong_data_is_refused(
    api: ApiFixture, receiver: Receiver, customer: Visitor, data: str, expected: str
) -> None:
    endpoint = await api.register(receiver.url("/hook"))
    page = await customer.open(f"/portal/endpoints/{endpoint['id']}/test")
    refused = await customer.submit(page, "/test", data=data)
    assert (refused.status_code, expected in text_of(refused.text)) == (400, True)


async def test_forms_and_pages_of_an_organization_are_limited(
    api: ApiFixture, receiver: Receiver, customer: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = await api.register(receiver.url("/hook"))
    monkeypatch.setattr(surface, "ACTIONS_PER_MINUTE", 2)
    path = f"/portal/endpoints/{endpoint['id']}/recover"
    statuses = [(await customer.get(path)).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    form = await customer.open("/portal/signatures")
    refused = await customer.post("/portal/signatures", {"form_token": token_of(form.text)})
    assert (refused.status_code, "Too many requests" in refused.text) == (429, True)
    assert int(refused.headers["retry-after"]) > 0


async def test_a_secret_is_replaced_with_an_overlap(api: ApiFixture, receiver: Receiver, customer: Visitor) -> None:
    endpoint = await api.register(receiver.url("/hook"))
    path = f"/portal/endpoints/{endpoint['id']}"
    rotated = await customer.submit(await customer.open(path), "/rotate", overlap="1h")
    assert re.search(r'id="secret">[0-9a-f]{64}<', rotated.text)
    assert "signs as well until" in rotated.text
    assert "signs as well until" in (await customer.open(path)).text
    wrong = await customer.submit(await customer.open(path), "/rotate", overlap="9y")
    assert wrong.status_code == 400


async def test_an_endpoint_is_deleted_after_a_question(api: ApiFixture, receiver: Receiver, customer: Visitor) -> None:
    endpoint = await api.register(receiver.url("/hook"))
    question = await customer.open(f"/portal/endpoints/{endpoint['id']}/delete")
    assert "cannot be undone" in question.text
    assert "The endpoint is deleted." in (await customer.submit(question, "/delete")).text
    assert (await api.get("/api/v1/webhooks")).json() == []


async def test_settings_are_saved_and_secrets_never_shown(
    api: ApiFixture, receiver: Receiver, customer: Visitor
) -> None:
    endpoint = await api.register(receiver.url("/hook"))
    path = f"/portal/endpoints/{endpoint['id']}/settings"
    fields = {
        "filter": "data.total > 10.0",
        "transform": "{'total': data.total}",
        "headers": "X-Api-Key: very-secret\r\nX-Team: ours",
        "auth": "basic",
        "basic.username": "ada",
        "basic.password": "even-more-secret",
        "retry_schedule": "30s, 5m",
        "timeout_seconds": "7",
        "max_in_flight": "3",
        "rate_limit": "20",
        "ordered": "yes",
        "metadata": '{"team": "billing"}',
        "do": "save",
    }
    saved = await customer.submit(await customer.open(path), "/settings", **fields)
    assert "The endpoint is saved." in saved.text
    seen = (await api.get(f"/api/v1/webhooks/{endpoint['id']}")).json()
    assert (seen["filter"], seen["transform"]) == (fields["filter"], fields["transform"])
    assert (seen["headers"], seen["auth"]) == ({"X-Api-Key": "***", "X-Team": "***"}, {"type": "basic"})
    assert (seen["retry_schedule"], seen["timeout_seconds"]) == (["30s", "5m"], 7)
    assert (seen["max_in_flight"], seen["rate_limit"], seen["ordered"]) == (3, 20, True)
    assert seen["metadata"] == {"team": "billing"}
    await api.post(f"/api/v1/webhooks/{endpoint['id']}/test", {"data": {"total": 11.5}})
    sent = {name.lower(): value for name, value in receiver.requests("/hook")[-1].headers}
    assert (sent["x-api-key"], sent["authorization"].split()[0]) == ("very-secret", "Basic")
    assert "Requests at a time, at most 3 " in text_of(saved.text)
    assert 'Metadata {"team": "billing"} ' in text_of(saved.text)
    page = await customer.open(path)
    for text in (saved.text, page.text):
        assert "very-secret" not in text
        assert "even-more-secret" not in text
    assert "X-Api-Key: ***" in page.text

    # Without a change nothing changes, and what is left masked is kept.
    kept = await customer.submit(page, "/settings", headers="X-Api-Key: ***", auth="keep", do="save", ordered="yes")
    assert "The endpoint is saved." in kept.text
    seen = (await api.get(f"/api/v1/webhooks/{endpoint['id']}")).json()
    assert (seen["headers"], seen["auth"]) == ({"X-Api-Key": "***"}, {"type": "basic"})
    cleared = await customer.submit(await customer.open(path), "/settings", auth="none", headers="", do="save")
    assert "The endpoint is saved." in cleared.text
    assert "auth" not in (await api.get(f"/api/v1/webhooks/{endpoint['id']}")).json()


async def test_every_field_that_an_owner_may_change_has_its_input(
    api: ApiFixture, receiver: Receiver, customer: Visitor
) -> None:
    path = f"/portal/endpoints/{(await api.register(receiver.url('/hook')))['id']}"
    forms = (await customer.open(f"{path}/edit")).text + (await customer.open(f"{path}/settings")).text
    fields = WebhookChange.model_json_schema()["properties"]
    assert [name for name in fields if f'name="{name}"' not in forms] == ["is_active"]  # it has buttons


async def test_expressions_are_tried_on_a_sample_before_they_are_saved(
    api: ApiFixture, receiver: Receiver, customer: Visitor
) -> None:
    endpoint = await api.register(receiver.url("/hook"))
    path = f"/portal/endpoints/{endpoint['id']}/settings"

    async def tried(filter_: str, transform: str, sample: str = '{"total": 12.5}') -> str:
        page = await customer.open(path)
        fields = {"filter": filter_, "transform": transform, "sample": sample, "do": "try"}
        return text_of((await customer.submit(page, "/settings", **fields)).text)

    assert '"twice": 25' in await tried("data.total > 10.0", "{'twice': data.total * 2.0}")
    assert "It would not be sent. The endpoint's filter is false for it." in await tried("data.total > 20.0", "")
    assert "It would not be sent. The endpoint's filter failed" in await tried("data.nothing == 1", "")
    assert "It would not be sent: " in await tried("", "{'x': data.nothing}")
    assert "`filter`" in await tried("data.total >", "")
    assert "not JSON" in await tried("true", "", sample="{")
    seen = (await api.get(f"/api/v1/webhooks/{endpoint['id']}")).json()
    assert "filter" not in seen
    assert len(receiver.requests("/hook")) == 1  # the ping of its registration


WRONG_SETTINGS: Sequence[tuple[dict[str, str], str]] = (
    ({"headers": "nonsense"}, "`headers`"),
    ({"headers": "Host: x"}, "`headers"),
    ({"headers": "A: 1\nA: 2"}, "`headers`"),
    ({"auth": "basic", "basic.username": "ada"}, "`auth"),
    ({"auth": "magic"}, "`auth`"),
    ({"basic.password": "very secret"}, "`auth`: The fields for user name and password"),
    ({"auth": "bearer", "bearer.token": "very secret"}, "`auth"),
    ({"retry_schedule": "soon"}, "`retry_schedule"),
    ({"timeout_seconds": "x"}, "`timeout_seconds`"),
    ({"timeout_seconds": "3600"}, "`timeout_seconds`"),
    ({"max_in_flight": "9" * 5_000}, "`max_in_flight`"),
    ({"metadata": "team: billing"}, "`metadata`"),
    ({"metadata": '{"team": 1}'}, "`metadata"),
    ({"rate_limit": "0"}, "`rate_limit`"),
    ({"filter": "1 + 1"}, "`filter`"),
)


async def test_a_wrong_setting_is_named_and_a_secret_not_sent_back(
    api: ApiFixture, receiver: Receiver, customer: Visitor
) -> None:
    endpoint = await api.register(receiver.url("/hook"))
    for fields, named in WRONG_SETTINGS:
        page = await customer.open(f"/portal/endpoints/{endpoint['id']}/settings")
        answer = await customer.submit(page, "/settings", do="save", **fields)
        assert (answer.status_code, named in text_of(answer.text)) == (400, True), fields
        assert "very secret" not in answer.text


async def test_an_endpoint_is_added_with_what_its_receiver_asks_for(
    api: ApiFixture, receiver: Receiver, customer: Visitor
) -> None:
    form = await customer.open("/portal/endpoints/new")
    fields = {"url": receiver.url("/hook"), "events": "upload.completed", "headers": "X-Team: ours"}
    added = await customer.submit(form, "/portal/endpoints", auth="bearer", **fields, **{"bearer.token": "let-me-in"})
    assert "The endpoint is added" in added.text
    ping = {name.lower(): value for name, value in receiver.requests("/hook")[0].headers}
    assert (ping["authorization"], ping["x-team"]) == ("Bearer let-me-in", "ours")
    assert "let-me-in" not in added.text


def signed(secret: str, body: bytes, at: int) -> str:
    return f"t={at},v1={hmac.digest(secret.encode(), b'%d.' % at + body, 'sha256').hex()}"


async def test_the_helper_explains_a_signature_and_stores_nothing(
    api: ApiFixture, receiver: Receiver, customer: Visitor
) -> None:
    secret, other = "s" * 32, "o" * 32
    endpoint = await api.register(receiver.url("/hook"), secret=secret)
    await api.register(receiver.url("/other"), secret=other)
    event = await api.publish({"total": 1.5})
    await api.app.work()
    sent = receiver.requests("/hook")[-1]
    at = int(api.app.clock.now().timestamp())
    page = await customer.open(f"/portal/signatures?endpoint_id={endpoint['id']}")

    async def explain(body: bytes, signature: str, **more: str) -> str:
        headers = f"Host: x\nX-OptimalDial-Signature: {signature}\n"
        fields = {"endpoint_id": endpoint["id"], "headers": headers, "body": body.decode(), **more}
        token = token_of((await customer.open("/portal/signatures")).text)
        answer = await customer.post("/portal/signatures", {**fields, "form_token": token})
        assert answer.status_code == 200, answer.text
        return text_of(answer.text)

    assert "selected" in page.text
    right = signed(secret, sent.body, at)
    assert "The signature is right." in await explain(sent.body, right)
    assert "without the newline at its end" in await explain(sent.body + b"\r\n", right)
    rewritten = sent.body.replace(b"1.5", b"2.5")
    assert "that were sent, but not these" in await explain(rewritten, right)
    assert "another endpoint" in await explain(sent.body, signed(other, sent.body, at))
    assert receiver.url("/other") in await explain(sent.body, signed(other, sent.body, at))
    assert "clock is fast by about 3600 s" in await explain(
        sent.body, right, received_at=f"{(api.app.clock.now()).replace(hour=13):%Y-%m-%dT%H:%M:%S}Z"
    )
    computed = hmac.digest(secret.encode(), sent.body, "sha256").hex()
    assert "the body alone, without the time" in await explain(sent.body, right, computed=computed)
    assert event["id"].encode() in sent.body

    viewer = await limited(api, "view")
    token = token_of((await viewer.open("/portal/signatures")).text)
    forged = {"endpoint_id": endpoint["id"], "headers": f"X-OptimalDial-Signature: t={at},v1=00", "body": "{}"}
    seen = await viewer.post("/portal/signatures", {**forged, "form_token": token})
    whole = hmac.digest(secret.encode(), f"{at}.{{}}".encode(), "sha256").hex()
    assert whole not in seen.text
    assert whole[:10] in seen.text
    assert secret not in seen.text
    await viewer.aclose()


@pytest.mark.parametrize(
    ("fields", "status"),
    [({"headers": "nonsense"}, 400), ({"headers": "a: b", "body": "x" * 70_000}, 413), ({"headers": ""}, 400)],
)
async def test_the_helper_names_what_is_missing(
    api: ApiFixture, receiver: Receiver, customer: Visitor, fields: dict[str, str], status: int
) -> None:
    endpoint = await api.register(receiver.url("/hook"))
    token = token_of((await customer.open("/portal/signatures")).text)
    full = {"endpoint_id": endpoint["id"], "form_token": token, **fields}
    answer = await customer.post("/portal/signatures", full)
    assert (answer.status_code, 'role="alert"' in answer.text) == (status, True)


async def test_hostile_content_is_inert_on_every_page(api: ApiFixture, receiver: Receiver, customer: Visitor) -> None:
    receiver.program("/hook", 200, Reply(500, headers=(("X-Evil", HOSTILE),), body=HOSTILE))
    endpoint = await api.register(receiver.url("/hook?x=" + "%3Cscript%3E"), description=HOSTILE, events=["*"])
    event = await api.publish({"text": HOSTILE, HOSTILE: 1})
    await api.app.work()
    delivery = (await api.get("/api/v1/deliveries", params={"event_id": event["id"]})).json()["data"][0]
    pages = [
        "/portal",
        f"/portal/endpoints/{endpoint['id']}",
        f"/portal/endpoints/{endpoint['id']}/edit",
        f"/portal/endpoints/{endpoint['id']}/settings",
        f"/portal/endpoints/{endpoint['id']}/test",
        f"/portal/endpoints/{endpoint['id']}/delete",
        f"/portal/endpoints/{endpoint['id']}/recover",
        "/portal/deliveries",
        f"/portal/deliveries/{delivery['id']}",
        "/portal/event-types",
        "/portal/receivers?format=standard",
        "/portal/signatures",
    ]
    for path in pages:
        answer = await customer.open(path)
        assert answer.status_code == 200, path
        assert "<script>alert" not in answer.text, path
        assert "<img src=x" not in answer.text, path
        assert len(answer.content) < 100_000, path
        assert not re.search(r"<style|\sstyle=|\son\w+=\"", answer.text.replace(html.escape(HOSTILE), "")), path


LOGO = b"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 10" onload="alert(1)">
<script>alert(1)</script><image href="https://evil.example/x.png"/><a href="javascript:alert(1)"><rect/></a>
<rect width="10" height="10" fill="url(#g)" style="background:url(https://evil.example)"/>
<foreignObject><body xmlns="http://www.w3.org/1999/xhtml"/></foreignObject><circle r="3" fill="url(https://evil.example)"/>
</svg>"""


async def test_the_pages_carry_the_products_name_logo_and_colour(
    sqlite_url: str, valkey_url: str, tmp_path: Path
) -> None:
    (tmp_path / "logo.svg").write_bytes(LOGO)
    settings: dict[str, Any] = {"portal_name": "Acme & Söhne", "portal_accent": "#ffee00", "portal_scheme": "dark"}
    async with open_api(sqlite_url, valkey_url, portal_logo=tmp_path / "logo.svg", **settings) as api:
        visitor = Visitor.of(api.asgi)
        page = (await visitor.open(await new_link(api))).text
        assert "Acme &amp; Söhne" in page
        assert 'data-scheme="dark"' in page
        assert "Sendoff" not in page
        logo = await visitor.get(re.search(r"/portal/brand/logo[^\"]+", page)[0])  # type: ignore[index]
        assert logo.headers["content-type"] == "image/svg+xml"
        assert "sandbox" in logo.headers["content-security-policy"]
        assert b"<rect" in logo.content
        for forbidden in (b"script", b"evil", b"onload", b"foreign", b"style", b"href"):
            assert forbidden not in logo.content
        colors = await visitor.get(re.search(r"/portal/brand/colors[^\"]+", page)[0])  # type: ignore[index]
        assert "--accent: #ffee00" in colors.text  # readable on a dark ground as it is
        assert colors.text.count("--accent") == 3
        assert (await visitor.get("/portal/brand/logo.0000000000000000.svg")).status_code == 404
        light = await visitor.open(await new_link(api, theme="light"))
        assert 'data-scheme="light"' in light.text
        chosen = await visitor.post("/portal/scheme", {"scheme": "dark", "next": "//evil.example"})
        assert chosen.headers["location"] == "/portal"
        assert 'data-scheme="dark"' in (await visitor.open("/portal")).text
        assert 'data-scheme="light"' in (await visitor.open(await new_link(api, theme="light"))).text
        await visitor.aclose()


@pytest.mark.parametrize("content", [b"GIF89a", b"<!DOCTYPE svg><svg/>", b"<html/>", b"\x89PNG\r\n\x1a\nbroken", None])
async def test_a_logo_that_cannot_be_used_stops_the_start(
    sqlite_url: str, valkey_url: str, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "logo"
    if content is not None:
        path.write_bytes(content)
    async with open_api(sqlite_url, valkey_url, portal_logo=path) as api:
        with pytest.raises(BadSettings, match="SENDOFF_PORTAL_LOGO"):
            async with api.asgi.router.lifespan_context(api.asgi):
                pass


@pytest.mark.parametrize("dialect", ["standard", "standard-v1a", "cloudevents"])
async def test_the_helper_explains_every_dialect_that_is_offered(
    api: ApiFixture, receiver: Receiver, customer: Visitor, dialect: str
) -> None:
    endpoint = await api.register(receiver.url("/hook"), dialect=dialect)
    await api.publish()
    await api.app.work()
    sent = receiver.requests("/hook")[-1]
    headers = "\n".join(f"{name}: {value}" for name, value in sent.headers)
    for body, expected in ((sent.body, "The signature is right."), (sent.body + b"\n", "newline at its end")):
        fields = {"endpoint_id": endpoint["id"], "headers": headers, "body": body.decode()}
        token = token_of((await customer.open("/portal/signatures")).text)
        answer = await customer.post("/portal/signatures", {**fields, "form_token": token})
        assert expected in text_of(answer.text)


async def test_an_endpoint_of_an_organization_without_members_has_no_user(
    api: ApiFixture, receiver: Receiver, visitor: Visitor
) -> None:
    organization_id = await api.new_organization()
    link = (await api.post("/operator/v1/portal-links", {"organization_id": organization_id})).json()["url"]
    await visitor.open(f"/portal/enter?{urlsplit(link).query}")
    form = await visitor.open("/portal/endpoints/new")
    await visitor.submit(form, "/portal/endpoints", url=receiver.url("/hook"), everything="on")
    key = await api.new_key("webhooks:manage", organization_id=organization_id)
    (endpoint,) = (await api.call("GET", "/api/v1/webhooks", key=key)).json()
    assert (endpoint["user_id"], endpoint["events"]) == (None, ["*"])
