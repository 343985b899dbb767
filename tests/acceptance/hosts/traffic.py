"""The load on an installation under test, and what became of each of its requests."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.hosts.load import PATIENCE_SECONDS
from tests.acceptance.hosts.network import Host
from tests.support.polling import eventually_blocking
from tests.support.processes import ROOT, start, stop
from tests.support.tenants import Tenant

EVENTS_PER_SECOND = 200


@dataclass(frozen=True, slots=True)
class Request:
    """One POST of an event. `sent_at` in Unix seconds; `status` is UNANSWERED, which is 0, if there was no answer."""

    sent_at: float
    seconds: float
    api: str
    tenant: int
    number: int
    status: int
    id: str | None
    late: float
    """Seconds after its time that it was sent: the machine had no core for the publisher."""
    error: str = ""


class Traffic:
    """What the publisher's process has recorded so far."""

    def __init__(self, records: Path) -> None:
        self._records = records
        self._read_to = 0
        self._requests: list[Request] = []
        self._judged_from = 0.0

    def forget_refusals(self) -> None:
        """Count no more what was refused or not answered until now."""
        self._judged_from = time.time()

    @property
    def requests(self) -> Sequence[Request]:
        """Those that have ended, in the order of their end."""
        with self._records.open("rb") as file:
            file.seek(self._read_to)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._read_to += len(line)
                self._requests.append(Request(**json.loads(line)))
        return self._requests

    @property
    def accepted(self) -> list[Request]:
        return [request for request in self.requests if request.status == 202]

    @property
    def refused(self) -> list[Request]:
        return [request for request in self.requests if self._is_judged(request) and request.status]

    @property
    def unanswered(self) -> list[Request]:
        return [request for request in self.requests if self._is_judged(request) and not request.status]

    @property
    def latest_seconds(self) -> float:
        """How late the publisher itself was at most."""
        return max(request.late for request in self.requests if request.sent_at >= self._judged_from)

    def _is_judged(self, request: Request) -> bool:
        return request.status != 202 and request.sent_at >= self._judged_from

    def accept(self, more: int, *, within: float = 60) -> None:
        """Wait until that many more events are accepted."""
        wanted = len(self.accepted) + more
        eventually_blocking(
            lambda: len(self.accepted) >= wanted,
            within=within,
            every=0.1,
            what=lambda: f"{more} more accepted events; the last requests: {self.requests[-5:]}",
        )

    def go_on(self, seconds: float) -> None:
        """Let it go on for as long; the length of a fault is what a scenario consists of."""
        until = time.monotonic() + seconds
        eventually_blocking(lambda: time.monotonic() >= until, within=seconds + 5, every=0.05)


@contextmanager
def publishing(
    publisher: Host, apis: Sequence[tuple[str, int]], tenants: Sequence[Tenant], directory: Path
) -> Iterator[Traffic]:
    """Publish EVENTS_PER_SECOND from that host within the block, by turns to the APIs and for the tenants."""
    plan, records = directory / "plan.json", directory / "records.jsonl"
    plan.write_text(
        json.dumps({"rate": EVENTS_PER_SECOND, "apis": list(apis), "keys": [tenant.key for tenant in tenants]})
    )
    records.touch()
    traffic = Traffic(records)
    with publisher.inside():
        process = _start_load(plan, records)
    try:
        yield traffic
        assert process.poll() is None, "the publisher ended"
    finally:
        stop(process, within=PATIENCE_SECONDS + 5)
    for request in traffic.accepted:
        assert request.id is not None
        tenants[request.tenant].published.accepted[request.id] = request.number


def _start_load(plan: Path, records: Path) -> subprocess.Popen[bytes]:
    return start([sys.executable, "-m", "tests.acceptance.hosts.load", plan, records], cwd=ROOT)
