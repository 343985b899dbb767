"""The how-to about finding out what happened: each of its commands is answered, and finds what it says it does."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from sendoff.clock import SystemClock
from tests.integration.api.api_fixture import ApiFixture
from tests.support.receiver import Receiver

DOCS = Path(__file__).parents[3] / "docs"


def commands(page: str) -> list[str]:
    """The curl commands of a page, each on one line."""
    text = "\n".join(re.findall(r"^```sh\n(.*?)^```", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL))
    return [line for line in text.replace("\\\n", " ").splitlines() if line.startswith("curl")]


async def run(api: ApiFixture, command: str, **variables: str) -> httpx.Response:
    """What curl would get."""
    for name, value in variables.items():
        command = command.replace(f"${name}", value)
    method, path, headers, data = "GET", "", dict[str, str](), list[str]()
    words = iter(shlex.split(command)[1:])
    for word in words:
        match word:
            case "-X":
                method = next(words)
            case "-H":
                name, _, value = next(words).partition(": ")
                headers[name] = value
            case "-d":
                data.append(next(words))
            case "--data-urlencode":
                name, _, value = next(words).partition("=")
                data.append(f"{name}={quote(value)}")
            case _ if word.startswith("http"):
                path = word.removeprefix("http://sendoff")
    if "-G" in shlex.split(command):
        return await api.client.get(f"{path}?{'&'.join(data)}", headers=headers)
    return await api.client.request(method, path, headers=headers, content="".join(data).encode() or None)


async def test_each_command_is_answered(sqlite_api: ApiFixture, receiver: Receiver) -> None:
    sqlite_api.asgi.state.context = replace(sqlite_api.app.context, clock=SystemClock())  # which `since=2h` goes by
    await sqlite_api.register(receiver.url("/hook"))
    event = await sqlite_api.publish({"order": "order-42"}, tags=["order:42"])
    variables = {
        "SENDOFF": "http://sendoff",
        "KEY": sqlite_api.key,
        "ORG": sqlite_api.app.principal.organization_id,
        "EVENT": event["id"],
    }
    answers: dict[str, Any] = {}
    for command in commands("how-to/find-out.md") + commands("reference/statistics.md"):
        answer = await run(sqlite_api, command, **variables)
        assert answer.is_success, (command, answer.text)
        answers[command] = answer.json()
    assert len(answers) >= 12
    for command, answer in answers.items():
        if "q=order-42" in command or "tag=" in command:
            assert event["id"] in [one["id"] for one in answer["data"]], command
    reader = await sqlite_api.new_key("operator:read")
    for command in answers:
        answer = await run(sqlite_api, command, **variables | {"KEY": reader})
        assert answer.status_code == (403 if "-X" in command else 200), command
