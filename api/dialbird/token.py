"""`/api/v1/me`: whose token it is (Dialbird contract, "Subscriptions")."""

from __future__ import annotations

from fastapi import APIRouter

from sendoff.accounts.token_owner import find_owner_names

from ..http.dependencies import ContextOf
from .dependencies import Bearer, error_responses
from .paths import ME
from .schemas import Me

router = APIRouter(prefix=ME, tags=["dialbird"])


@router.get("", operation_id="getMe", responses=error_responses())
async def get(auth: Bearer, context: ContextOf) -> Me:
    """The business, user, client and scopes of the token."""
    return Me.of(auth.owner, await find_owner_names(context, auth.owner))
