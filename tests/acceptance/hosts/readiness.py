"""What the `/ready` of each process says all the time, asked from the operator's host as an orchestrator does."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

_ASK_EVERY_SECONDS = 0.5
_PATIENCE_SECONDS = 6.0
UNREACHABLE = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """`status` is UNREACHABLE if there was none; `at` is when it was asked for, in Unix seconds."""

    at: float
    status: int
    text: str


@dataclass
class Readiness:
    """The answers of each process by its name, in order."""

    answers: dict[str, list[Answer]] = field(default_factory=dict)

    def statuses(self, *names: str, since: float = 0, until: float = float("inf")) -> set[int]:
        """The statuses that these processes answered with in that time."""
        return {one.status for name in names for one in self.answers[name] if since <= one.at <= until}

    def last(self, name: str) -> Answer:
        """The newest answer of a process."""
        return self.answers[name][-1]

    def tell(self) -> str:
        """Each process's changes of status, with the seconds since the first answer."""
        begin = min(answers[0].at for answers in self.answers.values() if answers)
        return "; ".join(f"{name} {_changes(answers, begin)}" for name, answers in self.answers.items())


def _changes(answers: Sequence[Answer], begin: float) -> str:
    changes = [
        f"{one.status or one.text}@{one.at - begin:.0f}"
        for before, one in zip([None, *answers], answers, strict=False)
        if before is None or before.status != one.status
    ]
    return " ".join(changes)


@contextmanager
def watching_readiness(urls: Mapping[str, str]) -> Iterator[Readiness]:
    """Ask each URL within the block; call it on the operator's host."""
    found, ended = Readiness({name: [] for name in urls}), threading.Event()

    def watch(name: str, url: str) -> None:
        with httpx.Client(timeout=_PATIENCE_SECONDS, trust_env=False) as client:
            while not ended.wait(_ASK_EVERY_SECONDS):
                found.answers[name].append(_ask(client, url))

    # A thread begins on the host of the thread that starts it.
    threads = [threading.Thread(target=watch, args=pair, daemon=True) for pair in urls.items()]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _ask(client: httpx.Client, url: str) -> Answer:
    at = time.time()
    try:
        response = client.get(url)
    except httpx.HTTPError as error:
        return Answer(at, UNREACHABLE, repr(error))
    return Answer(at, response.status_code, response.text)
