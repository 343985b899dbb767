"""Whatever a person types, and whatever is full, closed or missing: one sentence, an exit code, and no stack trace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Install
from tests.support.processes import ROOT
from tests.support.shell import Shell

SENDOFF = [sys.executable, "-m", "sendoff.cli"]
NOT_TEXT = b"bad\xff"


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def sendoff(shell: Shell) -> Run:
    """Runs a command with arguments as they came from a terminal, and with more variables."""

    def run(*arguments: str | bytes, **environment: str) -> subprocess.CompletedProcess[str]:
        return shell.run([os.fsdecode(one) for one in arguments], {**os.environ, **environment})

    return run


def write_to(stdout: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command as a process of its own, whose output goes to that descriptor."""
    command = [*SENDOFF, *arguments]
    return subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60
    )


def assert_is_a_sentence(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert done.returncode not in (0, 70), done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) < 12, done.stderr
    for part in parts:
        assert part in done.stderr


@pytest.fixture
def migrated(install: Install) -> Path:
    installation = install({})
    installation.json("migrate")
    return installation.data


@pytest.mark.parametrize(
    "arguments",
    [
        ("orgs", "create", "x", "--credits", str(2**70)),
        ("orgs", "create", "x", "--credits", "-1"),
        ("orgs", "create", NOT_TEXT),
        ("keys", "create", "--org", "x", "--user", NOT_TEXT),
        ("keys", "create", "--org", "x", "--user", "a@example.com", "--expires-in", "9" * 40 + "d"),
        ("deliveries", "list", "--since", "9" * 400 + "d"),
        ("deliveries", "list", "--event", NOT_TEXT),
        ("deliveries", "show", "../../etc"),
        ("reconcile", "--grace", "9" * 30 + "d"),
        ("reconcile", "--limit", str(2**70)),
        ("event-types", "create", "x.y", "--schema", "/nowhere.json"),
    ],
    ids=lambda arguments: b" ".join(os.fsencode(one)[:20] for one in arguments).decode(errors="replace"),
)
def test_wrong_input_ends_in_a_sentence(migrated: Path, arguments: tuple[str | bytes, ...], sendoff: Run) -> None:
    assert_is_a_sentence(sendoff(*arguments, "--data", str(migrated)))


def test_a_full_disk_ends_in_a_sentence(migrated: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        for arguments in (("orgs", "list"), ("deliveries", "list", "--json"), ("--help",), ("--version",)):
            extra = ("--data", str(migrated)) if arguments[0] in ("orgs", "deliveries") else ()
            assert_is_a_sentence(write_to(full.fileno(), *arguments, *extra), "No space left on device")


def test_a_closed_pipe_ends_without_a_stack_trace(migrated: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = write_to(write, "orgs", "list", "--data", str(migrated))
    finally:
        os.close(write)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_missing_schema_names_the_remedy(tmp_path: Path, empty_postgres_url: str, sendoff: Run) -> None:
    done = sendoff("orgs", "list", "--data", str(tmp_path / "data"), SENDOFF_DATABASE_URL=empty_postgres_url)
    assert_is_a_sentence(done, "sendoff migrate")


def test_a_database_that_is_away_has_an_exit_code_of_its_own(tmp_path: Path, sendoff: Run) -> None:
    url = "postgresql+asyncpg://nobody@127.0.0.1:1/none"
    done = sendoff("orgs", "list", "--data", str(tmp_path / "data"), SENDOFF_DATABASE_URL=url)
    assert_is_a_sentence(done)
    assert done.returncode == 3


def test_a_file_that_is_no_database_is_named_as_such(tmp_path: Path, sendoff: Run) -> None:
    (tmp_path / "notes.txt").write_text("These are notes and not a database." * 40)
    url = f"sqlite:///{tmp_path / 'notes.txt'}"
    for command in ("orgs", "list"), ("web", "--port", "0"):
        done = sendoff(*command, SENDOFF_DATABASE_URL=url, SENDOFF_SECRET_KEYS="k" * 32)
        assert_is_a_sentence(done, "The database file is damaged, or not one of SQLite")


def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path, sendoff: Run) -> None:
    (tmp_path / "file").touch()
    assert_is_a_sentence(sendoff("up", "--data", str(tmp_path / "file"), "--port", "0"), "cannot be made (File exists)")


def test_errors_are_json_when_json_is_asked_for(migrated: Path, sendoff: Run) -> None:
    for arguments, code in (
        (("dead-letters", "show", "nonsense"), 1),
        (("orgs", "create", "x", "--credits", "many"), 2),
        (("replay",), 2),
        (("nonsense",), 2),
    ):
        data = ("--data", str(migrated)) if arguments != ("nonsense",) else ()
        done = sendoff(*arguments, *data, "--json")
        error = json.loads(done.stderr)["error"]
        assert (done.returncode, error["exit_code"], done.stdout) == (code, code, "")
        assert error["message"]


def test_a_replay_of_everything_needs_all_and_yes(migrated: Path, sendoff: Run) -> None:
    data = ("--data", str(migrated))
    assert_is_a_sentence(sendoff("replay", *data), "--all")
    assert_is_a_sentence(sendoff("replay", "--all", *data), "--yes")
    assert_is_a_sentence(sendoff("replay", "--reason", "endpoint_gone", *data), "--yes")
    assert_is_a_sentence(sendoff("replay", "--all", "--reason", "endpoint_gone", *data), "--all")
    assert sendoff("replay", "--all", "--yes", *data).returncode == 0


def test_commands_that_write_say_which_installation_they_touch(migrated: Path, sendoff: Run) -> None:
    created = sendoff("orgs", "create", "Acme", "--data", str(migrated))
    assert created.stderr == f"on {migrated / 'sendoff.db'}\n"
    assert sendoff("orgs", "list", "--data", str(migrated)).stderr == ""
    assert sendoff("orgs", "create", "Acme", "--json", "--data", str(migrated)).stderr == ""


def test_json_output_escapes_what_steers_a_terminal(migrated: Path, sendoff: Run) -> None:
    name = "a\u009b31m\u202eb\u2066c"
    done = sendoff("orgs", "create", name, "--json", "--data", str(migrated))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["name"] == name
    assert done.stdout.isascii()


def test_reconcile_has_its_former_name_as_an_alias(migrated: Path, sendoff: Run) -> None:
    found = [sendoff(name, "--json", "--data", str(migrated)) for name in ("reconcile", "audit")]
    assert [done.returncode for done in found] == [0, 0]
    assert found[0].stdout == found[1].stdout


def test_help_imports_no_database_and_no_network_library() -> None:
    script = "import sys, sendoff.cli.main as m\ntry: m.app(['--help'])\nexcept SystemExit: pass\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not loaded & {"sqlalchemy", "redis", "arq", "httpx", "pydantic", "fastapi", "cryptography"}
    assert "reconcile" in done.stdout
