"""The tables, a file for each subsystem. Times are UTC; each state is one column; rows of history are never updated.

Deliveries carry one `next_attempt_at` for everything that can make them due: a retry's time, a manual retry's "now",
and for one in flight the end of its lease. What is due is found by that column alone.
"""

from sendoff.store.tables.accounts import ApiKey, Membership, Organization, User
from sendoff.store.tables.dead_letters import DeadLetter, Replay, ReplayItem
from sendoff.store.tables.deliveries import Attempt, Delivery, LastExchange
from sendoff.store.tables.endpoints import Endpoint
from sendoff.store.tables.events import Event, EventType
from sendoff.store.tables.requests import AuditEntry, AuditHorizon, IdempotencyRecord
from sendoff.store.tables.uploads import Upload

__all__ = [
    "ApiKey",
    "Attempt",
    "AuditEntry",
    "AuditHorizon",
    "DeadLetter",
    "Delivery",
    "Endpoint",
    "Event",
    "EventType",
    "IdempotencyRecord",
    "LastExchange",
    "Membership",
    "Organization",
    "Replay",
    "ReplayItem",
    "Upload",
    "User",
]
