"""`sendoff alert-endpoints`, as the how-to about alerts calls it: every command of the page is run."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sendoff.accounts.organizations import create_organization
from tests.support.app_fixture import ACTOR, open_app
from tests.support.mail_server import MailServer, mail_server
from tests.support.receiver import Receiver
from tests.support.shell import Shell

PAGE = (Path(__file__).parents[3] / "docs/how-to/alerts.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines()]
ALERT_ENDPOINT, ORGANIZATION = "0198c5a0-2222-7000-8000-000000000000", "0198c5a0-1111-7000-8000-000000000000"


@dataclass
class CommandLine:
    """Runs commands on one database, with a mail server and a receiver in this process."""

    shell: Shell
    environment: dict[str, str]
    receiver: Receiver
    mail: MailServer
    organization: str

    async def __call__(self, *arguments: str) -> Any:
        """What the command prints with `--json`."""
        done = await self.fail_or_not(*arguments, "--json")
        assert done[0] == 0, (arguments, done)
        return json.loads(done[1])

    async def fail_or_not(self, *arguments: str) -> tuple[int, str, str]:
        done = await asyncio.to_thread(self.shell.run, list(arguments), self.environment)
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
async def sendoff(sqlite_url: str, valkey_url: str, shell: Shell, receiver: Receiver) -> AsyncIterator[CommandLine]:
    async with mail_server() as mail, open_app(sqlite_url) as app:
        organization = (await create_organization(app.context, ACTOR, name="Initech", credits=1)).id
        environment = {
            "SENDOFF_DATABASE_URL": sqlite_url,
            "SENDOFF_REDIS_URL": valkey_url,
            "SENDOFF_SECRET_KEYS": "k" * 32,
            "SENDOFF_DANGEROUSLY_ALLOW_HTTP": "true",
            "SENDOFF_ALERT_ALLOW_NETWORKS": "127.0.0.0/8",
            "SENDOFF_SMTP_URL": f"smtp://127.0.0.1:{mail.port}?starttls=off",
            "SENDOFF_SMTP_FROM": "sendoff@example.com",
        }
        yield CommandLine(shell, environment, receiver, mail, organization)


async def test_every_command_of_the_page_does_what_it_says(sendoff: CommandLine) -> None:
    created: list[dict[str, Any]] = []
    for line in COMMANDS:
        url = sendoff.receiver.url(f"/{len(created)}")
        here = re.sub(r"https://\S+", url, line)
        if created:
            here = here.replace(ALERT_ENDPOINT, created[0]["id"]).replace(ORGANIZATION, sendoff.organization)
        program, *arguments = shlex.split(here)
        assert program == "sendoff"
        answer = await sendoff(*arguments)
        if arguments[1] == "create":
            created.append(answer)
        elif arguments[1] == "test":
            assert answer["matched"] is True
    assert [one["dialect"] for one in created] == ["slack", "email", "default"]
    assert [one["events"] for one in created][2] == ["endpoint.*", "delivery.dead_lettered"]
    assert all(one["secret"] for one in created)
    assert len(sendoff.receiver.requests("/0")) == 2  # the ping and one test
    assert sendoff.mail.taken[0].rcpt_tos == ["oncall@example.com"]
    left = (await sendoff("alert-endpoints", "list"))["data"]
    assert {one["id"] for one in left} == {one["id"] for one in created[1:]}


async def test_an_alert_endpoint_is_named_by_a_part_of_its_id_and_shown_without_its_secret(
    sendoff: CommandLine,
) -> None:
    created = await sendoff("alert-endpoints", "create", sendoff.receiver.url("/a"), "--org", sendoff.organization)
    shown = await sendoff("alert-endpoints", "show", created["id"][-8:])
    assert shown["organization_ids"] == [sendoff.organization]
    assert "secret" not in shown
    changed = await sendoff("alert-endpoints", "update", created["id"], "--all-orgs", "--description", "Pager")
    assert (changed["organization_ids"], changed["description"]) == (None, "Pager")
    code, out, _ = await sendoff.fail_or_not("alert-endpoints", "list")
    assert (code, "active" in out) == (0, True)
    code, out, _ = await sendoff.fail_or_not("alert-endpoints", "test", created["id"])
    assert (code, "too_many_failures" in out) == (0, True)


REFUSED = [
    (["create", "https://10.0.0.1/"], "not public"),
    (["create", "mailto:oncall@example.com"], "answered the ping with 550"),
    (["create", "https://example.com/", "--event", "endpoint.gone"], "did you mean"),
    (["update", ALERT_ENDPOINT, "--off"], "no such alert endpoint"),
]


async def test_mistakes_are_named_in_a_sentence(sendoff: CommandLine) -> None:
    sendoff.mail.replies = ["550 No one of that name"]
    for arguments, words in REFUSED:
        code, _, error = await sendoff.fail_or_not("alert-endpoints", *arguments)
        assert (code, words in error, "Traceback" in error) == (1, True, False), (arguments, error)
