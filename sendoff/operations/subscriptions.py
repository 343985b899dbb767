"""Dialbird's subscriptions: endpoints for one event type each, saved without a ping (Dialbird contract)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from sendoff.dialects.dialbird import DIALBIRD
from sendoff.errors import Conflict, Gone, Invalid, NotFound, UnsafeUrl
from sendoff.ids import is_uuid, new_id
from sendoff.operations.actors import Actor, write_audit
from sendoff.operations.bury import bury_endpoint
from sendoff.operations.endpoints import RegisteredEndpoint
from sendoff.operations.event_types import check_subscription
from sendoff.operations.grants import Grant
from sendoff.operations.runtime import Runtime
from sendoff.policy.addresses import check_url
from sendoff.policy.redaction import redact_url
from sendoff.policy.states import EndpointState
from sendoff.store import accounts, endpoints
from sendoff.store.database import Transaction
from sendoff.store.tables import Endpoint
from sendoff.wire.errors import RefusedAddress, WireError
