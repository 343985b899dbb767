"""What a hostile customer does with listening, lists, the portal, expressions and test calls."""

from __future__ import annotations

import base64
import http.client
import json
import secrets
import struct
import time
from collections.abc import Sequence
from functools import partial
from itertools import count
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from tests.acceptance.fairness.attacks import SIDE_BY_SIDE, Attack, at_most
from tests.acceptance.fairness.parties import Party, Step
from tests.support.exchange import Reply
from tests.support.publisher import EVENT_TYPE

_FORM = "application/x-www-form-urlencoded"
_numbers = count(1)


def listening_again_and_again(attacker: Party, _folder: Path) -> Sequence[Step]:
    """Answers as large as they get, from many clients, some with cursors that name thousands of events."""
    batch = {"events": [{"type": EVENT_TYPE, "data": {"text": "x" * 240_000}}] * 100}
    attacker.ask("POST", "/api/v1/events/batch", batch)
    paths = [f"/api/v1/listen?cursor={_cursor(seen=seen, minutes=10)}" for seen in (0, 140, 600, 3_000)]
    waiting = f"/api/v1/listen?wait_seconds=2&event_type=nothing&cursor={_cursor(seen=0, minutes=0)}"
    return [partial(attacker.ask, "GET", path) for path in (*paths * 2, *[waiting] * 8)]


def _cursor(*, seen: int, minutes: float) -> str:
    """The cursor of a listener that was shown `seen` events since then."""
    milliseconds = int((time.time() - minutes * 60) * 1_000)
    raw = struct.pack(">Q", milliseconds)[2:] + bytes(6)
    raw += b"".join(struct.pack(">Q", milliseconds)[2:] + secrets.token_bytes(6) for _ in range(seen))
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def lists_that_match_nothing(attacker: Party, _folder: Path) -> Sequence[Step]:
    """Conditions that no row satisfies: whatever history there is would be read."""
    conditions = ("status_class=1xx", "request_id=nobody", "event_type=no.such", "min_attempts=99", "until=400d")
    return [partial(attacker.ask, "GET", f"/api/v1/deliveries?{one}") for one in conditions] * 3


def statistics_of_long_ranges(attacker: Party, _folder: Path) -> Sequence[Step]:
    queries = ("since=60d&by=endpoint&limit=50", "since=30d&by=event_type&bucket=1h", "since=400d&by=outcome")
    return [partial(attacker.ask, "GET", f"/api/v1/statistics?{query}") for query in queries] * 3


def pages_of_the_portal(attacker: Party, _folder: Path) -> Sequence[Step]:
    endpoint, cookie = attacker.endpoints[0], _open_portal(attacker)
    paths = ("", "/deliveries", "/event-types", f"/endpoints/{endpoint}", f"/endpoints/{endpoint}/test", "/signatures")
    pasted = {"headers": "X-A: " + "1," * 10_000, "body": "{" * 60_000, "endpoint": endpoint}
    steps: list[Step] = [partial(_ask_portal, attacker, cookie, "GET", path) for path in paths]
    form = urlencode(pasted).encode()
    return [*steps, *[partial(_ask_portal, attacker, cookie, "POST", "/signatures", form)] * 2]


def sessions_of_the_portal(attacker: Party, _folder: Path) -> Sequence[Step]:
    return [partial(_open_portal, attacker)] * SIDE_BY_SIDE


def _open_portal(attacker: Party) -> str:
    """The cookie of a new session; an empty one if the link is refused."""
    status, answer = attacker.ask("POST", "/api/v1/portal-links", {})
    if status != 200:
        return ""
    link = urlsplit(json.loads(answer)["url"])
    connection = http.client.HTTPConnection("127.0.0.1", attacker.installation.port, timeout=30)
    try:
        connection.request("GET", f"{link.path}?{link.query}")
        return str(connection.getresponse().getheader("set-cookie", "")).partition(";")[0]
    finally:
        connection.close()


def _ask_portal(attacker: Party, cookie: str, method: str, path: str, form: bytes | None = None) -> None:
    attacker.ask(method, f"/portal{path}", form, Cookie=cookie, Authorization="none", Content_Type=_FORM)


def pages_for_everybody(attacker: Party, _folder: Path) -> Sequence[Step]:
    paths = (
        "/openapi.json",
        "/docs",
        "/",
        "/dashboard/login",
        "/static/pages.css",
        "/portal/enter?t=" + "x" * 5_000,
        "/portal/expired?next=/portal/" + "a" * 8_000,
    )
    login = b"key=" + b"x" * 200_000
    steps: list[Step] = [partial(attacker.ask, "GET", path, Authorization="none") for path in paths]
    guess = partial(attacker.ask, "POST", "/dashboard/login", login, Authorization="none", Content_Type=_FORM)
    return [*steps, guess, guess]


def expressions_that_take_long_to_read(attacker: Party, _folder: Path) -> Sequence[Step]:
    path = f"/api/v1/webhooks/{attacker.endpoints[0]}"
    texts = ("\u202e" * 4_000, "'\\" * 2_000, "{'a': 1" + "+1" * 1_900 + "}", "{'a': data" + "[0]" * 1_300 + "}")
    return [partial(attacker.ask, "PATCH", path, {"transform": text}) for text in texts] * 2


def filters_that_read_much(attacker: Party, _folder: Path) -> Sequence[Step]:
    """Another filter at each endpoint, over data with as many values as filters read."""
    for number, endpoint in enumerate(attacker.endpoints):
        text = " && ".join([f"data.values.all(v, v != {number})"] * 4)
        _change(attacker, endpoint, filter=text)
    large = json.dumps({"type": EVENT_TYPE, "data": {"values": [5_000] * 9_900}}).encode()
    small = json.dumps({"type": EVENT_TYPE, "data": {"values": [5_000] * 10}}).encode()
    trial = {"type": EVENT_TYPE, "data": {"values": [5_000] * 9_900}, "dry_run": True}
    return [
        *[partial(attacker.ask, "POST", "/api/v1/events", body) for body in (large, small)] * 3,
        partial(attacker.ask, "POST", f"/api/v1/webhooks/{attacker.endpoints[0]}/test", trial),
    ]


def transforms_that_multiply(attacker: Party, _folder: Path) -> Sequence[Step]:
    """A kilobyte of data becomes 250 at each endpoint."""
    for endpoint in attacker.endpoints:
        _change(attacker, endpoint, transform="{'a': " + "+".join(["data.text"] * 250) + "}")
    event = {"type": EVENT_TYPE, "data": {"text": "x" * 1_000}}
    alone = partial(attacker.ask, "POST", "/api/v1/events", event)
    batch = partial(attacker.ask, "POST", "/api/v1/events/batch", {"events": [event] * 100})
    return [at_most(5, alone), at_most(5, batch)] * 2


def _change(attacker: Party, endpoint: str, **fields: object) -> None:
    status, answer = attacker.ask("PATCH", f"/api/v1/webhooks/{endpoint}", fields)
    assert status == 200, answer


def trials_that_hang(attacker: Party, _folder: Path) -> Sequence[Step]:
    _program_all(attacker, Reply(hang=True))
    paths = [f"/api/v1/webhooks/{endpoint}/test" for endpoint in attacker.endpoints]
    return [partial(attacker.ask, "POST", path, {"type": EVENT_TYPE}) for path in paths] * 2


def endpoints_switched_off_and_on(attacker: Party, _folder: Path) -> Sequence[Step]:
    """What was open dies, is sent again by a recovery, and dies again."""
    _program_all(attacker, Reply(status=500))
    attacker.ask("POST", "/api/v1/events/batch", {"events": [{"type": EVENT_TYPE, "data": {}}] * 500})

    def switch(endpoint: str) -> None:
        path = f"/api/v1/webhooks/{endpoint}"
        for is_active in (False, True):
            attacker.ask("PATCH", path, {"is_active": is_active})
        attacker.ask("POST", f"{path}/recover", {"since": "2026-01-01T00:00:00Z"})

    return [at_most(10, partial(switch, endpoint)) for endpoint in attacker.endpoints]


def _program_all(attacker: Party, reply: Reply) -> None:
    for number in range(len(attacker.endpoints)):
        attacker.installation.receiver.program(f"{attacker.path}/{number}", reply)


def batches_with_many_tags(attacker: Party, _folder: Path) -> Sequence[Step]:
    def publish() -> None:
        events = [
            {"type": "upload.failed", "data": {}, "tags": [f"{next(_numbers)}" + "x" * 50 for _ in range(5)]}
            for _ in range(1_000)
        ]
        attacker.ask("POST", "/api/v1/events/batch", {"events": events})

    return [at_most(5, publish)] * 2


def cloud_events(attacker: Party, _folder: Path) -> Sequence[Step]:
    shown = {"specversion": "1.0", "id": "1", "source": "s", "type": EVENT_TYPE}
    bodies = (
        shown | {"data": {str(number): number for number in range(15_000)}},
        shown | {"data_base64": "A" * 240_000},
        shown | {f"ext{number}": "v" for number in range(5_000)},
    )
    kind = "application/cloudevents+json"
    return [
        partial(attacker.ask, "POST", "/api/v1/events", json.dumps(body).encode(), Content_Type=kind) for body in bodies
    ] * 2


def tokens_that_never_come(attacker: Party, _folder: Path) -> Sequence[Step]:
    """Deliveries that need an OAuth2 token first, whose server hangs."""
    attacker.installation.receiver.program("/hanging-token", Reply(hang=True))
    url = attacker.installation.receiver.url("/hanging-token")
    auth = {"type": "oauth2", "token_url": url, "client_id": "a", "client_secret": "b"}
    for endpoint in attacker.endpoints:
        attacker.ask("PATCH", f"/api/v1/webhooks/{endpoint}", {"auth": auth})
    batch = {"events": [{"type": EVENT_TYPE, "data": {}}] * 20}
    return [at_most(3, partial(attacker.ask, "POST", "/api/v1/events/batch", batch))]


def long_lines_of_ordered_endpoints(attacker: Party, _folder: Path) -> Sequence[Step]:
    for endpoint in attacker.endpoints:
        _change(attacker, endpoint, ordered=True)
    _program_all(attacker, Reply(status=500))
    batch = {"events": [{"type": EVENT_TYPE, "data": {}}] * 200}
    return [at_most(5, partial(attacker.ask, "POST", "/api/v1/events/batch", batch))] * 2


def small_uploads(attacker: Party, _folder: Path) -> Sequence[Step]:
    """As many as fit, half of them with numbers that only the library can read."""
    plain = {"phone_numbers": [f"+1415555{number:04d}" for number in range(150)]}
    costly = {"phone_numbers": [f"(415) 555\u2013{number:04d} x12" for number in range(1_500)]}
    return [partial(attacker.ask, "POST", "/api/v1/uploads", body) for body in (plain, costly)] * 6


SURFACE_ATTACKS: tuple[Attack, ...] = (
    listening_again_and_again,
    lists_that_match_nothing,
    statistics_of_long_ranges,
    pages_of_the_portal,
    sessions_of_the_portal,
    pages_for_everybody,
    expressions_that_take_long_to_read,
    filters_that_read_much,
    transforms_that_multiply,
    trials_that_hang,
    endpoints_switched_off_and_on,
    batches_with_many_tags,
    cloud_events,
    tokens_that_never_come,
    long_lines_of_ordered_endpoints,
    small_uploads,
)

MANY_ENDPOINTS_ON_SURFACES: dict[Attack, int] = {
    lists_that_match_nothing: 20,
    pages_of_the_portal: 60,
    filters_that_read_much: 60,
    transforms_that_multiply: 10,
    trials_that_hang: 5,
    endpoints_switched_off_and_on: 5,
    tokens_that_never_come: 20,
    long_lines_of_ordered_endpoints: 20,
}
