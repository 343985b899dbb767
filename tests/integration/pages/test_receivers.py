"""The receivers that the portal shows run as they are: they answer pings, take what is genuine, and nothing else."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from api.pages.portal.receivers import LANGUAGES, receiver_code
from sendoff.dialects.base import AttemptInfo, Dialect, EventData
from sendoff.dialects.branded import BrandedDialect
from sendoff.dialects.registry import Dialects
from sendoff.dialects.signing import PRIVATE_PREFIX, public_key
from tests.support.polling import eventually_blocking
from tests.support.ports import free_port
from tests.support.processes import start, stop

COMMANDS = {
    "python": ("receiver.py", ["python3", "receiver.py"]),
    "node": ("receiver.mjs", ["node", "receiver.mjs"]),
    "go": ("main.go", ["./receiver"]),
    "php": ("receiver.php", ["php", "-S", "127.0.0.1:{port}", "receiver.php"]),
    "ruby": ("receiver.rb", ["ruby", "receiver.rb"]),
}
BRANDS = {"stripe": BrandedDialect("Acme", "1"), "slack": BrandedDialect("Acme", "1", scheme="slack")}
KINDS = ("stripe", "slack", "standard", "standard-v1a")
FAST_KINDS = ("stripe", "standard")
FAST = ("python", "node")

CASES = [
    pytest.param(language, kind, marks=() if language in FAST and kind in FAST_KINDS else pytest.mark.chaos)
    for language in COMMANDS
    for kind in KINDS
]
"""The others start slowly, or are not installed everywhere: `make chaos` runs them all."""


@dataclass
class Sender:
    """Signs requests of a dialect with a secret."""

    dialect: Dialect
    secret: str

    def sign(self, event_id: str, *, by: str | None = None, age: int = 0) -> tuple[bytes, dict[str, str]]:
        event = EventData(event_id, "invoice.paid", "org", datetime.now(UTC), b'{"name":"J\xc3\xb6rg","n":1.50}')
        body = self.dialect.body(event)
        attempt = AttemptInfo("d", 1, int(time.time()) - age)
        return body, dict(self.dialect.headers(event, attempt, body, [by or self.secret]))


def program(kind: str, language: str) -> tuple[str, Dialect]:
    """The receiver's source code, and the dialect that it is for."""
    dialects = Dialects(BRANDS.get(kind, BRANDS["stripe"]))
    dialect = dialects.get("default" if kind in BRANDS else kind)
    context = cast("Any", SimpleNamespace(dialects=dialects))
    return receiver_code(context, dialect.name, language), dialect


@contextmanager
def running(language: str, code: str, folder: Path, known: str) -> Iterator[str]:
    name, command = COMMANDS[language]
    needed = "go" if language == "go" else command[0]
    if shutil.which(needed) is None:
        pytest.skip(f"{needed} is not installed here")
    (folder / name).write_text(code)
    port = free_port()
    environment = {**os.environ, "WEBHOOK_SECRETS": known, "PORT": str(port), "GO111MODULE": "off"}
    if language == "go":  # not `go run`, whose program goes on when it is stopped
        subprocess.run(["go", "build", "-o", "receiver", name], cwd=folder, env=environment, check=True)
    with (folder / "output").open("ab") as output:
        arguments = [part.format(port=port) for part in command]
        process = start(arguments, cwd=folder, env=environment, stdout=output, stderr=output)
        try:
            url = f"http://127.0.0.1:{port}/hook"
            eventually_blocking(lambda: is_up(url), within=60)
            yield url
        finally:
            stop(process)


def is_up(url: str) -> bool:
    try:
        httpx.get(url, trust_env=False, timeout=5)
    except httpx.HTTPError as error:
        return not isinstance(error, httpx.ConnectError)
    return True


@pytest.mark.parametrize(("language", "kind"), CASES)
def test_a_receiver_to_copy_takes_what_is_genuine_and_nothing_else(language: str, kind: str, tmp_path: Path) -> None:
    code, dialect = program(kind, language)
    sender, former, stranger = (Sender(dialect, dialect.new_secret()) for _ in range(3))
    known = " ".join(theirs(one.secret) for one in (sender, former))
    with running(language, code, tmp_path, known) as url, httpx.Client(trust_env=False, timeout=30) as client:
        body, headers = sender.sign("evt_" + secrets.token_hex(12))
        expected = [
            (204, body, headers),
            (204, body, headers),
            (204, *former.sign("evt_" + secrets.token_hex(12))),
            (400, body + b" ", headers),
            (400, *stranger.sign("evt_" + secrets.token_hex(12))),
            (400, *sender.sign("evt_" + secrets.token_hex(12), age=400)),
            (400, body, {"Content-Type": "application/json"}),
        ]
        for status, content, sent in expected:
            assert client.post(url, content=content, headers=sent).status_code == status, (status, sent)
    lines = [line for line in (tmp_path / "output").read_text().splitlines() if "invoice.paid" in line]
    assert len(lines) == (3 if language == "php" else 2)  # PHP keeps nothing between requests


@pytest.mark.parametrize("language", FAST)
def test_a_receiver_answers_pings_before_it_knows_the_secret_and_believes_nothing(
    language: str, tmp_path: Path
) -> None:
    code, dialect = program("stripe", language)
    body, headers = Sender(dialect, dialect.new_secret()).sign("evt_" + secrets.token_hex(12))
    with running(language, code, tmp_path, "") as url, httpx.Client(trust_env=False, timeout=30) as client:
        assert client.post(url, content=body, headers=headers).status_code == 204
    assert "invoice.paid" not in (tmp_path / "output").read_text()


def test_there_is_a_program_for_every_language_that_is_offered() -> None:
    assert list(COMMANDS) == list(LANGUAGES)


def theirs(secret: str) -> str:
    return public_key(secret) if secret.startswith(PRIVATE_PREFIX) else secret
