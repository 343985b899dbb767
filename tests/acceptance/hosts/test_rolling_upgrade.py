"""The version before is replaced by this one, process by process, while events come."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.acceptance.hosts.site import API_PORT, PATHS, Site
from tests.support.checkouts import check_out_version_before
from tests.support.tenants import Tenant

_OPEN_TENANT = """
import asyncio, json, sys
from tests.support.tenants import open_tenant
settings, port, url, path = json.loads(sys.argv[1])
tenant = asyncio.run(open_tenant(settings, port, [url], [path]))
print(json.dumps([tenant.organization_id, tenant.key, dict(tenant.paths)]))
"""


def test_a_rolling_upgrade_under_load_refuses_and_loses_nothing(site: Site, tmp_path: Path) -> None:
    """Setup: two APIs and two workers of the version before, on its schema.

    Timeline: migrate; each worker, then each API, is stopped with SIGTERM and started again as this version.
    What this proves: both versions work side by side on the new schema; an API that is stopped takes no accepted event
    with it, and nothing but it goes unanswered.
    """
    before = tmp_path / "before"
    site.migrate(check_out_version_before(before))
    site.start_nodes({}, folder=before)
    site.tenants = [open_tenant_of_the_version_before(site, before, path) for path in PATHS]
    with site.under_load() as (traffic, readiness):
        site.migrate()
        traffic.go_on(5)
        for old in site.nodes[::-1]:
            site.fault_begins()
            assert old.server.stop() == 0
            new = site.new_api(old.host.name) if old in site.apis else site.new_worker(old.host.name)
            new.start()
            traffic.go_on(3)
    assert traffic.refused == []
    assert readiness.statuses("api1", "api2", "worker1", "worker2") <= {200, 0, 503}
    site.check("rolling upgrade", traffic, readiness, longest_delay=5)


def open_tenant_of_the_version_before(site: Site, folder: Path, path: str) -> Tenant:
    """By its own code, for ours may need newer columns."""
    settings = {name.removeprefix("SENDOFF_").lower(): value for name, value in site.settings().items()}
    given = json.dumps([settings, API_PORT, site.receiver.url(path), path])
    done = subprocess.run(
        [sys.executable, "-c", _OPEN_TENANT, given], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    organization_id, key, paths = json.loads(done.stdout.splitlines()[-1])
    return Tenant(settings, API_PORT, organization_id, key, paths)
