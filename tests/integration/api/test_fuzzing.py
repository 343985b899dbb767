"""The whole API, asked what nobody would ask: no server error, and nothing but what the document says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.api.api_fixture import ApiFixture, open_api
from tests.integration.uploads.contacts import valid_contacts
from tests.support.ports import free_port
from tests.support.processes import ROOT
from tests.support.receiver_process import ReceiverProcess
from tests.support.servers import Server

EXAMPLES = os.environ.get("SENDOFF_FUZZ_EXAMPLES", "10")
_LONGEST_SECONDS = 300 + 20 * int(EXAMPLES)
PHASES = os.environ.get("SENDOFF_FUZZ_PHASES", "examples,fuzzing")
"""`coverage` and `stateful` take three times as long as these."""

SEED = os.environ.get("SENDOFF_FUZZ_SEED", "20260424")
"""The same questions every time: what fails here fails for everybody. Another seed asks others."""


@dataclass
class Fuzzed:
    """A running API with something in it."""

    url: str
    key: str
    environment: dict[str, str]
    log: Path


@pytest.fixture
async def fuzzed(sqlite_url: str, valkey_url: str, tmp_path: Path) -> AsyncIterator[Fuzzed]:
    with ReceiverProcess() as receiver:
        settings = {
            "storage_url": f"file://{tmp_path}/uploads",
            "ping_timeout_seconds": "0.5",
            "client_rate_limit": "1000000",
            "anonymous_rate_limit": "1000000",
        }
        async with open_api(sqlite_url, valkey_url, **settings) as api:
            known = await furnish(api, receiver)
            key = api.key
        (tmp_path / "known.json").write_text(json.dumps(known))
        given = settings | {
            "database_url": sqlite_url,
            "redis_url": valkey_url,
            "secret_keys": "k" * 32,
            "dangerously_allow_networks": "127.0.0.0/8",
            "dangerously_allow_http": "true",
        }
        environment = {
            **os.environ,
            **{f"SENDOFF_{name.upper()}": value for name, value in given.items()},
            "SENDOFF_FUZZ_KNOWN": f"{tmp_path}/known.json",
            "SCHEMATHESIS_HOOKS": "tests.integration.api.fuzz_hooks",
            "PYTHONPATH": str(ROOT),
        }
        port = free_port()
        server = Server(["tests.integration.api.unlimited_api", "--port", str(port)], environment, tmp_path / "log")
        server.start()
        try:
            # Putting the document together takes seconds, longer on a busy machine than Schemathesis waits.
            async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
                (await client.get(f"http://127.0.0.1:{port}/openapi.json")).raise_for_status()
            yield Fuzzed(f"http://127.0.0.1:{port}", key, environment, tmp_path / "log")
        finally:
            server.stop()


async def furnish(api: ApiFixture, receiver: ReceiverProcess) -> dict[str, list[str]]:
    """Something of everything; ids by the names of path parameters and filters."""
    receiver.program("/fails", 200, 500)
    letter = await api.die(receiver.url("/fails"))
    webhook = await api.register(receiver.url("/hook"))
    spare = await api.register(receiver.url("/spare"))
    events = [await api.publish() for _ in range(3)]
    wanted = {"event_type": "call.incoming.completed", "target_url": receiver.url("/calls")}
    subscription = (await api.post("/api/v1/subscriptions", wanted)).json()
    numbers = [contact["phone"] for contact in valid_contacts(100)]
    upload = (await api.post("/api/v1/uploads", {"phone_numbers": numbers})).json()
    replay = (await api.post("/operator/v1/replays", {"filter": {"event_type": "none"}})).json()
    deliveries = (await api.get("/operator/v1/deliveries")).json()["data"]
    page = (await api.get("/operator/v1/deliveries", params={"limit": 1})).json()
    endpoints = [webhook["id"], spare["id"], letter["endpoint_id"]]
    return {
        "webhook_id": endpoints,
        "endpoint_id": endpoints,
        "subscription_id": [subscription["id"]],
        "event_id": [event["id"] for event in events],
        "upload_id": [upload["id"]],
        "kind": ["original", "processed", "processed-filtered"],
        "dead_letter_id": [letter["id"]],
        "delivery_id": [delivery["id"] for delivery in deliveries],
        "replay_id": [replay["id"]],
        "organization_id": [api.app.principal.organization_id],
        "cursor": [page["next_cursor"]],
        "url": [receiver.url("/hook"), receiver.url("/fails")],
        "type": ["upload.completed", "upload.failed"],
        "event_type": ["call.incoming.completed", "upload.completed"],
    }


def run_schemathesis(fuzzed: Fuzzed, directory: Path) -> subprocess.CompletedProcess[str]:
    options: list[Any] = [
        *("--header", f"Authorization: Bearer {fuzzed.key}"),
        *("--checks", "all"),
        # A schema cannot say all that a request needs: an address that is public, a cursor, a type that exists.
        *("--exclude-checks", "positive_data_acceptance"),
        *("--max-examples", EXAMPLES),
        *("--phases", PHASES),
        *("--seed", SEED),
        *("--warnings", "off", "--no-color", "--suppress-health-check", "all"),
    ]
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{fuzzed.url}/openapi.json", *map(str, options)]
    return subprocess.run(
        command,
        cwd=directory,
        env=fuzzed.environment,
        capture_output=True,
        text=True,
        timeout=_LONGEST_SECONDS,
        check=False,
    )


def test_made_up_requests_meet_no_server_error_and_no_answer_that_is_not_documented(
    fuzzed: Fuzzed, tmp_path: Path
) -> None:
    found = run_schemathesis(fuzzed, tmp_path)
    log = fuzzed.log.read_text()
    assert found.returncode == 0, found.stdout[-8_000:] + log[-4_000:]
    assert "Traceback" not in log, log[-8_000:]
