"""`/api/v1/me`: whose token it is (Dialbird contract, "Subscriptions")."""

from __future__ import annotations

from fastapi import APIRouter

from api.dependencies import RuntimeOf
from api.dialbird.dependencies import Bearer, error_responses
from api.dialbird.paths import ME
from api.dialbird.schemas import Me
from sendoff.operations.grants import describe_holder

router = APIRouter(prefix=ME, tags=["dialbird"])


@router.get("", operation_id="getMe", responses=error_responses())
async def get(caller: Bearer, runtime: RuntimeOf) -> Me:
    """The business, user, client and scopes of the token."""
    return Me.of(caller.grant, await describe_holder(runtime, caller.grant))
