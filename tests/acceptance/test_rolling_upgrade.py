"""The version before runs beside this one: on the schema that this one migrates to, under load."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import httpx
import pytest

from sendoff.store.engine.database import migrate
from sendoff.store.engine.revisions import newest_revision
from tests.acceptance.conftest import Install
from tests.support.databases import PostgresDatabase
from tests.support.installation import STEADY
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.processes import ROOT
from tests.support.servers import Server

BEFORE = "388cfcb01f1697282396abfaea03529fee10fa3e"
"""The newest commit before revision 0014. When a version is released, its tag takes this place."""

BEFORE_REVISION = "0013"
RATE = 50


@pytest.fixture
def version_before(tmp_path: Path) -> Path:
    """A checkout of it."""
    done = subprocess.run(["git", "archive", BEFORE], cwd=ROOT, capture_output=True)
    if done.returncode != 0:
        pytest.skip("the history of this checkout does not hold the version before")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(tmp_path / "before", filter="data")
    return tmp_path / "before"


@pytest.mark.chaos
def test_the_version_before_works_beside_this_one_while_the_schema_changes(
    postgres_server: PostgresServer, empty_postgres_url: str, install: Install, version_before: Path, tmp_path: Path
) -> None:
    """Setup: API and worker of the version before, on its schema.

    Timeline: publish through them; migrate; start API and worker of this version; publish through both.
    What this proves: no request is refused, and every event is delivered, by either version.
    """
    migrate(empty_postgres_url, revision=BEFORE_REVISION)
    installation = install(PostgresDatabase(postgres_server, empty_postgres_url), STEADY)
    port = free_port()

    def old(*program: str) -> Server:
        return Server(program, installation.environment, tmp_path / f"old_{program[0]}.log", folder=version_before)

    before = {"api": old("api", "--port", str(port)), "worker": old("worker")}
    try:
        for server in before.values():
            server.start()
        first, second = installation.add_tenant("/one"), installation.add_tenant("/two")
        first.port = port
        with first.publishing(rate=RATE) as through_old:
            first.accept(50)
            migrate(empty_postgres_url)
            first.accept(50)
            installation.start()
            with second.publishing(rate=RATE) as through_new:
                second.accept(50)
            first.accept(50)
        assert httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).is_success
        assert installation.database.query("SELECT version_num FROM alembic_version") == [(newest_revision(),)]
        assert through_old.refused + through_new.refused == []
        assert [server.stop() for server in before.values()] == [0, 0]
        installation.check(within=60)
    finally:
        for server in before.values():
            server.kill()
