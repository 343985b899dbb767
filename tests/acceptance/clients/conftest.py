from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.integration.cli.installation import LOOPBACK, running
from tests.support.receiver_process import ReceiverProcess
from tests.support.shell import Shell


@dataclass(frozen=True)
class Served:
    """An installation with a key that may do everything, a receiver, and the document that it serves, as a file."""

    url: str
    key: str
    receiver: ReceiverProcess
    document: Path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("clients")
    shell = Shell()
    settings = LOOPBACK | {"SENDOFF_RETRY_SCHEDULE": "none"}
    with ReceiverProcess() as receiver, running(folder / "data", settings, shell) as installation:
        key = installation.new_key("webhooks:manage", "events:write", "uploads:read", "uploads:write", "operator")
        document = folder / "openapi.json"
        document.write_bytes(httpx.get(f"{installation.url}/openapi.json", timeout=60, trust_env=False).content)
        yield Served(installation.url, key, receiver, document)
    shell.close()
