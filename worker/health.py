"""A worker's metrics, liveness and readiness."""

from __future__ import annotations

from http.server import ThreadingHTTPServer

from sendoff.observability.metrics import WORKER
from sendoff.processes.health import ProcessHealth
from sendoff.processes.health import serve_health as serve_process_health
from sendoff.settings import Settings


class WorkerHealth(ProcessHealth):
    """It is ready while it takes jobs and can deliver them."""

    def __init__(self) -> None:
        super().__init__("The worker")


def serve_health(settings: Settings, health: WorkerHealth) -> ThreadingHTTPServer | None:
    """Serve them if the settings name a port. Raises Invalid if that cannot be had."""
    return serve_process_health(
        health, settings.worker_metrics_host, settings.worker_metrics_port, WORKER, env_prefix="SENDOFF_WORKER_METRICS"
    )
