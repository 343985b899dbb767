"""A whole installation on a Valkey Cluster, whose queue moves from node to node under load."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from redis.crc import key_slot

from sendoff.server_urls.redis import KEY_TAG
from tests.acceptance.conftest import Install
from tests.support.databases import SqliteFile
from tests.support.installation import PATIENT
from tests.support.processes import ROOT, start, stop
from tests.support.redis_cluster import RedisCluster

_SLOT = key_slot(KEY_TAG.encode())


@pytest.mark.chaos
def test_a_queue_that_moves_between_the_nodes_of_a_cluster_delays_nothing_for_long(
    sqlite: SqliteFile, install: Install, tmp_path: Path
) -> None:
    """Setup: a cluster of three masters, the API, two workers, 100 events a second; another worker, run by arq.

    Timeline: the slot of all keys moves twice; the workers are stopped but for arq's.
    What this proves: no event is refused or sent twice, consumers go on by themselves, and arq's own keys are in it.
    """
    cluster = RedisCluster(tmp_path)
    installation = install(sqlite, {**PATIENT, "REDIS_URL": cluster.url})
    try:
        cluster.start()
        tenant = installation.add_tenant("/hook")
        installation.start(workers=2)
        command = [sys.executable, "-m", "arq", "worker.settings.WorkerSettings"]
        with (tmp_path / "arq.log").open("wb") as log:
            of_arq = start(command, cwd=ROOT, env=installation.environment, stdout=log, stderr=log)
        with tenant.publishing():
            tenant.accept(100)
            assert not any("consumer_restarted" in worker.log() for worker in installation.workers)
            for _ in range(2):
                cluster.move(_SLOT)
                tenant.accept(200)
            for worker in installation.workers:
                assert worker.stop() == 0
            tenant.accept(100)
        assert installation.check().duplicates == 0
        assert not tenant.published.refused
        assert stop(of_arq) == 0, (tmp_path / "arq.log").read_text()
    finally:
        cluster.stop()
