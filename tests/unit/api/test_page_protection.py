"""Which requests count as made by another site, and which addresses stay on the pages that they are given for."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from api.pages.protection import is_page_below, refuse_other_sites
from sendoff.errors import Forbidden

HOST = "hooks.example.com:8443"


def form_sent_to(scheme: str, **headers: str) -> Request:
    named = {"host": HOST} | {name.replace("_", "-"): value for name, value in headers.items()}
    raw = [(name.encode(), value.encode()) for name, value in named.items()]
    return Request({"type": "http", "method": "POST", "scheme": scheme, "path": "/portal/leave", "headers": raw})


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "Cross-Site"},
        {"sec_fetch_site": ""},
        {"sec_fetch_site": "cross-site", "origin": f"https://{HOST}"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "https://hooks.example.com"},
        {"origin": "https://hooks.example.com:9443"},
        {"origin": f"http://{HOST}"},
        {"origin": f"https://app.{HOST}"},
        {"origin": f"https://{HOST}@evil.example"},
        {"origin": f"https://evil.example/{HOST}"},
        {"origin": "https://[evil"},
        {"referer": "https://evil.example/form"},
        {"referer": f"http://{HOST}/portal"},
        {"origin": "null", "referer": f"https://{HOST}/portal"},
    ],
)
def test_a_form_of_another_origin_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(Forbidden, match="another site"):
        refuse_other_sites(form_sent_to("https", **headers))


@pytest.mark.parametrize(
    ("scheme", "headers"),
    [
        ("https", {"sec_fetch_site": "same-origin", "origin": "null"}),  # the page has `no-referrer`
        ("https", {"sec_fetch_site": "none"}),  # typed or from a bookmark
        ("https", {"origin": f"https://{HOST}"}),
        ("http", {"origin": f"https://{HOST}"}),  # a proxy in front speaks TLS and does not say so
        ("http", {"origin": f"http://{HOST}"}),
        ("https", {"referer": f"https://{HOST}/portal/endpoints"}),
        ("https", {}),
    ],
)
def test_a_form_of_our_own_pages_is_taken(scheme: str, headers: dict[str, str]) -> None:
    refuse_other_sites(form_sent_to(scheme, **headers))


@pytest.mark.parametrize(
    "path",
    [
        "",
        "//evil.example",
        "/\\evil.example",
        "https://hooks.example.com/portal",
        "javascript:alert(1)",
        " /portal",
        "/portalx",
        "/portal@evil.example",
        "/portal\\@evil.example",
        "/portal//evil.example",
        "/portal/..//evil.example",
        "/portal/../dashboard/logout",
        "/portal/%2e%2e//evil.example",
        "/portal/%2E./dashboard",
        "/%2fevil.example",
        "/portal/%0d%0aSet-Cookie:%20a=b",
        "/portal\r\nSet-Cookie: a=b",
        "/portal?next=\r\nSet-Cookie: a=b",
        "/portal/\u2028",
    ],
)
def test_an_address_that_leaves_the_pages_is_not_followed(path: str) -> None:
    assert not is_page_below("/portal", path)


@pytest.mark.parametrize(
    "path", ["/portal", "/portal?cursor=a%2Fb", "/portal/endpoints/1", "/portal/deliveries?q=../x"]
)
def test_an_address_on_the_pages_is_followed(path: str) -> None:
    assert is_page_below("/portal", path)
