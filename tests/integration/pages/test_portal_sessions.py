"""The portal's links and sessions: what opens it, for whom, with which rights, and what ends it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from api.http.pagination import encode_cursor
from api.http.server.allow_header import known_routes
from sendoff.accounts import organizations
from sendoff.accounts.page_sessions import NewLink, SessionKind, create_link
from sendoff.store.tables import PageLink, PageSession
from tests.integration.api.api_fixture import ApiFixture, open_api
from tests.support.app_fixture import ACTOR
from tests.support.receiver import Receiver
from tests.support.visitor import Visitor, token_of

COOKIE = "sendoff-portal"
ANY_ID = "0199c1f2-6f1e-7c3a-8f43-1f0c2f6d9a11"
OPEN = None
EVERYTHING = ["view", "manage", "resend", "test", "secrets", "payloads"]

NEEDS = {
    ("GET", "/portal/brand/{name}"): OPEN,
    ("GET", "/portal/enter"): OPEN,
    ("GET", "/portal/expired"): OPEN,
    ("POST", "/portal/scheme"): OPEN,
    ("POST", "/portal/leave"): "view",
    ("GET", "/portal"): "view",
    ("GET", "/portal/endpoints/new"): "manage",
    ("POST", "/portal/endpoints"): "manage",
    ("GET", "/portal/endpoints/{endpoint_id}"): "view",
    ("GET", "/portal/endpoints/{endpoint_id}/edit"): "manage",
    ("POST", "/portal/endpoints/{endpoint_id}/edit"): "manage",
    ("GET", "/portal/endpoints/{endpoint_id}/settings"): "manage",
    ("POST", "/portal/endpoints/{endpoint_id}/settings"): "manage",
    ("POST", "/portal/endpoints/{endpoint_id}/pause"): "manage",
    ("POST", "/portal/endpoints/{endpoint_id}/resume"): "manage",
    ("GET", "/portal/endpoints/{endpoint_id}/delete"): "manage",
    ("POST", "/portal/endpoints/{endpoint_id}/delete"): "manage",
    ("POST", "/portal/endpoints/{endpoint_id}/rotate"): "secrets",
    ("GET", "/portal/endpoints/{endpoint_id}/test"): "test",
    ("POST", "/portal/endpoints/{endpoint_id}/test"): "test",
    ("GET", "/portal/endpoints/{endpoint_id}/recover"): "resend",
    ("POST", "/portal/endpoints/{endpoint_id}/recover"): "resend",
    ("GET", "/portal/recoveries/{replay_id}"): "view",
    ("POST", "/portal/recoveries/{replay_id}/cancel"): "resend",
    ("GET", "/portal/deliveries"): "view",
    ("GET", "/portal/deliveries/{delivery_id}"): "view",
    ("POST", "/portal/deliveries/{delivery_id}/resend"): "resend",
    ("GET", "/portal/event-types"): "view",
    ("GET", "/portal/receivers"): "view",
    ("GET", "/portal/signatures"): "view",
    ("POST", "/portal/signatures"): "view",
}
"""What each route of the portal needs. A missing route fails the walks."""


async def new_link(api: ApiFixture, *, key: str | None = None, **options: Any) -> str:
    """The path of a link to the portal, whose session lasts longer than deliveries take to die."""
    options = {"session_seconds": 7 * 86_400, **options}
    answer = await api.call("POST", "/api/v1/portal-links", key=key, json=options)
    assert answer.status_code == 200, answer.text
    url = urlsplit(answer.json()["url"])
    return f"{url.path}?{url.query}"


@pytest.fixture
async def customer(api: ApiFixture, visitor: Visitor) -> Visitor:
    """In the portal of the fixture's organization, with every right."""
    answer = await visitor.open(await new_link(api))
    assert answer.status_code == 200, answer.text
    return visitor


@pytest.fixture
async def stranger(api: ApiFixture) -> AsyncIterator[Visitor]:
    """In the portal of another organization."""
    key = await api.new_key("webhooks:manage", organization_id=await api.new_organization())
    visitor = Visitor.of(api.asgi)
    assert (await visitor.open(await new_link(api, key=key))).status_code == 200
    yield visitor
    await visitor.aclose()


async def is_in(visitor: Visitor) -> bool:
    return (await visitor.get("/portal")).status_code == 200


async def test_a_link_opens_the_portal_once_and_says_so_at_the_second_time(api: ApiFixture, visitor: Visitor) -> None:
    path = await new_link(api)
    for headers in ({"Sec-Purpose": "prefetch"}, {"Purpose": "prefetch"}):
        assert (await visitor.get(path, headers=headers)).status_code == 204  # a browser that looks ahead
    assert (await visitor.client.head(path)).status_code == 204  # something that checks links
    opened = await visitor.get(path)
    assert (opened.status_code, opened.headers["location"]) == (303, "/portal")
    assert opened.headers["referrer-policy"] == "no-referrer"
    assert opened.headers["cache-control"] == "no-store"
    assert await is_in(visitor)
    other = Visitor.of(api.asgi)
    again = await other.get(path)
    assert again.status_code == 410
    assert "used already" in again.text
    assert not await is_in(other)
    assert "You are still in" in (await visitor.get(path)).text
    assert await is_in(visitor)
    await other.aclose()


async def test_a_link_that_expired_or_is_not_known_opens_nothing(api: ApiFixture, visitor: Visitor) -> None:
    path = await new_link(api, expires_in=60)
    api.app.clock.advance(61)
    expired = await visitor.get(path)
    assert (expired.status_code, "expired" in expired.text) == (410, True)
    for wrong in ("/portal/enter", "/portal/enter?t=x", "/portal/enter?t=" + "é" * 300):
        assert (await visitor.get(wrong)).status_code == 404
    dashboard, _ = await create_link(api.app.context, ACTOR, NewLink(SessionKind.OPERATOR, ["view"], 600, 600))
    assert (await visitor.get(f"/portal/enter?t={dashboard}")).status_code == 404
    assert not await is_in(visitor)


async def test_the_database_holds_hashes_of_links_and_sessions_alone(api: ApiFixture, visitor: Visitor) -> None:
    token = (await new_link(api)).partition("t=")[2]
    await visitor.open(f"/portal/enter?t={token}")
    async with api.app.transaction() as tx:
        link = await tx.get(PageLink, hashlib.sha256(token.encode()).hexdigest())
        session = await tx.get(PageSession, hashlib.sha256(visitor.client.cookies[COOKIE].encode()).hexdigest())
    assert link is not None
    assert session is not None
    assert token not in str(link.model_dump()) + str(session.model_dump())


async def test_a_session_is_new_and_the_one_before_ends(api: ApiFixture, visitor: Visitor) -> None:
    visitor.client.cookies.set(COOKIE, "planted", domain="localhost.local")
    await visitor.open(await new_link(api))
    first = visitor.client.cookies.jar
    tokens = {cookie.value for cookie in first if cookie.name == COOKIE}
    await visitor.open(await new_link(api))
    old = Visitor.of(api.asgi)
    for token in tokens:
        old.client.cookies.set(COOKIE, token or "")
        assert not await is_in(old)
    await old.aclose()


async def test_a_session_ends_with_its_key(api: ApiFixture, visitor: Visitor) -> None:
    key = await api.new_key("webhooks:manage")
    unopened = await new_link(api, key=key)
    await visitor.open(await new_link(api, key=key))
    assert await is_in(visitor)
    for listed in await organizations.list_keys(api.app.context, api.app.principal.organization_id):
        if key.startswith(listed.key.prefix):
            await organizations.revoke_key(api.app.context, ACTOR, listed.key.id)
    assert not await is_in(visitor)
    assert (await visitor.get(unopened)).status_code == 401


async def test_a_session_ends_with_the_suspension_of_its_organization(api: ApiFixture, customer: Visitor) -> None:
    organization_id = api.app.principal.organization_id
    await organizations.suspend_organization(api.app.context, ACTOR, organization_id, suspended=True)
    assert not await is_in(customer)


async def test_a_session_ends_with_its_time(api: ApiFixture, visitor: Visitor) -> None:
    await visitor.open(await new_link(api, session_seconds=60))
    api.app.clock.advance(61)
    sent = await visitor.get("/portal/deliveries?state=dead")
    assert sent.headers["location"].startswith("/portal/expired?next=%2Fportal%2Fdeliveries")
    ended = await visitor.open(sent.headers["location"])
    assert (ended.status_code, "has ended" in ended.text) == (401, True)


async def test_all_sessions_of_an_organization_end_on_request(api: ApiFixture, customer: Visitor) -> None:
    unopened = await new_link(api)
    other = await api.new_key("webhooks:manage", organization_id=await api.new_organization())
    assert (await api.call("DELETE", "/api/v1/portal-sessions", key=other)).json() == {"ended": 0}
    assert await is_in(customer)
    assert (await api.delete("/api/v1/portal-sessions")).json() == {"ended": 1}
    assert not await is_in(customer)
    assert (await customer.get(unopened)).status_code == 404


async def test_leaving_ends_the_session_and_goes_back_where_the_link_says(api: ApiFixture, visitor: Visitor) -> None:
    page = await visitor.open(await new_link(api, return_url="https://app.example.com/hooks"))
    assert 'href="https://app.example.com/hooks"' in page.text
    assert "form-action 'self' https://app.example.com; " in page.headers["content-security-policy"]
    left = await visitor.post("/portal/leave", {"form_token": token_of(page.text)})
    assert left.headers["location"] == "https://app.example.com/hooks"
    assert not await is_in(visitor)


async def test_leaving_for_what_a_policy_cannot_name_shows_a_link_to_it(api: ApiFixture, visitor: Visitor) -> None:
    return_url = "http://[::1]:3000/hooks"
    page = await visitor.open(await new_link(api, return_url=return_url))
    assert "form-action 'self'; " in page.headers["content-security-policy"]
    left = await visitor.post("/portal/leave", {"form_token": token_of(page.text)})
    assert left.status_code == 200
    assert f'<p><a href="{return_url}" rel="noreferrer">' in left.text
    assert not await is_in(visitor)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"expires_in": 59}, "expires_in"),
        ({"expires_in": 86_401}, "expires_in"),
        ({"session_seconds": 1}, "session_seconds"),
        ({"capabilities": ["fly"]}, "capabilities"),
        ({"capabilities": []}, "capabilities"),
        ({"theme": "pink"}, "theme"),
        ({"return_url": "javascript:alert(1)"}, "return_url"),
        ({"return_url": "https://user:secret@evil.example"}, "return_url"),
        ({"expire_in": 60}, "expires_in"),
    ],
)
async def test_a_wrong_option_of_a_link_is_named(api: ApiFixture, options: dict[str, Any], field: str) -> None:
    answer = await api.post("/api/v1/portal-links", options)
    assert answer.status_code == 400
    assert field in answer.json()["detail"]


async def test_operators_make_links_for_any_organization(api: ApiFixture, visitor: Visitor) -> None:
    organization_id = await api.new_organization()
    made = await api.post("/operator/v1/portal-links", {"organization_id": organization_id})
    assert made.status_code == 200, made.text
    url = urlsplit(made.json()["url"])
    assert (await visitor.open(f"{url.path}?{url.query}")).status_code == 200
    assert (await api.post("/operator/v1/portal-links", {"organization_id": ANY_ID})).status_code == 404
    unknown = {"organization_id": organization_id, "user": "nobody@example.com"}
    assert "user" in (await api.post("/operator/v1/portal-links", unknown)).json()["detail"]
    customer = await api.new_key("webhooks:manage")
    refused = await api.call("POST", "/operator/v1/portal-links", key=customer, json=unknown)
    assert refused.status_code == 403


async def walk_ids(api: ApiFixture, receiver: Receiver) -> dict[str, str]:
    """Ids of the fixture's organization: an endpoint, a delivery that failed, and a recovery."""
    receiver.program("/private-path", 200, 500)
    letter = await api.die(receiver.url("/private-path"))
    body = {"since": "2026-01-01T00:00:00Z"}
    await api.post(f"/operator/v1/endpoints/{letter['endpoint_id']}/enable")
    replay = (await api.post(f"/api/v1/webhooks/{letter['endpoint_id']}/recover", body)).json()
    return {
        "endpoint_id": letter["endpoint_id"],
        "delivery_id": letter["delivery_id"],
        "replay_id": replay["id"],
        "name": "x",
    }


def portal_routes(api: ApiFixture) -> set[tuple[str, str]]:
    found = {(route.method, route.path) for route in known_routes(api.asgi) if route.path.startswith("/portal")}
    return {(method, path) for method, path in found if method != "HEAD"}


async def test_no_page_shows_or_changes_anything_of_another_organization(
    api: ApiFixture, receiver: Receiver, stranger: Visitor
) -> None:
    ids = await walk_ids(api, receiver)
    before = (await api.get(f"/api/v1/webhooks/{ids['endpoint_id']}")).json()
    assert portal_routes(api) == NEEDS.keys()
    for method, path in sorted(NEEDS):
        if path == "/portal/leave":
            continue
        token = token_of((await stranger.open("/portal")).text)
        fields = {
            "form_token": token,
            "endpoint_id": ids["endpoint_id"],
            "url": receiver.url("/theirs"),
            "since": "2026-01-01T00:00:00Z",
        }
        fields |= {"headers": "a: b", "events": "*", "overlap": "0", "type": "upload.completed", "data": "{}"}
        answer = await (
            stranger.post(path.format(**ids), fields) if method == "POST" else stranger.get(path.format(**ids))
        )
        if "{" in path or path == "/portal/signatures":
            assert answer.status_code == 404 or (method, path) == ("GET", "/portal/signatures"), (method, path)
        shown = answer.text.replace(path.format(**ids), "")  # the page names its own path
        for mine in ("private-path", *(ids[name] for name in ("delivery_id", "replay_id"))):
            assert mine not in shown, (method, path)
    after = (await api.get(f"/api/v1/webhooks/{ids['endpoint_id']}")).json()
    assert after == before


async def test_no_query_or_cursor_shows_anything_of_another_organization(
    api: ApiFixture, receiver: Receiver, stranger: Visitor
) -> None:
    ids = await walk_ids(api, receiver)
    mine = (await api.get(f"/api/v1/deliveries/{ids['delivery_id']}")).json()
    queries = [f"cursor={encode_cursor(ids[name])}" for name in ("endpoint_id", "delivery_id")]
    queries += [f"endpoint_id={ids['endpoint_id']}", f"event_id={mine['event_id']}"]
    queries += [f"replay_id={ids['replay_id']}", f"organization_id={api.app.principal.organization_id}"]
    for path in ("/portal", "/portal/deliveries", "/portal/signatures"):
        for query in queries:
            answer = await stranger.get(f"{path}?{query}")
            assert answer.status_code in (200, 400), (path, query)
            shown = answer.text.replace(query, "")
            for secret in ("private-path", ids["delivery_id"]):
                assert secret not in shown, (path, query)


async def test_each_right_binds_every_route_that_needs_it(api: ApiFixture, receiver: Receiver) -> None:
    ids = await walk_ids(api, receiver)
    for lacking in ("manage", "resend", "test", "secrets"):
        visitor = Visitor.of(api.asgi)
        rights = [one for one in EVERYTHING if one != lacking]
        token = token_of((await visitor.open(await new_link(api, capabilities=rights))).text)
        for (method, path), needed in NEEDS.items():
            if needed == lacking:
                fields = {"form_token": token}
                there = path.format(**ids)
                answer = await (visitor.post(there, fields) if method == "POST" else visitor.get(there))
                assert (answer.status_code, lacking in answer.text) == (403, True), (method, path)
        await visitor.aclose()


async def test_without_a_session_no_route_does_anything(api: ApiFixture, receiver: Receiver, visitor: Visitor) -> None:
    ids = await walk_ids(api, receiver)
    for (method, path), needed in NEEDS.items():
        if needed is not OPEN:
            there = path.format(**ids)
            answer = await (visitor.post(there, {}) if method == "POST" else visitor.get(there))
            assert answer.status_code == (401 if method == "POST" else 303), (method, path)
            assert "private-path" not in answer.text


async def test_forms_of_other_sites_and_sessions_are_refused(customer: Visitor, stranger: Visitor) -> None:
    mine = token_of((await customer.open("/portal")).text)
    theirs = token_of((await stranger.open("/portal")).text)
    for (method, path), needed in NEEDS.items():
        if method == "POST" and needed is not OPEN:
            there = path.format(endpoint_id=ANY_ID, delivery_id=ANY_ID, replay_id=ANY_ID)
            headers = {"Sec-Fetch-Site": "cross-site"}
            from_elsewhere = await customer.client.post(there, data={"form_token": mine}, headers=headers)
            assert from_elsewhere.status_code == 403, path
            assert (await customer.post(there, {"form_token": theirs})).status_code == 403, path
    assert await is_in(customer)


async def test_pages_are_framed_by_nobody_unless_a_setting_names_them(api: ApiFixture, customer: Visitor) -> None:
    ids = {"endpoint_id": ANY_ID, "delivery_id": ANY_ID, "replay_id": ANY_ID}
    paths = [path.format(**ids) for method, path in NEEDS if method == "GET" and "/brand/" not in path]
    for path in paths:
        headers = (await customer.get(path)).headers
        assert headers["x-frame-options"] == "DENY", path
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] in ("same-origin", "no-referrer")


async def test_a_setting_lets_an_origin_frame_the_pages_with_a_partitioned_cookie(
    sqlite_url: str, valkey_url: str
) -> None:
    async with open_api(sqlite_url, valkey_url, portal_frame_ancestors="https://app.example.com") as api:
        visitor = Visitor.of(api.asgi, base_url="https://hooks.example.com")
        opened = await visitor.get(await new_link(api))
        cookie = opened.headers["set-cookie"]
        assert cookie.startswith("__Host-sendoff-portal=")
        assert {"HttpOnly", "Secure", "SameSite=none", "Partitioned", "Path=/"} <= set(cookie.split("; "))
        page = await visitor.get("/portal")
        assert "frame-ancestors https://app.example.com" in page.headers["content-security-policy"]
        assert "x-frame-options" not in page.headers
        await visitor.aclose()


async def test_a_cookie_is_for_this_host_over_https_alone_and_unreadable_for_scripts(api: ApiFixture) -> None:
    visitor = Visitor.of(api.asgi, base_url="https://hooks.example.com")
    cookie = (await visitor.get(await new_link(api))).headers["set-cookie"]
    assert cookie.startswith("__Host-sendoff-portal=")
    assert {"HttpOnly", "Secure", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))
    await visitor.aclose()


async def test_after_a_session_customers_are_sent_where_a_setting_says(sqlite_url: str, valkey_url: str) -> None:
    url = "https://app.example.com/webhooks?tab=1"
    async with open_api(sqlite_url, valkey_url, portal_refresh_url=url) as api:
        visitor = Visitor.of(api.asgi)
        sent = await visitor.get((await visitor.get("/portal/deliveries")).headers["location"])
        assert sent.headers["location"] == f"{url}&return=%2Fportal%2Fdeliveries"
        foreign = await visitor.get("/portal/expired?next=https://evil.example")
        assert foreign.headers["location"] == f"{url}&return=%2Fportal"
        await visitor.aclose()


async def test_the_pages_can_be_switched_off(sqlite_url: str, valkey_url: str) -> None:
    async with open_api(sqlite_url, valkey_url, portal="off") as api:
        visitor = Visitor.of(api.asgi)
        for path in ("/portal", "/portal/enter?t=x", "/portal/expired"):
            assert (await visitor.get(path)).status_code == 404
        await visitor.aclose()


async def test_an_operator_sees_the_portal_of_an_organization_from_the_dashboard(
    api: ApiFixture, visitor: Visitor
) -> None:
    organization_id = await api.new_organization()
    await visitor.log_in(api.key)
    page = await visitor.open(f"/dashboard/organizations/{organization_id}")
    assert "Add an endpoint" in (await visitor.submit(page, "/portal")).text
