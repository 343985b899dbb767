"""The how-to of backups, followed to the letter: its commands run, and what it promises holds."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sendoff.store.engine.database import migrate
from tests.acceptance.conftest import Install
from tests.support.databases import LiveDatabase, PostgresDatabase, SqliteFile
from tests.support.installation import PATIENT, Installation
from tests.support.polling import eventually_blocking
from tests.support.postgres import PostgresServer, system_binaries
from tests.support.processes import ROOT
from tests.support.shell import Shell

PAGE = (ROOT / "docs" / "how-to" / "back-up-and-restore.md").read_text()
LOGGED = {**PATIENT, "LOG_FORMAT": "json", "LOG_ATTEMPTS": "all"}


def commands(after: str, number: int = 0) -> str:
    """A block of commands below a heading of the page."""
    section = PAGE.split(f"## {after}", 1)[1].split("\n## ", 1)[0]
    found: list[str] = re.findall(r"^```sh\n(.*?)\n```", section, re.M | re.S)
    return found[number]


def follow(script: str, variables: Mapping[str, str], **options: Any) -> None:
    environment = {**os.environ, **variables}
    done = subprocess.run(["bash", "-ec", script], env=environment, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr


def ask_what_was_lost(installation: Installation, shell: Shell, log: Path) -> Mapping[str, Any]:
    """Follow "Before anything works", and give what it says of what was lost."""
    asked = [shlex.split(line.replace("$LOG", str(log))) for line in commands("Before anything works").splitlines()]
    done = [shell.run([*words[1:], "--json"], installation.environment) for words in asked]
    assert [one.returncode for one in done] == [0, 0, 1], done
    report: Mapping[str, Any] = json.loads(done[-1].stdout)
    return report


def test_sqlite_is_restored_and_the_log_says_what_is_lost(
    sqlite: SqliteFile, install: Install, shell: Shell, tmp_path: Path
) -> None:
    if shutil.which("sqlite3") is None:
        pytest.skip("sqlite3 is not installed; `apt-get install sqlite3` does it on Debian")
    installation: Installation = install(sqlite, LOGGED)
    tenant = installation.add_tenant("/hook")
    tenant.publish(3)
    worker = installation.new_worker()
    worker.start()
    eventually_blocking(lambda: installation.count("delivered") == 3, within=30, what=worker.log)
    worker.freeze()
    tenant.publish(2)  # open in the backup, and delivered after it
    variables = {"DATABASE": str(sqlite.path), "BACKUP": str(tmp_path / "backup.db")}
    follow(commands("SQLite", 0), variables)
    tenant.publish(4)  # unknown to the backup
    worker.thaw()
    eventually_blocking(lambda: installation.count("delivered") == 9, within=30, what=worker.log)
    assert worker.stop() == 0
    follow(commands("SQLite", 1), variables)
    report = ask_what_was_lost(installation, shell, installation.directory / "worker1.log")
    assert report["counts"] == {"unknown_events": 4, "repeated_deliveries": 2, "undone_actions": 0}
    assert all(len(event["delivered_to"]) == 1 for event in report["unknown_events"])
    assert report["unreadable_secrets"] == 0


def test_a_dump_of_compose_is_restored(install: Install, shell: Shell, servers_directory: Path, tmp_path: Path) -> None:
    """The page's commands on the database, without the containers around them."""
    binaries = system_binaries()
    if binaries is None:
        pytest.skip("pg_dump is missing; `apt-get install postgresql` does it on Debian")
    server = PostgresServer(servers_directory / "dump", binaries=binaries)
    server.create()
    server.start()
    try:
        server.execute("CREATE ROLE sendoff LOGIN SUPERUSER")
        database = PostgresDatabase(server, server.create_database("sendoff"))
        migrate(database.url)
        installation: Installation = install(database, LOGGED)
        tenant = installation.add_tenant("/hook")
        tenant.publish(3)
        in_container = "docker compose exec -T postgres "
        dump, restore = (
            "\n".join(
                line.removeprefix(in_container)
                for line in commands("PostgreSQL in Docker Compose", number).splitlines()
                if line.startswith(in_container)
            )
            for number in (0, 1)
        )
        variables = {"PATH": f"{binaries}:{os.environ['PATH']}", "PGHOST": str(servers_directory / "dump")}
        follow(dump, variables, cwd=tmp_path)
        tenant.publish(4)
        follow(restore, variables, cwd=tmp_path)
        assert database.query("SELECT count(*) FROM events") == [("3",)]
        assert shell.run(["migrate", "--check"], installation.environment).returncode == 0
        assert shell.run(["reconcile"], installation.environment).returncode == 0
    finally:
        server.stop()


@pytest.mark.chaos
def test_postgres_is_restored_to_a_moment(install: Install, shell: Shell, servers_directory: Path) -> None:
    binaries = system_binaries()
    if binaries is None:
        pytest.skip("pg_basebackup is missing; `apt-get install postgresql` does it on Debian")
    home = servers_directory / "pitr"
    home.mkdir(mode=0o777)
    home.chmod(0o777)  # PostgreSQL works as another user than root
    archive = home / "archive"
    archive.mkdir()
    archive.chmod(0o777)
    [archive_command] = re.findall(r"^archive_command = '(.*)'$", PAGE, re.M)
    settings = {
        "archive_mode": "on",
        "archive_command": archive_command.replace("$ARCHIVE", str(archive)),
        "max_connections": "100",
    }
    primary = PostgresServer(home / "primary", settings=settings, binaries=binaries)
    primary.create()
    primary.start()
    try:
        database = PostgresDatabase(primary, primary.create_database("sendoff"))
        migrate(database.url)
        installation: Installation = install(database, LOGGED)
        variables = {
            "PATH": f"{binaries}:{os.environ['PATH']}",
            "PRIMARY": f"host={home / 'primary'} user=postgres",
            "BACKUP": str(home / "backup"),
            "RESTORED": str(home / "restored" / "data"),
            "ARCHIVE": str(archive),
        }
        as_user = primary.unprivileged
        follow(commands("PostgreSQL", 0), variables, cwd="/", **as_user)
        moment, log = _work_until_after(installation, database)
    finally:
        primary.execute("SELECT pg_switch_wal()")
        eventually_blocking(lambda: len(list(archive.iterdir())) > 1, within=20, what="an archive")
        primary.stop()
    restored = PostgresServer(home / "restored", settings={"max_connections": "100"}, binaries=binaries)
    (home / "restored").mkdir()
    (home / "restored").chmod(0o777)
    follow(commands("PostgreSQL", 1), {**variables, "MOMENT": moment}, cwd="/", **as_user)
    restored.start()
    try:
        eventually_blocking(lambda: restored.execute("SELECT pg_is_in_recovery()") == "f", within=30)
        installation.environment["SENDOFF_DATABASE_URL"] = restored.url("sendoff")
        after = PostgresDatabase(restored, restored.url("sendoff"))
        assert after.query("SELECT count(*) FROM events") == [("5",)]
        report = ask_what_was_lost(installation, shell, log)
        assert report["counts"]["unknown_events"] == 4
    finally:
        restored.stop()


def _work_until_after(installation: Installation, database: LiveDatabase) -> tuple[str, Path]:
    """Publish five events, note the moment, publish and deliver four more; the moment, and the worker's log."""
    tenant = installation.add_tenant("/hook")
    worker = installation.new_worker()
    worker.start()
    tenant.publish(5)
    eventually_blocking(lambda: installation.count("delivered") == 5, within=30, what=worker.log)
    eventually_blocking(lambda: database.query("SELECT count(*) FROM attempts") == [("5",)], within=10)
    moment = datetime.now(UTC)
    eventually_blocking(lambda: (datetime.now(UTC) - moment).total_seconds() > 1, within=5)
    tenant.publish(4)
    eventually_blocking(lambda: installation.count("delivered") == 9, within=30, what=worker.log)
    assert worker.stop() == 0
    return moment.isoformat(sep=" "), installation.directory / "worker1.log"
