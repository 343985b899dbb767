"""Each test of the wire runs on both event loops: the workers' and the standard library's."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable

import pytest
import trustme
import uvloop

from sendoff.wire.http.client import Client
from tests.integration.wire.receivers import LOOPBACK


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def ca() -> trustme.CA:
    """The authority that the clients under test trust."""
    return trustme.CA()


@pytest.fixture
def trusting(ca: trustme.CA) -> ssl.SSLContext:
    """A client's context that trusts `ca` alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ca.configure_trust(context)
    return context


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A client that may reach loopback addresses over plain HTTP."""
    async with Client(LOOPBACK) as running:
        yield running
