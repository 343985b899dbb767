"""Lists for people: one line a row at any width, shortened ids that are taken back, and other formats for programs."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sendoff.cli.terminal.tables import Column, render
from tests.integration.cli.installation import environment_without_settings
from tests.integration.cli.seeded import Seeded, run, seed
from tests.support.polling import eventually_blocking
from tests.support.shell import Shell

LISTS = (
    ("deliveries", "list"),
    ("dead-letters", "list"),
    ("endpoints", "list"),
    ("orgs", "list"),
    ("audit-log",),
    ("event-types", "list"),
)


def test_each_row_is_a_line_that_fits_and_its_shortened_id_is_accepted(seeded: Seeded, shell: Shell) -> None:
    for columns in ("80", "120"):
        for arguments in LISTS:
            done = run(shell, seeded, *arguments, COLUMNS=columns)
            assert done.returncode == 0, done.stderr
            assert max(map(len, done.stdout.splitlines())) <= int(columns)
        listed = run(shell, seeded, "deliveries", "list", COLUMNS=columns).stdout.splitlines()
        assert len(listed) == 1 + len(seeded.deliveries)
        assert "crm.example/in" in "\n".join(listed)
        shortened = listed[1].split()[-1]
        assert shortened.startswith("…")
        shown = run(shell, seeded, "deliveries", "show", shortened, "--json")
        assert json.loads(shown.stdout)["id"] in seeded.deliveries


def test_a_pipe_gets_whole_ids_and_no_spaces_at_the_end_of_a_line(seeded: Seeded, shell: Shell) -> None:
    lines = run(shell, seeded, "deliveries", "list").stdout.splitlines()
    assert all(line == line.rstrip() for line in lines)
    assert all("\x1b" not in line for line in lines)
    assert {line.split()[-1] for line in lines[1:]} == set(seeded.deliveries)
    assert any(seeded.events[0] in line for line in lines)


def test_a_beginning_or_an_end_of_an_id_names_a_row_unless_it_names_several(anywhere: Seeded, shell: Shell) -> None:
    endpoint = anywhere.endpoints[0]
    for given in (endpoint[:-1], endpoint[-8:], f"…{endpoint[-8:]}"):
        done = run(shell, anywhere, "deliveries", "list", "--endpoint", given, "--json")
        assert {one["endpoint_id"] for one in json.loads(done.stdout)["data"]} == {endpoint}
    ambiguous = run(shell, anywhere, "endpoints", "disable", endpoint[:8])
    assert (ambiguous.returncode, "names several" in ambiguous.stderr) == (1, True)
    unknown = run(shell, anywhere, "deliveries", "show", "ffffffff")
    assert (unknown.returncode, "begins or ends with ffffffff" in unknown.stderr) == (1, True)
    event = anywhere.events[0]
    mistaken = run(shell, anywhere, "deliveries", "show", event)
    assert f"sendoff events show {event}" in mistaken.stderr
    explained = run(shell, anywhere, "events", "explain", event[-8:], "--json")
    assert json.loads(explained.stdout)["event"]["id"] == event


def test_lists_are_printed_as_csv_and_as_lines_of_json(seeded: Seeded, shell: Shell) -> None:
    rows = list(csv.DictReader(io.StringIO(run(shell, seeded, "endpoints", "list", "-o", "csv").stdout)))
    assert [row["id"] for row in rows] == seeded.endpoints[::-1]
    assert json.loads(rows[0]["events"]) == ["upload.completed"]
    lines = run(shell, seeded, "endpoints", "list", "-o", "ndjson").stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == seeded.endpoints[::-1]


def test_a_list_goes_on_below_the_cursor_of_the_page_before(seeded: Seeded, shell: Shell) -> None:
    first = json.loads(run(shell, seeded, "deliveries", "list", "--limit", "4", "--json").stdout)
    for cursor in (first["next_cursor"], first["data"][-1]["id"]):
        second = json.loads(run(shell, seeded, "deliveries", "list", "--before", cursor, "--json").stdout)
        assert second["next_cursor"] is None
        assert [one["id"] for one in first["data"] + second["data"]] == seeded.deliveries[::-1]
    assert run(shell, seeded, "deliveries", "list", "--before", "nonsense").returncode == 2


def test_a_column_is_cut_before_it_pushes_another_one_out_of_the_line() -> None:
    columns = (
        Column("state"),
        Column("url", least=10, is_url=True),
        Column("error", rank=1, least=8),
        Column("id", is_id=True),
    )
    row = {
        "state": "dead",
        "url": "https://customer.example/very/long/path/to/the/end",
        "error": "The receiver answered 500.",
        "id": "0199c5a0-7b4e-7c00-8000-0123456789ab",
    }
    for width in range(30, 100):
        _, line = render([row], columns, width=width)
        assert len(line) <= width
        assert line.startswith("dead")
        assert line.endswith("…456789ab")
        assert ("The rec" in line) is (width >= 38)
    assert render([row | {"error": "日本語のエラー" * 3}], columns, width=50)[1].endswith("…456789ab")
    _, whole = render([row], columns, width=None)
    assert re.split("  +", whole) == list(row.values())


@pytest.fixture
def screens(tmp_path: Path) -> Iterator[Path]:
    """A socket of a tmux server of this test."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not on this machine: tables are not shown on a real terminal")
    socket = tmp_path / "tmux"
    yield socket
    subprocess.run(["tmux", "-S", socket, "kill-server"], capture_output=True)


@pytest.mark.parametrize("columns", [80, 120])
def test_a_terminal_shows_a_row_on_a_line(columns: int, sqlite_url: str, valkey_url: str, screens: Path) -> None:
    seeded = seed({"database_url": sqlite_url, "redis_url": valkey_url, "secret_keys": "k" * 40})
    command = f"{sys.executable} -m sendoff.cli deliveries list; echo DONE-; sleep 60"
    subprocess.run(
        ["tmux", "-S", screens, "-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", "30", command],
        env=environment_without_settings() | dict(seeded.environment) | {"TERM": "xterm", "NO_COLOR": "1"},
        check=True,
    )

    def screen() -> str:
        shown = subprocess.run(
            ["tmux", "-S", str(screens), "capture-pane", "-p"], capture_output=True, text=True
        ).stdout
        return shown if "DONE-" in shown else ""

    lines = eventually_blocking(screen, within=60, what="the list").partition("DONE-")[0].splitlines()
    shape = [re.sub(r"\b\d+s\b", "0s", re.sub(r"…[0-9a-f]{8}", "…id", line)).split() for line in lines]
    expected = {
        80: "STATE AGE TYPE ENDPOINT LAST NEXT EVENT ID",
        120: "STATE AGE TYPE ENDPOINT TRY LAST NEXT EVENT ERROR ID",
    }
    assert shape[0] == expected[columns].split()
    assert len(shape) == 1 + len(seeded.deliveries)
    dead = shape[-1]
    assert dead[:3] == ["dead", "0s", "upload.completed"]
    assert dead.count("…id") == 2
    assert {"500", "–"} < set(dead)


TABLES = (
    *LISTS,
    ("alert-endpoints", "list"),
    ("events", "list"),
    ("events", "explain"),
    ("keys", "list"),
    ("replays", "list"),
    ("secrets", "status"),
    ("tail", "--once"),
    ("top", "--once"),
    ("workers",),
)


@pytest.mark.chaos
@pytest.mark.parametrize("columns", [80, 120])
def test_no_table_has_a_line_that_a_terminal_breaks(
    columns: int, sqlite_url: str, valkey_url: str, screens: Path, tmp_path: Path
) -> None:
    seeded = seed({"database_url": sqlite_url, "redis_url": valkey_url, "secret_keys": "k" * 40})
    script = tmp_path / "tables.sh"
    named = {"explain": [seeded.events[0]]}
    commands = [["-m", "sendoff.cli", *arguments, *named.get(arguments[-1], [])] for arguments in TABLES]
    script.write_text("\n".join([*(shlex.join([sys.executable, *one]) for one in commands), "echo DONE-; sleep 300"]))
    size = ["-x", str(columns), "-y", "200"]
    subprocess.run(
        ["tmux", "-S", str(screens), "-f", "/dev/null", "new-session", "-d", *size, f"sh {script}"],
        env=environment_without_settings() | dict(seeded.environment) | {"TERM": "xterm", "NO_COLOR": "1"},
        check=True,
    )

    def screen(*joined: str) -> list[str]:
        command = ["tmux", "-S", str(screens), "capture-pane", "-p", *joined]
        shown = subprocess.run(command, capture_output=True, text=True).stdout
        return shown.rstrip().splitlines() if "DONE-" in shown else []

    shown = eventually_blocking(screen, within=120, what="the tables")
    assert shown == [line.rstrip() for line in screen("-J")]
    assert sum("crm.example/in" in line for line in shown) == 4
    assert not any(word in line for line in shown for word in ("Usage:", "Traceback", "sendoff: "))
