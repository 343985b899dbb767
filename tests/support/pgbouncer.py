"""A real PgBouncer for tests, where the machine has one."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.support.polling import eventually_blocking
from tests.support.ports import free_port
from tests.support.processes import start, stop

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
_UNPRIVILEGED = "nobody"
_PORTS_TRIED = 3


class PgBouncer:
    """One at `address`, in front of the PostgreSQL that `url` names by socket or host. It refuses to run as root."""

    def __init__(self, directory: Path, url: str, *, pool_mode: str, address: str = "127.0.0.1") -> None:
        parts = urlsplit(url)
        self._database = parts.path.removeprefix("/")
        self._server = parse_qs(parts.query)["host"][0]
        self._directory = directory
        self._address = address
        self._port = free_port()
        self._pool_mode = pool_mode
        self._log = directory / f"pgbouncer-{pool_mode}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """As the setting `DATABASE_URL` takes it."""
        return f"postgresql+asyncpg://postgres@{self._address}:{self._port}/{self._database}"

    def start(self) -> None:
        """Start it and wait until it takes connections; on the next port when its own was taken meanwhile."""
        assert PROGRAM is not None
        options = {"user": pwd.getpwnam(_UNPRIVILEGED).pw_uid} if os.geteuid() == 0 else {}
        for _ in range(_PORTS_TRIED):
            with self._log.open("wb") as log:
                self._process = start([PROGRAM, self._write_configuration()], stderr=log, **options)
            eventually_blocking(
                lambda: self._answers() or self._has_ended,
                within=30,
                what=lambda: f"PgBouncer takes connections:\n{self._log.read_text()}",
            )
            if not self._has_ended:
                return
            self._port = free_port()
        raise AssertionError(f"PgBouncer ended by itself:\n{self._log.read_text()}")

    def _write_configuration(self) -> Path:
        users, configuration = self._directory / "users.txt", self._directory / f"{self._pool_mode}.ini"
        users.write_text('"postgres" ""\n')
        configuration.write_text(
            f"""
            [databases]
            {self._database} = host={self._server} user=postgres
            [pgbouncer]
            listen_addr = {self._address}
            listen_port = {self._port}
            unix_socket_dir =
            auth_type = trust
            auth_file = {users}
            pool_mode = {self._pool_mode}
            default_pool_size = {4 if self._pool_mode == "transaction" else 40}
            """.replace("            ", "")
        )
        return configuration

    def stop(self) -> None:
        if self._process is not None:
            stop(self._process)

    @property
    def _has_ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def _answers(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex((self._address, self._port)) == 0
