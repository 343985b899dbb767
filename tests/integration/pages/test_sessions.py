"""Sessions of the dashboard: who gets one, what it opens, and what ends it."""

from __future__ import annotations

import hashlib

import pytest

from sendoff.accounts import organizations, page_sessions
from sendoff.accounts.page_sessions import NewLink, SessionKind
from sendoff.maintenance.purge import purge_expired
from sendoff.store.tables import PageSession
from tests.integration.api.api_fixture import ApiFixture, open_api
from tests.support.app_fixture import ACTOR
from tests.support.visitor import Visitor, token_of

COOKIE = "sendoff-operator"


async def revoke(api: ApiFixture, key: str) -> None:
    for listed in await organizations.list_keys(api.app.context, api.app.principal.organization_id):
        if key.startswith(listed.key.prefix):
            await organizations.revoke_key(api.app.context, ACTOR, listed.key.id)


async def is_logged_in(visitor: Visitor) -> bool:
    return (await visitor.get("/dashboard/deliveries")).status_code == 200


async def test_an_operators_key_opens_a_session_and_no_other_key_does(api: ApiFixture, visitor: Visitor) -> None:
    customer = await api.new_key("webhooks:manage")
    assert (await visitor.log_in("od_live_" + "x" * 32)).status_code == 401
    refused = await visitor.log_in(customer)
    assert refused.status_code == 403
    assert "operator" in refused.text
    assert not await is_logged_in(visitor)
    await visitor.log_in(api.key)
    assert await is_logged_in(visitor)


async def test_without_a_session_every_page_leads_to_the_log_in_and_back(api: ApiFixture, visitor: Visitor) -> None:
    sent = await visitor.get("/dashboard/deliveries?state=dead")
    assert sent.status_code == 303
    login = await visitor.open(sent.headers["location"])
    entered = await visitor.submit(login, "/dashboard/login", key=api.key)
    assert str(entered.url).endswith("/dashboard/deliveries?state=dead")


@pytest.mark.parametrize(
    "elsewhere", ["https://evil.example/", "//evil.example", "/dashboard\\@evil.example", "/dashboardx"]
)
async def test_the_log_in_leads_to_no_other_site(api: ApiFixture, visitor: Visitor, elsewhere: str) -> None:
    answer = await visitor.post("/dashboard/login", {"key": api.key, "next": elsewhere})
    assert answer.headers["location"] == "/dashboard"


async def test_the_database_holds_the_hash_of_a_session_alone(api: ApiFixture, operator: Visitor) -> None:
    token = operator.client.cookies[COOKIE]
    async with api.app.transaction() as tx:
        row = await tx.get(PageSession, hashlib.sha256(token.encode()).hexdigest())
    assert row is not None
    assert token not in repr(row)
    assert token not in repr(await page_sessions.find_session(api.app.context, token, SessionKind.OPERATOR))


async def test_the_cookie_is_for_https_alone_except_on_this_machine(api: ApiFixture) -> None:
    cookies = {}
    for base in ("http://localhost", "https://hooks.example.com"):
        visitor = Visitor.of(api.asgi, base_url=base)
        cookies[base] = (await visitor.post("/dashboard/login", {"key": api.key})).headers["set-cookie"]
        await visitor.aclose()
    assert all("HttpOnly" in cookie and "SameSite=lax" in cookie for cookie in cookies.values())
    assert cookies["https://hooks.example.com"].startswith("__Host-sendoff-operator=")
    assert "; Secure" in cookies["https://hooks.example.com"]
    assert "Secure" not in cookies["http://localhost"]


async def test_a_log_in_ends_the_session_before_it_and_takes_no_id_from_the_browser(
    api: ApiFixture, visitor: Visitor
) -> None:
    visitor.client.cookies.set(COOKIE, "planted-by-somebody-else", domain="localhost.local")
    await visitor.log_in(api.key)
    first = next(cookie.value for cookie in visitor.client.cookies.jar if cookie.value != "planted-by-somebody-else")
    assert first is not None
    visitor.client.cookies.clear()
    visitor.client.cookies.set(COOKIE, first)
    await visitor.post("/dashboard/login", {"key": api.key})
    assert await page_sessions.find_session(api.app.context, first, SessionKind.OPERATOR) is None


async def test_a_session_ends_with_its_key_with_time_and_at_the_log_out(api: ApiFixture, visitor: Visitor) -> None:
    key = await api.new_key("operator")
    await visitor.log_in(key)
    await revoke(api, key)
    assert not await is_logged_in(visitor)

    await visitor.log_in(api.key)
    for _ in range(3):
        api.app.clock.advance(page_sessions.OPERATOR_IDLE_SECONDS - 1)
        assert await is_logged_in(visitor)
    api.app.clock.advance(page_sessions.OPERATOR_IDLE_SECONDS + 1)
    assert not await is_logged_in(visitor)

    api.app.clock.advance(60)
    page = await visitor.log_in(api.key)
    token = visitor.client.cookies[COOKIE]
    await visitor.submit(page, "/dashboard/logout")
    assert await page_sessions.find_session(api.app.context, token, SessionKind.OPERATOR) is None


async def test_a_session_ends_after_twelve_hours_of_use(api: ApiFixture, operator: Visitor) -> None:
    for _ in range(2 * 12 - 1):
        api.app.clock.advance(1_800)
        assert await is_logged_in(operator)
    api.app.clock.advance(1_800)
    assert not await is_logged_in(operator)


async def test_a_session_ends_with_the_suspension_of_its_keys_organization(api: ApiFixture, operator: Visitor) -> None:
    await organizations.suspend_organization(api.app.context, ACTOR, api.app.principal.organization_id, suspended=True)
    assert not await is_logged_in(operator)


async def test_a_key_that_reads_sees_and_cannot_act(api: ApiFixture, visitor: Visitor) -> None:
    link = NewLink(SessionKind.OPERATOR, {"view"}, expires_seconds=60, session_seconds=600)
    token, _ = await page_sessions.create_link(api.app.context, ACTOR, link)
    await visitor.open(f"/dashboard/enter?token={token}")
    page = await visitor.open("/dashboard/deliveries")
    assert "cannot act" in page.text
    form_token = token_of(page.text)
    path = "/dashboard/deliveries/0199c1f2-6f1e-7c3a-8f43-1f0c2f6d9a11/retry"
    refused = await visitor.post(path, {"form_token": form_token})
    assert refused.status_code == 403


async def test_a_link_opens_one_session_and_says_so_the_second_time(api: ApiFixture, visitor: Visitor) -> None:
    link = NewLink(SessionKind.OPERATOR, {"view", "act"}, expires_seconds=60, session_seconds=600)
    token, _ = await page_sessions.create_link(api.app.context, ACTOR, link)
    ahead = await visitor.get(f"/dashboard/enter?token={token}", headers={"Sec-Purpose": "prefetch"})
    assert (ahead.status_code, (await visitor.client.head(f"/dashboard/enter?token={token}")).status_code) == (204, 204)
    entered = await visitor.get(f"/dashboard/enter?token={token}")
    assert entered.headers["location"] == "/dashboard"
    assert await is_logged_in(visitor)
    again = Visitor.of(api.asgi)
    assert "used already" in (await again.get(f"/dashboard/enter?token={token}")).text
    assert not await is_logged_in(again)
    expired, _ = await page_sessions.create_link(api.app.context, ACTOR, link)
    api.app.clock.advance(61)
    assert "expired" in (await again.get(f"/dashboard/enter?token={expired}")).text
    await again.aclose()


async def test_a_link_of_the_portal_opens_no_dashboard(api: ApiFixture, visitor: Visitor) -> None:
    organization_id = api.app.principal.organization_id
    link = NewLink(
        SessionKind.PORTAL, {"view", "act"}, expires_seconds=60, session_seconds=600, organization_id=organization_id
    )
    token, _ = await page_sessions.create_link(api.app.context, ACTOR, link)
    assert (await visitor.get(f"/dashboard/enter?token={token}")).status_code == 403
    session = await page_sessions.open_link(api.app.context, token, SessionKind.PORTAL, request_id=None)
    visitor.client.cookies.set(COOKIE, session.token)
    assert not await is_logged_in(visitor)


async def test_tries_to_log_in_are_limited(visitor: Visitor) -> None:
    statuses = [(await visitor.post("/dashboard/login", {"key": "guess"})).status_code for _ in range(11)]
    assert statuses == [401] * 10 + [429]


async def test_expired_sessions_are_purged(api: ApiFixture, operator: Visitor) -> None:
    assert (await purge_expired(api.app.context)).page_sessions == 0
    api.app.clock.advance(13 * 3600)
    assert (await purge_expired(api.app.context)).page_sessions == 1


@pytest.mark.parametrize("mode", ["off", "readonly"])
async def test_the_dashboard_can_be_switched_off_or_made_read_only(sqlite_url: str, valkey_url: str, mode: str) -> None:
    async with open_api(sqlite_url, valkey_url, dashboard=mode) as api:
        visitor = Visitor.of(api.asgi)
        if mode == "off":
            assert (await visitor.get("/dashboard/login")).status_code == 404
        else:
            page = await visitor.log_in(api.key)
            assert "cannot act" in (await visitor.open("/dashboard/deliveries")).text
            token = token_of(page.text)
            path = "/dashboard/deliveries/0199c1f2-6f1e-7c3a-8f43-1f0c2f6d9a11/retry"
            assert (await visitor.post(path, {"form_token": token})).status_code == 403
        await visitor.aclose()


@pytest.mark.parametrize("invented", ["x", "x" * 43, "\u00e9"])
async def test_an_invented_session_is_limited_by_address_and_a_valid_one_is_served(
    invented: str, sqlite_url: str, valkey_url: str
) -> None:
    async with open_api(sqlite_url, valkey_url, anonymous_rate_limit=2) as api:
        visitor = Visitor.of(api.asgi)
        await visitor.log_in(api.key)
        junk = {b"Cookie": "; ".join(f"{name}={invented}" for name in (COOKIE, "sendoff-portal")).encode()}
        stranger = Visitor.of(api.asgi)
        answers = [await stranger.client.get(path, headers=junk) for path in ("/portal", "/dashboard/deliveries") * 3]
        assert [answer.status_code for answer in answers[-2:]] == [429, 429]
        assert await is_logged_in(visitor)
        await visitor.aclose()
        await stranger.aclose()
