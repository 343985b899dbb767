"""Which cells know a token: asked of all of them at once, and remembered for a minute."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sendoff.errors import Unavailable

from .client import CellAnswer, CellClient

KNOWN_SECONDS = 60.0
"""How long it is remembered which cell knows a token. A cell that an organization has left says so itself, which is
asked about again at once, so a longer time only delays an operator's key that becomes known to one cell more."""

UNKNOWN_SECONDS = 5.0
"""The same of a token that none knows. Longer, and a new key that was tried too early fails for longer."""

MOST_TOKENS = 100_000
"""Tokens that are remembered, about 300 bytes each."""

_PROBE = "/api/v1/me"


@dataclass(frozen=True, slots=True)
class Placement:
    """The cells that know a token; for a customer's at most one of them. None: it is valid nowhere."""

    cells: tuple[str, ...]


class Directory:
    """The placements of tokens. Tokens are kept as hashes."""

    def __init__(self, client: CellClient, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._monotonic = monotonic
        self._known: OrderedDict[bytes, tuple[float, Placement]] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[Placement]] = {}

    def remembered(self, authorization: bytes) -> Placement | None:
        """What is remembered of the token of an `Authorization` header, without asking."""
        found = self._known.get(_hash(authorization))
        return found[1] if found is not None and self._monotonic() < found[0] else None

    async def find(self, authorization: bytes) -> Placement:
        """The token's placement. Raises Unavailable when none of the cells that answer knows it, and some do not."""
        remembered = self.remembered(authorization)
        if remembered is not None:
            return remembered
        key = _hash(authorization)
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.create_task(self._ask(key, authorization))
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        return await asyncio.shield(task)

    def forget(self, authorization: bytes) -> None:
        """Ask again at the next request: the cell says that it does not know the token any more."""
        self._known.pop(_hash(authorization), None)

    async def _ask(self, key: bytes, authorization: bytes) -> Placement:
        headers = [(b"authorization", authorization)]
        answers = await asyncio.gather(
            *(self._client.ask(cell, _PROBE, headers=headers) for cell in self._client.names), return_exceptions=True
        )
        placement = Placement(_who_know_it(self._client.names, answers))
        if not placement.cells:
            silent = next((one for one in answers if not _tells(one)), None)
            if silent is not None:
                raise silent if isinstance(silent, Unavailable) else Unavailable
        seconds = KNOWN_SECONDS if placement.cells else UNKNOWN_SECONDS
        self._known[key] = (self._monotonic() + seconds, placement)
        self._known.move_to_end(key)
        while len(self._known) > MOST_TOKENS:
            self._known.popitem(last=False)
        return placement


def _who_know_it(names: Sequence[str], answers: Sequence[CellAnswer | BaseException]) -> tuple[str, ...]:
    """The cells that take the token; if none does, the first that refuses it as known, such as for a suspension.

    Cells also refuse the genuine access tokens of businesses that live in another cell.
    """
    statuses = {
        name: answer.status for name, answer in zip(names, answers, strict=True) if isinstance(answer, CellAnswer)
    }
    taken = tuple(name for name, status in statuses.items() if status in {200, 429})
    return taken or tuple(name for name, status in statuses.items() if status == 403)[:1]


def _tells(answer: CellAnswer | BaseException) -> bool:
    return isinstance(answer, CellAnswer) and answer.status in {200, 401, 403, 429}


def _hash(authorization: bytes) -> bytes:
    return hashlib.sha256(authorization).digest()
