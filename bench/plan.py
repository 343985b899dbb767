"""The load generator's input and output."""

from __future__ import annotations

import json
from array import array
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.processes.receiver import EVENT_ID_LENGTH

_EVENT_ID = b'"id":"'


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """What to send where: `heads` take turns, each followed by the next of `bodies`.

    Ends after `seconds` or `most` requests.
    `rate` is requests per second, 0 for a closed loop. `answers` is where the answers' times go, if anywhere.
    """

    host: str
    port: int
    heads: list[str]
    bodies: list[str]
    expect: int
    connections: int
    seconds: float
    most: int
    rate: float = 0
    answers: str | None = None

    def save(self, path: Path) -> Path:
        path.write_text(json.dumps(asdict(self)))
        return path

    @classmethod
    def load(cls, path: Path) -> LoadPlan:
        return cls(**json.loads(path.read_text()))


@dataclass(slots=True)
class LoadResult:
    """What came of it; times are monotonic seconds, the CPU's are the load generator's own."""

    answered: int = 0
    refused: int = 0
    refusal: str = ""
    started: float = 0
    ended: float = 0
    cpu_seconds: float = 0

    @property
    def per_second(self) -> float:
        return self.answered / (self.ended - self.started)


@dataclass(frozen=True, slots=True)
class PublishAnswer:
    """An accepted event: when its request was due, and when its answer was here."""

    event_id: bytes
    sent: float
    answered: float


class Answers:
    """The times of all answers, compactly."""

    def __init__(self) -> None:
        self._ids = bytearray()
        self._times = array("d")

    def note(self, response: bytes, sent: float, answered: float) -> None:
        start = response.find(_EVENT_ID) + len(_EVENT_ID)
        self._ids += response[start : start + EVENT_ID_LENGTH]
        self._times.extend((sent, answered))

    def dump(self, path: Path) -> None:
        path.write_bytes(self._times.tobytes() + bytes(self._ids))


def read_answers(path: Path) -> list[PublishAnswer]:
    """What `Answers.dump` wrote."""
    content = path.read_bytes()
    count = len(content) // (16 + EVENT_ID_LENGTH)
    times = array("d", content[: 16 * count])
    ids = content[16 * count :]
    return [
        PublishAnswer(ids[EVENT_ID_LENGTH * n : EVENT_ID_LENGTH * (n + 1)], times[2 * n], times[2 * n + 1])
        for n in range(count)
    ]
