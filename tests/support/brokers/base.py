"""What tests ask of a message broker, whichever it is."""

from __future__ import annotations

import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.processes import stop


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str | None = None
    id: str | None = None


class BrokerServer(ABC):
    """A server in `directory` on a port of 127.0.0.1. It can be killed and started again in the same place."""

    directory: Path
    process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def start(self) -> None:
        """Start it and wait until it takes connections."""

    @abstractmethod
    def source(self, place: str, **parameters: str) -> str:
        """What `sendoff consume --from` takes for a queue, stream or topic."""

    @abstractmethod
    async def create(self, place: str) -> None:
        """Make the queue, stream or topic, and for `NAME-dead` one that its rejected messages may go to."""

    @abstractmethod
    async def publish(self, place: str, messages: Sequence[Outgoing]) -> None:
        """Publish the messages durably; some of them twice if the server is killed meanwhile."""

    @abstractmethod
    async def dead(self, place: str) -> list[Outgoing]:
        """Take what `NAME-dead` holds."""

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """End it in good order."""
        if self.process is not None:
            stop(self.process, within=20)

    def log(self) -> str:
        """The end of what it said."""
        path = self.directory / "log"
        return path.read_text(errors="replace")[-3000:] if path.exists() else ""
