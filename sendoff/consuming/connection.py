"""What a broker's module offers to the process, and what they share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any, Protocol, TypeVar

from sendoff.errors import Unavailable

Result = TypeVar("Result")

CONNECT_SECONDS = 15.0
"""Seconds to connect to a broker and to find the queue, stream or topic; then it is tried again from the beginning."""

CHECK_SECONDS = 5.0
"""Seconds that a broker has to answer whether it is there."""

REASON_HEADER = "sendoff-reason"
SOURCE_HEADER = "sendoff-source"
"""Headers of the copies of rejected messages."""

LOGGER = logging.getLogger("sendoff.broker")
"""Says what goes wrong between FastStream and the broker. FastStream configures the logger of its own name, which would
add two lines for each message."""


class BrokerAway(Unavailable):
    """The broker cannot be reached, or does not have what is to be taken."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds a connection."""

    batch: int
    """Messages that are accepted in one transaction at most."""
    grace_seconds: float
    """How long what was taken may take to be finished when the process stops."""
    ssl_context: SSLContext | None


class Connection(Protocol):
    """A connection to a broker that takes messages."""

    async def start(self) -> None:
        """Connect and begin to take messages. Raises any exception."""

    async def stop(self) -> None:
        """Take nothing more, finish and confirm what was taken, and disconnect."""

    async def check(self) -> bool:
        """Whether messages would still come, if there are any."""


async def within(seconds: float, work: Awaitable[Result]) -> Result:
    """The result of `work`. Raises BrokerAway if it fails or takes longer."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        raise BrokerAway(f"The broker has not answered within {seconds:g} s.") from None
    except Exception as error:
        raise BrokerAway(f"{type(error).__name__}: {error}".removesuffix(": ")) from error


def header_text(value: Any) -> str:
    """A header's value as text, whatever type the broker's protocol gives it."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


async def whole_message(message: Any) -> Any:
    """FastStream's decoder: the message as it is. Its own would decode the body, and fail for what is not valid."""
    return message
