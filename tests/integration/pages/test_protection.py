"""Headers of pages, requests that other sites make, and forms that are sent twice."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

import api.pages
from api.pages.dashboard.routes import ROUTES
from api.pages.protection import origin_in_policy
from api.pages.static_files import static_url
from tests.integration.api.api_fixture import ApiFixture
from tests.support.processes import ROOT
from tests.support.visitor import Visitor, token_of

ANY_ID = "0199c1f2-6f1e-7c3a-8f43-1f0c2f6d9a11"
VENDOR = Path(api.pages.__file__).parent / "static" / "vendor"


async def test_pages_have_a_strict_policy_and_are_not_kept(operator: Visitor) -> None:
    for path in ("/dashboard/login", "/dashboard/deliveries", "/dashboard/deliveries/unknown"):
        headers = (await operator.get(path)).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] in ("same-origin", "no-referrer")


async def test_pages_hold_no_inline_script_or_style(operator: Visitor) -> None:
    page = (await operator.open("/dashboard/deliveries")).text
    assert " style=" not in page
    assert "<style" not in page
    assert " onclick=" not in page
    assert page.count("<script") == page.count('<script src="/static/')


def dashboard_routes(method: str) -> list[str]:
    """The paths of the dashboard, with ids of nothing."""
    names = ("delivery_id", "dead_letter_id", "endpoint_id", "organization_id", "key_id", "replay_id", "worker_id")
    ids = dict.fromkeys(names, ANY_ID)
    ids |= {"event_id": "evt_0199c1f26f1e8f431f0c2f6d", "alert_endpoint_id": ANY_ID}
    return [route.path.format(**ids) for route in ROUTES if method in (route.methods or ())]


async def test_every_route_of_the_dashboard_is_framed_cached_and_referred_to_by_nobody(operator: Visitor) -> None:
    for path in dashboard_routes("GET"):
        answer = await operator.get(path)
        assert answer.status_code in (200, 303, 403, 404), path
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"], path
        assert answer.headers["x-frame-options"] == "DENY", path
        assert answer.headers["cache-control"] == "no-store", path
        assert answer.headers["referrer-policy"] in ("same-origin", "no-referrer"), path


async def test_every_form_of_the_dashboard_is_for_its_own_pages_and_session(operator: Visitor) -> None:
    for path in dashboard_routes("POST"):
        token = token_of((await operator.open("/dashboard/workers")).text)
        for header in (
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Origin": "https://x.example"},
        ):
            elsewhere = await operator.client.post(path, data={"form_token": token}, headers=header)
            assert elsewhere.status_code == 403, (path, header)
        if path.rpartition("/")[2] not in ("login", "scheme"):
            assert (await operator.post(path, {"form_token": "x.y"})).status_code == 403, path
            assert (await operator.post(path, {"form_token": ""})).status_code == 403, path
            get = await operator.get(path)
            assert get.status_code in (200, 404, 405), path
    assert (await operator.get("/dashboard/deliveries")).status_code == 200


@pytest.mark.parametrize("path", ["/dashboard/nothing", "/dashboard/deliveries/", "/portal/nothing", "/portal//x"])
async def test_where_there_is_no_page_a_browser_gets_one_that_says_so(operator: Visitor, path: str) -> None:
    missing = await operator.get(path, headers={"Accept": "text/html,*/*"})
    assert (missing.status_code, missing.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "There is no page at this address." in missing.text
    assert missing.headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in missing.headers["content-security-policy"]
    assert (await operator.get(path)).json() == {"detail": "There is nothing at this path."}


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
async def test_a_form_of_another_site_is_refused(operator: Visitor, headers: dict[str, str]) -> None:
    page = await operator.open("/dashboard/deliveries")
    token = token_of(page.text)
    for path in ("/dashboard/logout", "/dashboard/login"):
        answer = await operator.client.post(path, data={"form_token": token}, headers=headers)
        assert answer.status_code == 403, path
    assert (await operator.get("/dashboard/deliveries")).status_code == 200


async def test_a_form_needs_the_token_of_its_session(api: ApiFixture, operator: Visitor) -> None:
    other = Visitor.of(api.asgi)
    foreign = await other.log_in(api.key)
    token = token_of(foreign.text)
    for wrong in ("", "x", "x.y", token):
        assert (await operator.post("/dashboard/logout", {"form_token": wrong})).status_code == 403
    await other.aclose()


async def test_a_form_counts_once(operator: Visitor) -> None:
    page = await operator.open("/dashboard/deliveries")
    token = token_of(page.text)
    path = "/dashboard/deliveries/0199c1f2-6f1e-7c3a-8f43-1f0c2f6d9a11/retry"
    first = await operator.post(path, {"form_token": token})
    second = await operator.post(path, {"form_token": token})
    assert (first.status_code, second.status_code) == (404, 409)
    assert "sent already" in second.text


async def test_static_files_are_named_by_their_content_and_kept_for_ever(visitor: Visitor) -> None:
    path = static_url("pages.css")
    plain = await visitor.get(path, headers={"Accept-Encoding": "identity"})
    assert plain.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert (await visitor.get(path)).content == plain.content
    assert (await visitor.get(path)).headers["content-encoding"] == "gzip"
    assert (await visitor.get("/static/pages.0000000000000000.css")).status_code == 404
    assert (await visitor.get("/static/../pages.css")).status_code == 404


@pytest.mark.parametrize("folder", [VENDOR, ROOT / "tests" / "browser" / "vendor"])
def test_vendored_files_are_the_ones_that_their_checksums_name(folder: Path) -> None:
    lines = [line.split() for line in (folder / "checksums.txt").read_text().splitlines()]
    listed = {name: checksum for checksum, name in lines}
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*-*")}
    assert found == listed


ORIGINS = {
    "HTTPS://App.Example.com:8443?a=1": "https://app.example.com:8443",
    "https://b\u00fccher.example/hooks": "https://xn--bcher-kva.example",
    "http://127.0.0.1:3000/": "http://127.0.0.1:3000",
    "http://[::1]:3000/": None,
    "https://a_b.example/": None,
    "https://a;b.example/": None,
    "https://a.example:99999/": None,
}


@pytest.mark.parametrize("url", ORIGINS)
def test_a_policy_names_the_origin_of_a_url_as_browsers_read_it(url: str) -> None:
    assert origin_in_policy(url) == ORIGINS[url]
