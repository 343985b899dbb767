"""The runbook at night: each of its commands runs on an installation where it has something to say."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
from pathlib import Path

from sqlalchemy import text

from api.pages.dashboard.surface import NAVIGATION
from tests.support.app_fixture import open_app
from tests.support.processes import ROOT
from tests.support.receiver import Receiver
from tests.support.shell import Shell

PAGE = (ROOT / "docs" / "how-to" / "runbook.md").read_text()
COMMANDS = [line for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.M | re.S) for line in block.splitlines()]

_NOTHING_WORKS = {"sendoff doctor", "sendoff workers", "sendoff health"}
"""Commands that say with exit code 1 that no worker runs here."""


async def test_the_commands_run(
    sqlite_url: str, valkey_url: str, receiver: Receiver, shell: Shell, tmp_path: Path
) -> None:
    async with open_app(sqlite_url, retry_schedule="none", disable_after_failures=1) as app:
        registered = await app.register(receiver.url("/hook"))
        receiver.program("/hook", 500)
        [event] = await app.publish()
        await app.work()
        async with app.transaction() as tx:
            state = (await tx.execute(text("SELECT state FROM endpoints"))).scalar_one()
        assert state == "disabled"
    ids = {
        "evt_0123456789abcdef01234567": event.id,
        "0198c5a0-1111-7000-8000-000000000000": event.delivery_ids[0],
        "0198c5a0-2222-7000-8000-000000000000": registered.endpoint.id,
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SENDOFF_")}
    environment = {
        **inherited,
        "SENDOFF_DATABASE_URL": sqlite_url,
        "SENDOFF_REDIS_URL": valkey_url,
        "SENDOFF_SECRET_KEYS": "k" * 32,
        "SENDOFF_STORAGE_URL": f"file://{tmp_path}",
        "SENDOFF_DATA": str(tmp_path / "none"),
    }
    assert len(COMMANDS) > 20
    for command in dict.fromkeys(COMMANDS):
        [program, *arguments] = [ids.get(word, word) for word in shlex.split(command)]
        assert program == "sendoff"
        if arguments[0] == "replay" and "--dry-run" not in arguments:
            arguments.append("--yes")  # nobody is here to be asked
        done = await asyncio.to_thread(shell.run, arguments, environment)
        allowed = (0, 1) if command in _NOTHING_WORKS else (0,)
        assert done.returncode in allowed, f"{command}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        assert "No such" not in done.stderr


def test_the_pages_named_are_those_of_the_dashboard() -> None:
    named = {
        page for line in re.findall(r"Pages?: (.*?)\.(?: |$)", PAGE, re.M) for page in re.findall(r"\*(.+?)\*", line)
    }
    there = {title for _, places in NAVIGATION for _, title in places}
    assert len(named) > 8
    assert named - there <= {"Search"}
