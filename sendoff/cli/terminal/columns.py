"""The columns of each list, and which of them go first where there is little room."""

from __future__ import annotations

from sendoff.cli.terminal.tables import Column
from sendoff.cli.terminal.values import show_age, show_due, show_host

DELIVERIES = (
    Column("state"),
    Column("created_at", "age", show_age, right=True),
    Column("event_type", "type", least=16),
    Column("endpoint_url", "endpoint", show_host, least=14, is_url=True),
    Column("attempt_count", "try", right=True, rank=4),
    Column("last_response_status", "last", right=True, rank=1),
    Column("next_attempt_at", "next", show_due, right=True, rank=2),
    Column("event_id", "event", rank=3, is_id=True),
    Column("last_error", "error", rank=6, least=20),
    Column("request_id", "request", rank=7),
    Column("id", is_id=True),
)
DEAD_LETTERS = (
    Column("state", rank=4),
    Column("died_at", "age", show_age, right=True),
    Column("reason", least=14),
    Column("event_type", "type", rank=2, least=10),
    Column("endpoint_url", "endpoint", show_host, least=14, is_url=True),
    Column("attempt_count", "try", right=True, rank=5),
    Column("last_response_status", "last", right=True, rank=3),
    Column("event_id", "event", is_id=True, rank=1),
    Column("last_error", "error", rank=6, least=20),
    Column("delivery_id", "delivery", is_id=True, rank=7),
    Column("id", is_id=True),
)
ENDPOINTS = (
    Column("state"),
    Column("url", "endpoint", show_host, least=18, is_url=True),
    Column("events", least=10, rank=2),
    Column("consecutive_failures", "failed", right=True),
    Column("last_success_at", "ok", show_age, right=True, rank=1),
    Column("last_failure_at", "failure", show_age, right=True, rank=4),
    Column("created_at", "age", show_age, right=True, rank=5),
    Column("description", rank=7, least=12),
    Column("dialect", rank=8),
    Column("organization_id", "org", is_id=True, rank=3),
    Column("id", is_id=True),
)
EVENTS = (
    Column("created_at", "age", show_age, right=True),
    Column("type", least=12),
    Column("deliveries", rank=1, least=14),
    Column("tags", rank=4, least=10),
    Column("request_id", "request", rank=3),
    Column("organization_id", "org", is_id=True, rank=2),
    Column("id", is_id=True),
)
VERDICTS = (
    Column("verdict"),
    Column("url", "endpoint", show_host, least=16, is_url=True),
    Column("because", least=20),
    Column("endpoint_id", "id", is_id=True, rank=1),
)
REPLAYS = (
    Column("state"),
    Column("created_at", "age", show_age, right=True),
    Column("total", right=True),
    Column("replayed", "sent", right=True, rank=1),
    Column("succeeded", "ok", right=True),
    Column("failed", right=True),
    Column("requested_by", "by", least=8, rank=2),
    Column("filter", rank=3, least=16),
    Column("id", is_id=True),
)
ORGANIZATIONS = (
    Column("name", least=12),
    Column("credits", right=True),
    Column("suspended_at", "suspended", show_age, right=True),
    Column("created_at", "age", show_age, right=True),
    Column("external_id", rank=1),
    Column("id"),
)
KEYS = (
    Column("prefix"),
    Column("user", least=12),
    Column("scopes", least=12),
    Column("created_at", "age", show_age, right=True, rank=2),
    Column("expires_at", "expires", show_due, right=True, rank=1),
    Column("revoked_at", "revoked", show_age, right=True),
    Column("organization_id", "org", is_id=True, rank=3),
    Column("id", is_id=True),
)
AUDIT = (
    Column("at", "age", show_age, right=True),
    Column("actor", least=10),
    Column("action"),
    Column("target_type", "on", rank=2),
    Column("target_id", "target", is_id=True),
    Column("organization_id", "org", is_id=True, rank=1),
    Column("before", rank=4, least=16),
    Column("after", rank=3, least=16),
    Column("request_id", "request", rank=5),
)
REJECTED_MESSAGES = (
    Column("id", is_id=True),
    Column("rejected_at", "age", show_age, right=True),
    Column("source", "from"),
    Column("message_id", "message", rank=1, least=12),
    Column("size", "bytes", right=True, rank=2),
    Column("reason", least=20),
)
ATTEMPTS = (
    Column("number", "try", right=True),
    Column("started_at", "age", show_age, right=True),
    Column("duration_ms", "ms", right=True),
    Column("outcome"),
    Column("response_status", "status", right=True),
    Column("error", least=20),
)
EVENT_TYPES = (
    Column("name", least=16),
    Column("built_in"),
    Column("schema", rank=1, least=16),
    Column("created_at", "age", show_age, right=True),
)
WORKERS = (
    Column("host", least=12),
    Column("pid", right=True),
    Column("version"),
    Column("started_at", "up", show_age, right=True),
    Column("last_seen_at", "seen", show_age, right=True, rank=1),
    Column("in_flight", "busy", right=True),
    Column("slots", right=True),
    Column("id", is_id=True, rank=2),
)
RANKED = (
    Column("url", "endpoint", show_host, least=20, is_url=True),
    Column("attempts", right=True),
    Column("failed_attempts", "failed", right=True),
    Column("duration_ms_p50", "p50 ms", right=True),
    Column("duration_ms_p95", "p95 ms", right=True),
    Column("dead", right=True, rank=2),
    Column("state", rank=3),
    Column("endpoint_id", "id", is_id=True, rank=1),
)
SECRET_KEYS = (Column("key_id"), Column("newest"), Column("known"), Column("secrets", right=True))
