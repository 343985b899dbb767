"""What a hostile customer does with the forms of requests, and with features that make the service work for them."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from itertools import count
from pathlib import Path

from sendoff.processes.process import raise_descriptor_limit
from tests.acceptance.fairness.attacks import SIDE_BY_SIDE, Attack, at_most, connect
from tests.acceptance.fairness.connections import WAYS, clients
from tests.acceptance.fairness.parties import BOUNDARY, FORM, Party, Step
from tests.support.exchange import Reply
from tests.support.publisher import EVENT_TYPE

_numbers = count(1)
_PART = b"--%s\r\nContent-Disposition: form-data; name=" % BOUNDARY.encode()


def strangers_who_connect_at_once(attacker: Party, _folder: Path) -> Sequence[Step]:
    """900 connections within a tenth of a second, again and again."""
    raise_descriptor_limit()
    base = f"http://127.0.0.1:{attacker.installation.port}"

    def burst() -> None:
        with clients(base, WAYS["a body after a 401"], 900):
            time.sleep(1)

    return [burst]


def many_idempotency_keys(attacker: Party, _folder: Path) -> Sequence[Step]:
    def publish() -> None:
        event = {"type": EVENT_TYPE, "data": {"text": "x" * 1_000}}
        attacker.ask("POST", "/api/v1/events", event, Idempotency_Key=f"{next(_numbers):0250d}")

    return [publish] * SIDE_BY_SIDE


def changes_of_one_endpoint(attacker: Party, _folder: Path) -> Sequence[Step]:
    """Each waits for the lock of the same row."""
    path = f"/api/v1/webhooks/{attacker.endpoints[0]}"

    def change() -> None:
        attacker.ask("PATCH", path, {"description": f"{next(_numbers)}" * 40})

    return [change] * 12


def uploads_of_many_parts(attacker: Party, _folder: Path) -> Sequence[Step]:
    parts = b"".join(_PART + b'"a%d"\r\n\r\nx\r\n' % number for number in range(20_000))
    heads = b"--%s\r\n" % BOUNDARY.encode() + b"X: y\r\n" * 100_000
    dashes = f"multipart/form-data; boundary={'-' * 70}"
    return [
        partial(attacker.ask, "POST", "/api/v1/uploads", parts, Content_Type=FORM),
        partial(attacker.ask, "POST", "/api/v1/uploads", heads, Content_Type=FORM),
        partial(attacker.ask, "POST", "/api/v1/uploads", b"-" * 1_000_000, Content_Type=dashes),
    ] * 2


def files_in_other_encodings(attacker: Party, _folder: Path) -> Sequence[Step]:
    """Files that no reader can be sure of: mixed encodings, null bytes, many delimiters."""
    files = [
        "phone\n".encode("utf-16") + "4155552671\n".encode("utf-16-le") * 20_000,
        b"phone\n" + b"\xff\xfe\x00" * 300_000,
        b"phone;a,b\tc|d\n" + b"1;2,3\t4|5\n" * 90_000,
    ]
    return [partial(attacker.upload_csv, file) for file in files] * 2


def listeners_who_leave(attacker: Party, _folder: Path) -> Sequence[Step]:
    def leave() -> None:
        head = f"Host: x\r\nAuthorization: Bearer {next(attacker.keys)}\r\n\r\n"
        with closing(connect(attacker)) as connection:
            connection.sendall(f"GET /api/v1/listen?wait_seconds=20 HTTP/1.1\r\n{head}".encode())

    return [leave] * SIDE_BY_SIDE


def queries_with_many_parameters(attacker: Party, _folder: Path) -> Sequence[Step]:
    queries = (
        "&".join(f"endpoint_id={number}" for number in range(1_000)),
        "tag=" + "%F0%9F%92%A9" * 1_200,
        "event_type=" + ",".join(["a.b"] * 3_000),
        "since=" + "9" * 4_000 + "d",
    )
    return [partial(attacker.ask, "GET", f"/api/v1/deliveries?{query}") for query in queries] * 2


def recoveries_again_and_again(attacker: Party, _folder: Path) -> Sequence[Step]:
    """Each sends everything that has failed once more, to receivers that fail it again."""
    for number in range(len(attacker.endpoints)):
        attacker.installation.receiver.program(f"{attacker.path}/{number}", Reply(status=410))
    attacker.ask("POST", "/api/v1/events/batch", {"events": [{"type": EVENT_TYPE, "data": {}}] * 500})
    steps = []
    for endpoint in attacker.endpoints:
        path = f"/api/v1/webhooks/{endpoint}"
        steps += [
            at_most(10, partial(attacker.ask, "PATCH", path, {"is_active": True})),
            at_most(10, partial(attacker.ask, "POST", f"{path}/recover", {"since": "2026-01-01T00:00:00Z"})),
        ]
    return steps


def certificates_that_are_costly_to_read(attacker: Party, _folder: Path) -> Sequence[Step]:
    """Client certificates that are long chains, or no certificates at all."""
    encoded = base64.encodebytes(b"\x30\x82" * 3_000).decode()
    block = f"-----BEGIN CERTIFICATE-----\n{encoded}-----END CERTIFICATE-----\n"
    auth = {"type": "mtls", "certificate": block * 20, "private_key": block.replace("CERTIFICATE", "PRIVATE KEY")}
    path = f"/api/v1/webhooks/{attacker.endpoints[0]}"
    return [partial(attacker.ask, "PATCH", path, {"auth": auth})] * SIDE_BY_SIDE


def ids_of_other_organizations(attacker: Party, _folder: Path) -> Sequence[Step]:
    """What is not there is looked for as often as the limits allow."""

    def ask() -> None:
        unknown = f"01a22438-2230-7548-8741-{next(_numbers):012d}"
        for path in (
            f"uploads/{unknown}",
            f"webhooks/{unknown}/deliveries",
            f"events/{unknown}",
            f"deliveries/{unknown}",
        ):
            attacker.ask("GET", f"/api/v1/{path}")

    return [ask] * SIDE_BY_SIDE


def batches_of_costly_json(attacker: Party, _folder: Path) -> Sequence[Step]:
    """Escapes, long numbers and deep data, in as many events as fit."""
    data = ({"text": "\u202e\u0000" * 500}, {"n": 10**4_000}, json.loads("[" * 50 + "]" * 50))
    batches = [json.dumps({"events": [{"type": "upload.failed", "data": each}] * 500}).encode() for each in data]
    return [at_most(5, partial(attacker.ask, "POST", "/api/v1/events/batch", batch)) for batch in batches]


INPUT_ATTACKS: tuple[Attack, ...] = (
    strangers_who_connect_at_once,
    many_idempotency_keys,
    changes_of_one_endpoint,
    uploads_of_many_parts,
    files_in_other_encodings,
    listeners_who_leave,
    queries_with_many_parameters,
    recoveries_again_and_again,
    certificates_that_are_costly_to_read,
    ids_of_other_organizations,
    batches_of_costly_json,
)

MANY_ENDPOINTS_ON_INPUT: dict[Attack, int] = {recoveries_again_and_again: 5, queries_with_many_parameters: 5}
