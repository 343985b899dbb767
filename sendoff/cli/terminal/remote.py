"""The API of another machine, asked with a key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

from sendoff import __version__
from sendoff.cli.terminal.cursors import decode_cursor, encode_cursor
from sendoff.cli.terminal.installation import Call, not_found
from sendoff.cli.terminal.values import printable
from sendoff.errors import Conflict, Invalid, NotFound, SendoffError, Unavailable

MOST_PER_PAGE = 100
"""Items that the API gives at a time."""

ROWS_SEARCHED = 500
"""Newest rows among which a shortened id is looked for. More would take more than five requests."""

SHORTEST_ID = 4
"""Characters of a shortened id, as `operators/short_ids.py` has it."""

_SECONDS = 60.0
_LISTS = {
    "delivery": "/operator/v1/deliveries",
    "dead letter": "/operator/v1/dead-letters",
    "endpoint": "/operator/v1/endpoints",
    "alert endpoint": "/operator/v1/alert-endpoints",
    "replay": "/operator/v1/replays",
    "organization": "/operator/v1/organizations",
    "key": "/operator/v1/keys",
    "event": "/operator/v1/events",
}
_PARTIAL_ID = re.compile(rf"(evt_)?[0-9a-f-]{{{SHORTEST_ID},}}")
_WHOLE_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|evt_[0-9a-f]{24}")


@dataclass(frozen=True, slots=True)
class Remote:
    """An installation's API. `name` is what people call it."""

    url: str
    key: str = field(repr=False)
    name: str

    @classmethod
    def at(cls, url: str, key: str, profile: str | None = None) -> Remote:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise SendoffError(f"{printable(url)!r} is not the URL of an API; write it like https://api.example.com.")
        if not (key.isascii() and key.isprintable() and key.strip()):
            raise SendoffError("The API key is not one; copy it as `sendoff keys create` printed it.")
        address = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        return cls(address, key.strip(), f"{profile} ({address})" if profile else address)

    def ask(self, call: Call) -> Any:
        """The API's answer. Raises SendoffError with what it says, Unavailable when it cannot be reached."""
        with self.client() as client:
            return self._ask(client, call)

    @contextmanager
    def download(self, call: Call, headers: Mapping[str, str]) -> Iterator[Iterator[bytes]]:
        """The pieces of a long answer, as they arrive. Raises as `ask`."""
        query = {name: value for name, value in call.query.items() if value is not None}
        with (
            self.client() as client,
            client.stream(call.method, call.path, params=query, headers=dict(headers)) as answer,
        ):
            if not answer.is_success:
                answer.read()
                read_answer(answer)
            yield answer.iter_bytes()

    def upload(self, call: Call, content: bytes, headers: Mapping[str, str]) -> Any:
        """The API's answer to a body of lines of JSON. Raises as `ask`."""
        with self.client() as client:
            sent = {**headers, "Content-Type": "application/x-ndjson"}
            return read_answer(client.request(call.method, call.path, params=call.query, content=content, headers=sent))

    def readiness(self) -> dict[str, Any]:
        """What `/ready` answers: `status`, what is `failing`, `warnings`, and a `message` if anything fails."""
        with self.client() as client:
            answer = client.get("/ready")
        if answer.status_code == 503 and "failing" in answer.text:
            detail = answer.json()["detail"]
            return {
                "status": "not_ready",
                "failing": detail["failing"],
                "warnings": [],
                "message": detail["message"],
            }
        found: dict[str, Any] = read_answer(answer)
        return {"status": found["status"], "failing": [], "warnings": found.get("warnings", []), "message": None}

    def page(self, call: Call, *, limit: int, before: str | None) -> dict[str, Any]:
        """`limit` items of a list below `before`, asked for page by page; fewer if a search ended early."""
        rows: list[Any] = []
        identifier = decode_cursor(before)
        cursor = None if identifier is None else encode_cursor(identifier)
        with self.client() as client:
            while True:
                wanted = min(limit - len(rows), MOST_PER_PAGE)
                query = {**call.query, "limit": wanted} | ({"cursor": cursor} if cursor else {})
                found = self._ask(client, Call(call.method, call.path, query))
                rows += found["data"]
                cursor = found.get("next_cursor")
                if cursor is None or len(rows) >= limit or found.get("scanned_back_to"):
                    return {**found, "data": rows}

    def find(self, noun: str, given: str) -> str:
        """The id of the `noun` that `given` names: an id, or the beginning or end of one among the newest."""
        text = given.strip("….").lower()
        if _WHOLE_ID.fullmatch(text):
            return text
        if not _PARTIAL_ID.fullmatch(text):
            raise Invalid(f"{given!r} is not an id; give a whole one, or {SHORTEST_ID} characters or more of it.")
        listed = self.page(Call("GET", _LISTS[noun]), limit=ROWS_SEARCHED, before=None)["data"]
        text = text.removeprefix("evt_")
        ids = [str(one["id"]) for one in listed]
        matching = [one for one in ids if one.endswith(text) or one.removeprefix("evt_").startswith(text)]
        if not matching:
            raise not_found(noun, given)
        if len(matching) > 1:
            raise Conflict(f"{given!r} names several: {', '.join(matching[:3])}; give more characters.")
        return matching[0]

    @contextmanager
    def client(self, *, timeout: float | None = _SECONDS) -> Iterator[httpx.Client]:
        """An HTTP client with the key; its errors are raised as Unavailable."""
        headers = {"Authorization": f"Bearer {self.key}", "User-Agent": f"sendoff-cli/{__version__}"}
        try:
            with httpx.Client(base_url=self.url, headers=headers, timeout=timeout) as client:
                yield client
        except httpx.HTTPError as error:
            raise Unavailable(f"{self.url} cannot be reached ({str(error) or type(error).__name__}).") from None

    def _ask(self, client: httpx.Client, call: Call) -> Any:
        query = {name: value for name, value in call.query.items() if value is not None}
        body: Mapping[str, Any] = {} if call.body is None else {"json": call.body}
        return read_answer(client.request(call.method, call.path, params=query, **body))


def read_answer(answer: httpx.Response) -> Any:
    """The JSON of a success. Raises what the API says of a failure."""
    if answer.is_success:
        return answer.json() if answer.content else None
    message = printable(_explain(answer))
    if answer.status_code in (429, 502, 503, 504):
        raise Unavailable(message)
    if answer.status_code == 404:
        raise NotFound(message)
    raise SendoffError(message)


def _explain(answer: httpx.Response) -> str:
    try:
        found = answer.json()
    except ValueError:
        return f"The API answered {answer.status_code} to {answer.request.method} {answer.request.url.path}."
    detail = found.get("detail", found) if isinstance(found, dict) else found
    if isinstance(detail, dict):
        detail = detail.get("message") or ", ".join(f"{name} {value}" for name, value in detail.items())
    if answer.status_code == 405:
        return f"This API has no {answer.request.method} {answer.request.url.path}; it may be of an older version."
    return str(detail)
