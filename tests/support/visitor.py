"""A person in front of the pages, without a browser: follows links, fills in forms, keeps cookies."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

import httpx
from fastapi import FastAPI

SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


@dataclass
class Form:
    """A form of a page: where it goes, and its fields with what is in them already."""

    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._open = False
        self._select: str | None = None
        self._textarea: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(given.get("action", ""), given.get("method", "get"), {}))
            self._open = True
        elif tag == "option" and self._select is not None:
            if "selected" in given or self._select not in self.forms[-1].fields:
                self.forms[-1].fields[self._select] = given.get("value", "")
        elif tag in ("input", "textarea", "select") and self._open and given.get("name"):
            self._handle_field(tag, given)

    def _handle_field(self, tag: str, given: dict[str, str]) -> None:
        name = given["name"]
        if tag == "select":
            self._select = name
        elif given.get("type") not in ("checkbox", "radio") or "checked" in given:
            self.forms[-1].fields[name] = given.get("value", "on" if given.get("type") == "checkbox" else "")
            self._textarea = name if tag == "textarea" else None

    def handle_data(self, data: str) -> None:
        if self._textarea is not None:
            self.forms[-1].fields[self._textarea] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = False
        elif tag == "select":
            self._select = None
        elif tag == "textarea":
            self._textarea = None


def forms_of(html: str) -> list[Form]:
    """The forms of a page, in their order."""
    parser = _Forms()
    parser.feed(html)
    return parser.forms


def token_of(html: str) -> str:
    """The token of the page's first form that has one."""
    return next(form.fields["form_token"] for form in forms_of(html) if "form_token" in form.fields)


@dataclass
class Visitor:
    """One person's browser."""

    client: httpx.AsyncClient

    @classmethod
    def of(cls, app: FastAPI, *, base_url: str = "http://localhost") -> Visitor:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        return cls(httpx.AsyncClient(transport=transport, base_url=base_url, follow_redirects=False))

    async def get(self, path: str, **request: object) -> httpx.Response:
        return await self.client.get(path, **request)  # type: ignore[arg-type]

    async def open(self, path: str) -> httpx.Response:
        """A page, after redirects."""
        return await self.client.get(path, follow_redirects=True)

    async def post(self, path: str, fields: dict[str, str], **headers: str) -> httpx.Response:
        sent = SAME_ORIGIN | {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(path, data=fields, headers=sent)

    async def submit(self, page: httpx.Response, action: str, **fields: str) -> httpx.Response:
        """Send the page's form whose action ends with `action`; what comes after the redirect."""
        found = [form for form in forms_of(page.text) if form.action.partition("?")[0].endswith(action)]
        assert found, f"no form goes to {action}: {[form.action for form in forms_of(page.text)]}"
        answer = await self.post(found[0].action, found[0].fields | fields)
        return await self.open(answer.headers["location"]) if answer.is_redirect else answer

    async def log_in(self, key: str) -> httpx.Response:
        return await self.submit(await self.open("/dashboard/login"), "/dashboard/login", key=key)

    async def aclose(self) -> None:
        await self.client.aclose()
