"""What a run of real processes issues, says and leaves behind, and the search through it for what was issued."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import httpx

from sendoff.idempotency import answer_binding
from sendoff.store.vault import Vault
from tests.integration.cli.installation import Installation
from tests.integration.dialbird.issuer import Issuer
from tests.support.processes import start
from tests.support.receiver_process import ReceiverProcess
from tests.support.secret_encodings import encodings


class LoggedInstallation(Installation):
    """Writes all that its processes log to a file."""

    log: IO[bytes]

    def start(self, *arguments: str) -> None:
        command: list[str | Path] = [
            sys.executable,
            "-P",
            "-m",
            "sendoff.cli",
            "up",
            "--port",
            "0",
            *arguments,
            "--data",
            self.data,
        ]
        self.log = (self.data.parent / "log").open("wb")
        where = {"cwd": self.data.parent, "env": self.environment}
        self.process = start(command, **where, stdout=subprocess.PIPE, stderr=self.log)


@dataclass
class Run:
    """What was issued, and what was said besides."""

    installation: LoggedInstallation
    receiver: ReceiverProcess
    issuer: Issuer
    issued: dict[str, str] = field(default_factory=dict)
    said: dict[str, bytes] = field(default_factory=dict)

    def issue(self, name: str, secret: str) -> str:
        """A secret to search for; each needs a name of its own, or the one before would be forgotten."""
        assert name not in self.issued, name
        self.issued[name] = secret
        return secret

    def record(self, name: str, answer: httpx.Response) -> httpx.Response:
        """An answer that must not tell a secret."""
        self.said[name] = self.said.get(name, b"") + repr(answer.headers).encode() + answer.content
        return answer

    def run_command(self, *arguments: str) -> None:
        done = self.installation.run(*arguments)
        assert done.returncode == 0, done.stderr
        self.said[f"sendoff {' '.join(arguments)}"] = (done.stdout + done.stderr).encode()


def unseal(run: Run, endpoint_id: str) -> list[str]:
    """An endpoint's secret and the one before, as only the database and the keys at rest together tell them."""
    [row] = select(run, "SELECT secret, previous_secret FROM endpoints WHERE id = ?", endpoint_id)
    return [vault_of(run).open(sealed, bound_to=endpoint_id) for sealed in row if sealed]


def stored_answers(run: Run) -> str:
    """The answers that are kept to be given once more, unsealed."""
    rows = select(run, "SELECT organization_id, key, response_body FROM idempotency_records")
    vault = vault_of(run)
    return "\n".join(vault.open(sealed, bound_to=answer_binding(owner, key)) for owner, key, sealed in rows)


def select(run: Run, query: str, *values: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(run.installation.data / "sendoff.db")) as database:
        return database.execute(query, values).fetchall()


def vault_of(run: Run) -> Vault:
    return Vault([run.issued["new key at rest"], run.issued["old key at rest"]])


def left_behind(directory: Path) -> dict[str, bytes]:
    """Every file below the directory, logs and database among them; not what goes away meanwhile."""
    found: dict[str, bytes] = {}
    for folder, _, names in os.walk(directory):
        for path in filter(Path.is_file, (Path(folder, name) for name in names)):
            with suppress(FileNotFoundError):
                found[str(path)] = path.read_bytes()
    return found


def search(run: Run) -> dict[str, bytes]:
    """The files while the database is open, its write-ahead log among them."""
    found = {f"open {name}": content for name, content in left_behind(run.installation.data.parent).items()}
    assert any(name.endswith("-wal") and content for name, content in found.items())
    return found


def assert_nothing_told(run: Run, files: dict[str, bytes]) -> None:
    database = next(
        content for name, content in files.items() if name.endswith("sendoff.db") and not name.startswith("open ")
    )
    log = next(content for name, content in files.items() if name.endswith("/log"))
    # The search can find something: the key's shown beginning, and what the log says.
    assert run.issued["key"][:12].encode() in database
    assert b"api_ready" in log
    everything = files | run.said
    leaks = [f"{name}: {place}" for name in run.issued for place in _places_of(run.issued[name], everything)]
    # A download link is an event's data and so in the database; it is short-lived, and no log may tell it.
    leaks = [one for one in leaks if not (one.startswith("download signature: ") and "sendoff.db" in one)]
    assert not leaks, "\n".join(leaks)


def _places_of(secret: str, everything: dict[str, bytes]) -> list[str]:
    written = encodings(secret)
    return [place for place, content in everything.items() if any(spelling in content for spelling in written)]
