"""The version before runs beside this one: on the schema that this one migrates to, under load."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from sendoff.store.engine.database import migrate
from sendoff.store.engine.revisions import newest_revision
from tests.acceptance.conftest import Install
from tests.support.checkouts import check_out
from tests.support.databases import PostgresDatabase
from tests.support.installation import STEADY, Installation
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.publisher import EVENT_TYPE
from tests.support.servers import Server
from tests.support.tenants import Tenant

BEFORE = "388cfcb01f1697282396abfaea03529fee10fa3e"
"""The newest commit before revision 0014. When a version is released, its tag takes this place."""

BEFORE_REVISION = "0013"
RATE = 50


@pytest.fixture
def version_before(tmp_path: Path) -> Path:
    """A checkout of it."""
    return check_out(BEFORE, tmp_path / "before")


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
        first = add_tenant_of_the_version_before(installation, version_before, port)
        with first.publishing(rate=RATE) as through_old:
            first.accept(50)
            migrate(empty_postgres_url)
            first.accept(50)
            second = installation.add_tenant("/two")
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


def add_tenant_of_the_version_before(installation: Installation, version_before: Path, port: int) -> Tenant:
    """An organization made by its command line, with an endpoint that its API registered."""

    def made(*arguments: str) -> dict[str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "sendoff.cli", *arguments, "--json"],
            cwd=version_before,
            env=installation.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        fields: dict[str, str] = json.loads(done.stdout)
        return fields

    organization = made("orgs", "create", "Before")["id"]
    scopes = ("--scope", "webhooks:manage", "--scope", "events:write")
    key = made("keys", "create", "--org", organization, "--user", "ada@example.com", *scopes)["key"]
    registered = httpx.post(
        f"http://127.0.0.1:{port}/api/v1/webhooks",
        json={"url": installation.receiver.url("/one"), "events": [EVENT_TYPE]},
        headers={"Authorization": f"Bearer {key}"},
        trust_env=False,
    )
    assert registered.is_success, registered.text
    tenant = Tenant(installation.settings, port, organization, key, {registered.json()["webhook"]["id"]: "/one"})
    installation.tenants.append(tenant)
    return tenant
