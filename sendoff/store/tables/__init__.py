"""The tables, a file for each subsystem. Times are UTC; each state is one column; rows of history are never updated.

What a worker has to do is found by two columns of deliveries: `due_at` of pending ones, whether it is a retry's time
or a manual retry's "now", and `leased_until` of those in flight, whose worker died when it has passed.
"""

from sendoff.store.tables.accounts import ApiKey, Membership, Organization, User
from sendoff.store.tables.alerts import AlertGroup, OperationalEvent
from sendoff.store.tables.consuming import RejectedMessage
from sendoff.store.tables.dead_letters import DeadLetter, Replay, ReplayItem
from sendoff.store.tables.deliveries import Attempt, Delivery, LastExchange
from sendoff.store.tables.endpoints import Endpoint
from sendoff.store.tables.events import Event, EventTag, EventType
from sendoff.store.tables.page_sessions import PageLink, PageSession
from sendoff.store.tables.requests import AuditEntry, AuditHorizon, IdempotencyRecord
from sendoff.store.tables.schema import SchemaCompatibility
from sendoff.store.tables.statistics import BACKLOG_SAMPLES, STATISTICS, STATISTICS_INCREMENTS
from sendoff.store.tables.uploads import Upload
from sendoff.store.tables.workers import Worker

__all__ = [
    "BACKLOG_SAMPLES",
    "STATISTICS",
    "STATISTICS_INCREMENTS",
    "AlertGroup",
    "ApiKey",
    "Attempt",
    "AuditEntry",
    "AuditHorizon",
    "DeadLetter",
    "Delivery",
    "Endpoint",
    "Event",
    "EventTag",
    "EventType",
    "IdempotencyRecord",
    "LastExchange",
    "Membership",
    "OperationalEvent",
    "Organization",
    "PageLink",
    "PageSession",
    "RejectedMessage",
    "Replay",
    "ReplayItem",
    "SchemaCompatibility",
    "Upload",
    "User",
    "Worker",
]
