"""arq's own command line runs a worker (`arq worker.settings.WorkerSettings`) and checks one (`--check`)."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from tests.acceptance.conftest import mostly_sqlite
from tests.support.installation import PATIENT, Installation
from tests.support.polling import eventually_blocking
from tests.support.processes import ROOT, start, stop

if TYPE_CHECKING:
    from tests.acceptance.conftest import Install
    from tests.support.databases import LiveDatabase

ARQ = [sys.executable, "-m", "arq", "worker.settings.WorkerSettings"]


def check(installation: Installation) -> int:
    """The exit code of `arq --check`."""
    command = [*ARQ, "--check"]
    return subprocess.run(command, cwd=ROOT, env=installation.environment, capture_output=True, timeout=60).returncode


@mostly_sqlite
def test_arqs_command_line_runs_a_worker_that_delivers_and_drains(database: LiveDatabase, install: Install) -> None:
    """Setup: the API; a worker that arq's command line starts.

    Timeline: 100 events, one after the other, and 200 in bulk are delivered; the worker gets SIGTERM.
    What this proves: WorkerSettings is a whole worker for arq, whose health check sees it.
    """
    installation = install(database, PATIENT)
    tenant = installation.add_tenant("/hook")
    installation.api.start()
    assert check(installation) == 1
    with (installation.directory / "arq.log").open("wb") as log:
        worker = start(ARQ, cwd=ROOT, env=installation.environment, stdout=log, stderr=log)
        eventually_blocking(lambda: check(installation) == 0, within=30, what="a healthy worker")
        with tenant.publishing():
            tenant.accept(100)
        tenant.publish(200)
        installation.check()
        assert stop(worker) == 0
    assert check(installation) == 1
    assert "worker_stopped" in (installation.directory / "arq.log").read_text()


@mostly_sqlite
def test_the_health_check_sees_supervised_workers_too(database: LiveDatabase, install: Install) -> None:
    """Setup: a worker that `python -m worker` runs.

    Timeline: it is checked, killed, and checked until its health key has expired.
    What this proves: `arq --check` exits 0 with a running worker and 1 without.
    """
    installation = install(database, PATIENT)
    installation.start(api=False)
    eventually_blocking(lambda: check(installation) == 0, within=20, what="a healthy worker")
    installation.kill(installation.workers[0])
    eventually_blocking(lambda: check(installation) == 1, within=20, what="no healthy worker")
