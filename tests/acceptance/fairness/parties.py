"""The two organizations of the fairness tests: their keys, their requests, and what one of them measures."""

from __future__ import annotations

import asyncio
import errno
import http.client
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count, cycle
from threading import Event, Thread
from typing import Any

from sendoff.accounts.authentication import EVENTS_WRITE, UPLOADS_READ, UPLOADS_WRITE, WEBHOOKS_MANAGE, authenticate
from sendoff.accounts.organizations import create_key, create_organization
from sendoff.audit import Actor
from sendoff.endpoints.fields import NewEndpoint
from sendoff.endpoints.manage import register_endpoint
from sendoff.processes.startup import open_context
from sendoff.settings import load
from tests.support.exchange import Received
from tests.support.installation import Installation
from tests.support.polling import eventually_blocking
from tests.support.publisher import EVENT_TYPE
from tests.support.uncounted import uncounted_redis

CONTACTS = 200
BOUNDARY = "fairness"
Call = tuple[int, bytes]

_ACTOR = Actor(name="test")
_SCOPES = [EVENTS_WRITE, UPLOADS_READ, UPLOADS_WRITE, WEBHOOKS_MANAGE]
KEYS = 10
"""Each key may write 60 times a minute, and all keys of an organization together 600 times."""

_TIMEOUT_SECONDS = 60
_numbers = count(1)


@dataclass
class Party:
    """An organization with credits, several keys and endpoints at the receiver; `endpoints` are their ids."""

    installation: Installation
    organization_id: str
    keys: Iterator[str]
    endpoints: Sequence[str]
    path: str
    statuses: Counter[int] = field(default_factory=Counter)
    """How many of its requests were answered with each status."""

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Call:
        """Send one request on a connection of its own; `body` is sent as JSON unless it is bytes."""
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        given = {"Authorization": f"Bearer {next(self.keys)}", "Content-Type": "application/json"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.installation.port, timeout=_TIMEOUT_SECONDS)
        try:
            connection.request(method, path, content, given)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        self.statuses[response.status] += 1
        return response.status, answer

    def upload_csv(self, content: bytes) -> Call:
        """Upload a file whose column is named `phone`."""
        return self.ask("POST", "/api/v1/uploads", form(content), Content_Type=FORM)


FORM = f"multipart/form-data; boundary={BOUNDARY}"


def form(content: bytes) -> bytes:
    """The body of a CSV upload."""
    part = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name="
    column = f'{part}"phone_column"\r\n\r\nphone\r\n'.encode()
    head = f'{part}"file"; filename="numbers.csv"\r\nContent-Type: text/csv\r\n\r\n'.encode()
    return column + head + content + f"\r\n--{BOUNDARY}--\r\n".encode()


def open_party(installation: Installation, *, endpoints: int = 1) -> Party:
    """A new organization, put straight into the database."""
    path = f"/party{next(_numbers)}"
    return asyncio.run(_open_party(installation, path, endpoints))


async def _open_party(installation: Installation, path: str, endpoints: int) -> Party:
    async with open_context(load(**installation.settings)) as opened:
        context = replace(opened, redis=uncounted_redis())
        organization = await create_organization(context, _ACTOR, name="Acme", credits=1_000_000)
        minted = [
            await create_key(
                context, _ACTOR, organization_id=organization.id, email=f"ada{number}@example.com", scopes=_SCOPES
            )
            for number in range(KEYS)
        ]
        principal = await authenticate(context, f"Bearer {minted[0].key}")
        ids = []
        for number in range(endpoints):
            new = NewEndpoint(url=installation.receiver.url(f"{path}/{number}"), events=[EVENT_TYPE])
            ids.append((await register_endpoint(context, principal, _ACTOR, new)).endpoint.id)
    return Party(installation, organization.id, cycle([each.key for each in minted]), ids, path)


@dataclass
class Measured:
    """Seconds that each of the victim's requests took, by kind.

    `delivery` counts from the publisher's answer to the event's arrival, `processing` from the answer to an upload to
    the arrival of its `upload.completed`.
    """

    seconds: dict[str, list[float]]

    def p95(self, kind: str) -> float:
        """The 95th percentile, the slowest request apart: one that a busy machine held up proves nothing."""
        found = sorted(self.seconds[kind])[:-1]
        return found[min(len(found) - 1, int(0.95 * len(found)))]

    def __str__(self) -> str:
        return ", ".join(f"{kind} {self.p95(kind) * 1000:.0f} ms" for kind in self.seconds)


def measure(victim: Party, *, rounds: int, seconds: float) -> Measured:
    """Read, publish and upload in turns, at least `rounds` times and for `seconds`, and wait for the deliveries.

    Fails when a request is not answered with success.
    """
    took: defaultdict[str, list[float]] = defaultdict(list)
    published: dict[str, float] = {}
    uploaded: dict[str, float] = {}
    numbers = [f"+1415{200 + number:03d}{next(_numbers) % 10_000:04d}" for number in range(CONTACTS)]
    requests: Mapping[str, tuple[str, str, Any]] = {
        "list": ("GET", "/api/v1/webhooks", None),
        "publish": ("POST", "/api/v1/events", {"type": EVENT_TYPE, "data": {"number": 1}}),
        "upload": ("POST", "/api/v1/uploads", {"phone_numbers": numbers}),
    }
    started = time.monotonic()
    while len(took["list"]) < rounds or time.monotonic() - started < seconds:
        for kind, (method, path, body) in requests.items():
            sent = time.monotonic()
            status, answer = victim.ask(method, path, body)
            took[kind].append(time.monotonic() - sent)
            assert status in (200, 202), f"{kind}: {status} {answer[:500]!r}"
            if kind != "list":
                (published if kind == "publish" else uploaded)[json.loads(answer)["id"]] = time.time()
        time.sleep(0.05)  # an ordinary client pauses as well
    took["delivery"] = _seconds_until_arrival(victim, published, _event_id)
    took["processing"] = _seconds_until_arrival(victim, uploaded, _upload_id)
    return Measured(dict(took))


def _seconds_until_arrival(victim: Party, since: Mapping[str, float], id_of: Callable[[Received], str]) -> list[float]:
    path = f"{victim.path}/0"

    def arrived() -> dict[str, float] | None:
        requests = victim.installation.receiver.requests(path)
        found = {id_of(each): each.arrived_at for each in reversed(requests)}
        return found if since.keys() <= found.keys() else None

    found = eventually_blocking(arrived, within=30, every=0.1, what="every event of the victim is delivered")
    return [max(0.0, found[one] - moment) for one, moment in since.items()]


def _event_id(request: Received) -> str:
    return str(request.header("X-OptimalDial-Event-Id"))


def _upload_id(request: Received) -> str:
    """Of the upload that the event is about; empty for one that the victim published itself."""
    return str(json.loads(request.body)["data"].get("upload", {}).get("id", ""))


Step = Callable[[], object]
"""Something that an attacker does again and again."""


@contextmanager
def attacking(steps: Sequence[Step]) -> Iterator[None]:
    """Repeat each step in a thread of its own within the block; refusals and broken connections are not failures."""
    stopped = Event()
    errors: list[Exception] = []

    def repeat(step: Step) -> None:
        while not stopped.is_set():
            try:
                step()
            except OSError as error:
                if error.errno == errno.EMFILE:  # without descriptors it attacks nobody
                    errors.append(error)
                    return
            except http.client.HTTPException:
                pass
            except Exception as error:
                errors.append(error)
                return
            stopped.wait(0.01)

    threads = [Thread(target=repeat, args=(step,), daemon=True) for step in steps]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopped.set()
        for thread in threads:
            thread.join(_TIMEOUT_SECONDS)
    assert not errors, errors
