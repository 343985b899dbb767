"""What a hostile customer does with ordinary keys. Each attack gives the steps that it repeats side by side."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from tests.acceptance.fairness.parties import FORM, Party, Step, form
from tests.support.exchange import Reply
from tests.support.publisher import EVENT_TYPE

Attack = Callable[[Party, Path], Sequence[Step]]
SIDE_BY_SIDE = 6
FILE_BYTES = 190_000

_PHONE_TEXTS = (
    "tel:1;phone-context=" + "aa." * 60 + "aa!",
    "4155552671" + " " * 200 + "1",
    "(" * 100 + "415" + ")" * 100,
    "415" + "-" * 200 + "5552671",
    "4155552671" + " ext" * 50,
    "4155552671" + ";ext=" * 40 + "1",
    "\uff14\uff11\uff15" * 40,
    "415\u20135552671 x" + "1" * 100,
)
_numbers = count(1)


def _cells(texts: Sequence[str], size: int = FILE_BYTES) -> list[str]:
    """The texts in turn, each a little different, up to `size` bytes."""
    repeats = size // sum(len(text.encode()) + 6 for text in texts)
    return [f"{text}{number % 10}" for number in range(max(repeats, 1)) for text in texts]


def _uploads_json(attacker: Party, body: Any) -> list[Step]:
    encoded = json.dumps(body, ensure_ascii=False).encode()
    return [partial(attacker.ask, "POST", "/api/v1/uploads", encoded)] * SIDE_BY_SIDE


def _uploads_csv(attacker: Party, lines: Sequence[str]) -> list[Step]:
    return [partial(attacker.upload_csv, "\n".join(lines).encode())] * SIDE_BY_SIDE


def phone_text_in_json(attacker: Party, _folder: Path) -> Sequence[Step]:
    return _uploads_json(attacker, {"phone_numbers": _cells(_PHONE_TEXTS)})


def phone_text_in_csv(attacker: Party, _folder: Path) -> Sequence[Step]:
    return _uploads_csv(attacker, ["phone", *_cells(_PHONE_TEXTS)])


def long_cells(attacker: Party, _folder: Path) -> Sequence[Step]:
    return _uploads_csv(attacker, ["phone", *_cells(["4155552671 " * 136, "1-" * 750], 4_000_000)])


def large_files_of_costly_numbers(attacker: Party, _folder: Path) -> Sequence[Step]:
    steps = _uploads_csv(attacker, ["phone", *_cells(["(415) 555\u20132671 x12"], 3_000_000)])
    return [at_most(1, step) for step in steps]


def wide_rows(attacker: Party, _folder: Path) -> Sequence[Step]:
    head = ",".join(["phone", *(f"c{number}" for number in range(999))])
    steps = _uploads_csv(attacker, [head, *["4155552671" + ",x" * 999] * 1_000])
    return [at_most(1, step) for step in steps]


def contacts_with_many_members(attacker: Party, _folder: Path) -> Sequence[Step]:
    contacts = [{"phone": "4155552671"} | {f"{row}_{number}": 1 for number in range(999)} for row in range(50)]
    return _uploads_json(attacker, {"contacts": contacts})


def files_with_an_open_quote(attacker: Party, _folder: Path) -> Sequence[Step]:
    return _uploads_csv(attacker, ["phone", '"' + "4155552671\n" * 90_000])


def _checked_events(attacker: Party, folder: Path, schema: Any, data: Any) -> list[Step]:
    """Events of a type whose schema, which an operator took over from this customer, is costly to check."""
    name, file = f"hostile.n{next(_numbers)}", folder / "schema.json"
    file.write_text(json.dumps(schema))
    attacker.installation.run_command("event-types", "create", name, "--schema", str(file))
    body = json.dumps({"type": name, "data": data}).encode()
    return [partial(attacker.ask, "POST", "/api/v1/events", body)] * SIDE_BY_SIDE


def unique_items(attacker: Party, folder: Path) -> Sequence[Step]:
    schema = {"properties": {"ids": {"uniqueItems": True}}}
    return _checked_events(attacker, folder, schema, {"ids": [{"i": number} for number in range(15_000)]})


def backtracking_pattern(attacker: Party, folder: Path) -> Sequence[Step]:
    schema = {"properties": {"text": {"pattern": "^(a+)+$"}}}
    return _checked_events(attacker, folder, schema, {"text": "a" * 200_000 + "!"})


def fan_out(attacker: Party, _folder: Path) -> Sequence[Step]:
    batch = json.dumps({"events": [{"type": EVENT_TYPE, "data": {"n": number}} for number in range(20)]}).encode()
    return [at_most(3, partial(attacker.ask, "POST", "/api/v1/events/batch", batch))]


def receivers_that_hang(attacker: Party, _folder: Path) -> Sequence[Step]:
    for number in range(len(attacker.endpoints)):
        attacker.installation.receiver.program(f"{attacker.path}/{number}", Reply(hang=True))
    batch = json.dumps({"events": [{"type": EVENT_TYPE, "data": {"n": number}} for number in range(10)]}).encode()
    return [at_most(2, partial(attacker.ask, "POST", "/api/v1/events/batch", batch))]


def huge_batches(attacker: Party, _folder: Path) -> Sequence[Step]:
    other = "upload.failed"  # nobody's endpoint gets it: the cost is that of reading and storing
    batch = json.dumps({"events": [{"type": other, "data": {"text": "x" * 10_000}}] * 1_000}).encode()
    return [at_most(3, partial(attacker.ask, "POST", "/api/v1/events/batch", batch))] * 2


def malformed_bodies(attacker: Party, _folder: Path) -> Sequence[Step]:
    data = [
        b'{"a":' * 40_000,
        b"[" * 200_000,
        json.dumps({str(number): number for number in range(20_000)}).encode(),
        b'{"n":' + b"9" * 200_000 + b"}",
        b'"' + b"\\ud800" * 40_000 + b'"',
    ]
    bodies = [b'{"type": "upload.completed", "data": ' + each + b"}" for each in data]
    return [partial(attacker.ask, "POST", "/api/v1/events", body) for body in bodies]


def unread_lists(attacker: Party, _folder: Path) -> Sequence[Step]:
    key = next(attacker.keys)
    ask = f"GET /api/v1/webhooks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n".encode() * 20
    return [partial(_send_and_hold, attacker, ask)] * SIDE_BY_SIDE


def slow_uploads(attacker: Party, _folder: Path) -> Sequence[Step]:
    body = form(b"phone\n" + b"4155552671\n" * 1_000)
    head = (
        f"POST /api/v1/uploads HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {next(attacker.keys)}\r\n"
        f"Content-Type: {FORM}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return [partial(_send_and_hold, attacker, head.encode() + body[:200], connections=40)] * 2


def uploads_whose_client_leaves(attacker: Party, _folder: Path) -> Sequence[Step]:
    body = form("\n".join(["phone", *_cells(_PHONE_TEXTS, 900_000)]).encode())

    def leave() -> None:
        head = (
            f"POST /api/v1/uploads HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {next(attacker.keys)}\r\n"
            f"Content-Type: {FORM}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with closing(connect(attacker)) as connection:
            connection.sendall(head.encode() + body)

    return [leave] * 3


def pings_at_one_host(attacker: Party, _folder: Path) -> Sequence[Step]:
    def register() -> None:
        url = attacker.installation.receiver.url(f"/pinged{next(_numbers)}")
        attacker.ask("POST", "/api/v1/webhooks", {"url": url})

    return [register] * SIDE_BY_SIDE


def pings_that_hang(attacker: Party, _folder: Path) -> Sequence[Step]:
    attacker.installation.receiver.program("/silent", Reply(hang=True))
    new = {"url": attacker.installation.receiver.url("/silent")}
    return [partial(attacker.ask, "POST", "/api/v1/webhooks", new)] * SIDE_BY_SIDE


def large_changes(attacker: Party, _folder: Path) -> Sequence[Step]:
    bodies = [
        {"events": [f"{'x' * 100}.n{number}" for number in range(2_000)]},
        {"events": [f"upload.{'x' * 100}{number}" for number in range(100)], "description": "x" * 500},
        {"description": "\u20ac" * 80_000},
    ]
    path = f"/api/v1/webhooks/{attacker.endpoints[0]}"
    return [partial(attacker.ask, "PATCH", path, body) for body in bodies]


def one_idempotency_key(attacker: Party, _folder: Path) -> Sequence[Step]:
    body = {"type": EVENT_TYPE, "data": {"text": "x" * 100_000}}
    return [partial(attacker.ask, "POST", "/api/v1/events", body, Idempotency_Key="same")] * SIDE_BY_SIDE


def unknown_keys(attacker: Party, _folder: Path) -> Sequence[Step]:
    """Some that are looked up, and some that cannot be keys."""

    def guess(form: str) -> None:
        attacker.ask("GET", "/api/v1/webhooks", Authorization=f"Bearer {form.format(next(_numbers))}")

    return [partial(guess, form) for form in ("od_live_{:032d}", "sk_{:048d}")] * 4


def junk_in_redis(attacker: Party, _folder: Path) -> Sequence[Step]:
    """Not a customer's doing, but Redis is not trusted either."""
    ids = ["", "x", "0" * 24, "evt_\0", "\U0001f4a9" * 100, "' OR 1=1 --", "9" * 10_000]

    def push() -> None:
        number = next(_numbers)
        with attacker.installation.valkey.client() as client:
            for queue in ("arq:queue", "arq:queue:bulk", "arq:queue:uploads", "arq:queue:replays"):
                names = [f"junk{queue}{number}_{each}" for each in range(len(ids))]
                client.zadd(queue, dict.fromkeys(names, 1))
                for name, each in zip(names, ids, strict=True):
                    job: dict[str, Any] = {"t": None, "f": "deliver", "a": [[each, number, None]], "k": {}, "et": 1}
                    client.set(f"arq:job:{name}", json.dumps(job), px=60_000)

    return [at_most(20, push)]


def accents_in_a_file_name(attacker: Party, _folder: Path) -> Sequence[Step]:
    """Normalizing sorts the accents of a letter, with a cost that grows with the square of their number."""
    numbers = [f"+1415555{number:04d}" for number in range(150)]
    name = "a" + "\u0301" * 60_000 + "\u0316" * 60_000
    return [at_most(5, step) for step in _uploads_json(attacker, {"filename": name, "phone_numbers": numbers})]


def batches_of_tiny_events(attacker: Party, _folder: Path) -> Sequence[Step]:
    """As many events as fit into a batch, from many connections and keys at once."""
    batch = json.dumps({"events": [{"type": EVENT_TYPE, "data": {}}] * 1_000}).encode()
    return [at_most(3, partial(attacker.ask, "POST", "/api/v1/events/batch", batch))] * 12


def batches_with_idempotency_keys(attacker: Party, _folder: Path) -> Sequence[Step]:
    batch = json.dumps({"events": [{"type": "upload.failed", "data": {"text": "x" * 200}}] * 500}).encode()

    def publish() -> None:
        attacker.ask("POST", "/api/v1/events/batch", batch, Idempotency_Key=str(next(_numbers)))

    return [at_most(10, publish)] * 12


def batches_that_never_end(attacker: Party, _folder: Path) -> Sequence[Step]:
    """Most of the largest body, which is held in memory until its end comes."""
    head = (
        f"POST /api/v1/events/batch HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {next(attacker.keys)}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {32 * 1024 * 1024}\r\n\r\n"
    )
    return [partial(_send_and_hold, attacker, head.encode() + b" " * 8_000_000, connections=3, trickled=20)] * 4


def bodies_of_strangers_that_never_end(attacker: Party, _folder: Path) -> Sequence[Step]:
    """Bodies that are read before their sender is known, all but the last byte."""
    head = (
        "POST /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer nobody\r\n"
        "Content-Type: application/json\r\nContent-Length: 262144\r\n\r\n"
    )
    return [partial(_send_and_hold, attacker, head.encode() + b" " * 250_000, connections=60, trickled=20)] * 4


def odd_heads(attacker: Party, _folder: Path) -> Sequence[Step]:
    """Many headers, cookies and encodings, other protocols, and upgrades to them."""
    get = f"GET /api/v1/webhooks%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {next(attacker.keys)}\r\n%s\r\n"
    heads = [
        get % ("", "".join(f"X-{number}: {number}\r\n" for number in range(2_000))),
        get % ("", "Cookie: " + "; ".join(f"c{number}=1" for number in range(5_000)) + "\r\n"),
        get % ("", "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"),
        get % ("?" + "a=1&" * 8_000, ""),
        get % ("/" + "%2e%2e%2f" * 3_000, ""),
        get % ("", "X-Forwarded-For: " + "1.1.1.1, " * 5_000 + "\r\n"),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\0" * 20_000,
        "GET / HTTP/1.1\r\n" + "a" * 60_000,
    ]
    return [partial(_send_and_hold, attacker, head.encode(), trickled=1) for head in heads]


def single_events_to_many_endpoints(attacker: Party, _folder: Path) -> Sequence[Step]:
    body = {"type": EVENT_TYPE, "data": {"n": 1}}
    return [at_most(10, partial(attacker.ask, "POST", "/api/v1/events", body))] * SIDE_BY_SIDE


def long_histories(attacker: Party, _folder: Path) -> Sequence[Step]:
    """Lists of what was delivered, and an event with all of its deliveries."""
    event = {"type": EVENT_TYPE, "data": {"text": "x" * 10_000}}
    status, answer = attacker.ask("POST", "/api/v1/events/batch", {"events": [event] * 20})
    assert status == 202, answer
    paths = [
        f"/api/v1/events/{json.loads(answer)['events'][0]['id']}",
        f"/api/v1/webhooks/{attacker.endpoints[0]}/deliveries?limit=100",
        "/api/v1/uploads?limit=100",
        "/api/v1/uploads?cursor=" + "A" * 8_000,
    ]
    return [partial(attacker.ask, "GET", path) for path in paths] * 2


def short_rows_of_wide_tables(attacker: Party, _folder: Path) -> Sequence[Step]:
    """A few members, each in one contact only, make every row of both results as wide as all of them."""
    wide = {f"column{number}": number for number in range(900)}
    contacts = [{"phone": f"+1415555{number % 10_000:04d}"} for number in range(3_000)]
    return [at_most(5, step) for step in _uploads_json(attacker, {"contacts": [contacts[0] | wide, *contacts]})]


def uploads_that_are_cancelled(attacker: Party, _folder: Path) -> Sequence[Step]:
    body = {"phone_numbers": [f"+1415555{number:04d}" for number in range(2_000)]}

    def upload_and_cancel() -> None:
        status, answer = attacker.ask("POST", "/api/v1/uploads", body)
        if status == 200:
            attacker.ask("DELETE", f"/api/v1/uploads/{json.loads(answer)['id']}")

    return [upload_and_cancel] * SIDE_BY_SIDE


def rotated_secrets(attacker: Party, _folder: Path) -> Sequence[Step]:
    path = f"/api/v1/webhooks/{attacker.endpoints[0]}/rotate-secret"
    return [partial(attacker.ask, "POST", path, {"overlap_seconds": 3_600})] * SIDE_BY_SIDE


def at_most(times: int, step: Callable[[], object]) -> Step:
    """The step, which does nothing after `times` calls: the work that it leaves behind must end after the test."""
    left = iter(range(times))

    def limited() -> None:
        if next(left, None) is not None:
            step()

    return limited


def connect(attacker: Party) -> socket.socket:
    """A new connection to the API."""
    return socket.create_connection(("127.0.0.1", attacker.installation.port), timeout=10)


def _send_and_hold(attacker: Party, sent: bytes, *, connections: int = 1, trickled: int = 5) -> None:
    """Send, then a byte every tenth of a second, and read nothing."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(closing(connect(attacker))) for _ in range(connections)]
        for connection in held:
            connection.sendall(sent)
        for _ in range(trickled):
            for connection in held:
                connection.settimeout(0.1 / connections)
                with contextlib.suppress(TimeoutError):
                    connection.recv(1)
                with contextlib.suppress(OSError):
                    connection.sendall(b"4")


ATTACKS: tuple[Attack, ...] = (
    phone_text_in_csv,
    long_cells,
    wide_rows,
    unique_items,
    fan_out,
    huge_batches,
    malformed_bodies,
    unread_lists,
    slow_uploads,
    pings_at_one_host,
    junk_in_redis,
    accents_in_a_file_name,
)

MORE_ATTACKS: tuple[Attack, ...] = (
    receivers_that_hang,
    phone_text_in_json,
    large_files_of_costly_numbers,
    contacts_with_many_members,
    files_with_an_open_quote,
    backtracking_pattern,
    uploads_whose_client_leaves,
    pings_that_hang,
    large_changes,
    one_idempotency_key,
    unknown_keys,
    batches_of_tiny_events,
    batches_with_idempotency_keys,
    batches_that_never_end,
    bodies_of_strangers_that_never_end,
    odd_heads,
    single_events_to_many_endpoints,
    long_histories,
    short_rows_of_wide_tables,
    uploads_that_are_cancelled,
    rotated_secrets,
)
"""Those that only the long form of the tests tries: each is close to one of the others, or to a test of isolation."""

MANY_ENDPOINTS: dict[Attack, int] = {
    fan_out: 60,
    unread_lists: 60,
    receivers_that_hang: 20,
    single_events_to_many_endpoints: 60,
    long_histories: 30,
}
"""Endpoints of the attacker where one is too few for the attack."""
