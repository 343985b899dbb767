"""Clients that call every route there is, in any order, and remember what they were answered."""

from __future__ import annotations

import random
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx

_TIMEOUT_SECONDS = 60
_THREADS = 8
_UNKNOWN_IDS = 0.1  # of the calls that name something


@dataclass(frozen=True)
class Route:
    """`path` has its parameters in braces; `body` makes one for each call, None for none."""

    method: str
    path: str
    body: Callable[[], Any] = lambda: None


@dataclass
class Answers:
    """How often each route was answered with each status, and the answers that are always wrong."""

    statuses: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    forbidden: list[str] = field(default_factory=list)

    def routes_with(self, *statuses: int) -> set[tuple[str, str]]:
        """Method and path of the routes that were answered so, at least once."""
        return {(method, path) for method, path, status in self.statuses if status in statuses}


class RandomClients:
    """Call `routes` from a few threads, with any of the keys of one organization, within the block of `calling`."""

    def __init__(self, url: str, keys: Sequence[str], routes: Sequence[Route]) -> None:
        self._url = url
        self._keys = keys
        self._routes = routes
        self._ids: Mapping[str, deque[str]] = defaultdict(lambda: deque(maxlen=30))  # by the path they are found below
        self._stopped = threading.Event()
        self._seeds = count()
        self.answers = Answers()

    @contextmanager
    def calling(self) -> Iterator[Answers]:
        """Call until the end of the block, which waits for the calls under way."""
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(_THREADS)]
        for thread in threads:
            thread.start()
        try:
            yield self.answers
        finally:
            self._stopped.set()
            for thread in threads:
                thread.join()

    def _work(self) -> None:
        random_source = random.Random(next(self._seeds))  # noqa: S311 - whom to call, not a secret
        with httpx.Client(base_url=self._url, timeout=_TIMEOUT_SECONDS, trust_env=False) as client:
            while not self._stopped.is_set():
                self._call(client, random_source)

    def _call(self, client: httpx.Client, random_source: random.Random) -> None:
        route = random_source.choice(self._routes)
        headers = {"Authorization": f"Bearer {random_source.choice(self._keys)}"}
        if route.method != "GET" and random_source.random() < 0.5:
            headers["Idempotency-Key"] = f"key-{random_source.getrandbits(64)}"
        try:
            answer = client.request(
                route.method, self._concrete(route.path, random_source), json=route.body(), headers=headers
            )
        except httpx.HTTPError as error:
            self.answers.forbidden.append(f"{route.method} {route.path}: {error!r}")
            return
        self.answers.statuses[route.method, route.path, answer.status_code] += 1
        if answer.status_code == 503 and int(answer.headers.get("Retry-After", 0)) > 0:
            return
        if answer.status_code >= 500:
            self.answers.forbidden.append(f"{route.method} {route.path}: {answer.status_code} {answer.text}")
        elif answer.status_code < 300 and route.method in ("GET", "POST") and "{" not in route.path:
            self._ids[route.path].extend(_ids_in(answer))

    def _concrete(self, path: str, random_source: random.Random) -> str:
        known = self._ids[path.partition("/{")[0]]
        identifier = (
            random_source.choice(known)
            if known and random_source.random() > _UNKNOWN_IDS
            else str(random_source.getrandbits(64))
        )
        return "/".join(
            identifier if part.startswith("{") else part for part in path.replace("{kind}", "valid").split("/")
        )


def _ids_in(answer: httpx.Response) -> list[str]:
    """The ids of what was made, or of what was listed; none of anything else."""
    if answer.headers.get("Content-Type") != "application/json":
        return []
    body = answer.json()
    if isinstance(body, dict):
        body = next((part for part in body.values() if isinstance(part, list)), [body.get("webhook", body)])
    return [one["id"] for one in body if isinstance(one, dict) and "id" in one]
