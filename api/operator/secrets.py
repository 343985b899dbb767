"""`/operator/v1/secret-keys`: which keys encrypt the secrets at rest, and the change to the newest."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from sendoff.maintenance import key_rotation

from ..http.dependencies import ContextOf, Operator, OperatorReader
from ..http.idempotency import Write
from ..openapi.operations import error_responses

router = APIRouter(prefix="/operator/v1/secret-keys", tags=["operator: overview"])


class SecretKeyView(BaseModel):
    """A key that secrets are encrypted with, without the key."""

    key_id: str
    newest: bool
    known: bool = Field(description="Whether it is among `SENDOFF_SECRET_KEYS` of the process that answers.")
    secrets: int = Field(ge=0)


class SecretKeys(BaseModel):
    """The keys, newest first, then those that are missing."""

    keys: list[SecretKeyView]


class RotatedSecrets(BaseModel):
    """How many secrets were encrypted again, were already, or cannot be decrypted because their key is missing."""

    resealed: int = Field(ge=0)
    current: int = Field(ge=0)
    unopenable: int = Field(ge=0)


@router.get("", operation_id="listSecretKeys", responses=error_responses())
async def list_all(_auth: OperatorReader, context: ContextOf) -> SecretKeys:
    """How many secrets are encrypted with which key. A key with none left may be dropped."""
    return SecretKeys(keys=[SecretKeyView(**asdict(use)) for use in await key_rotation.count_key_use(context)])


@router.post(
    "/rotate", operation_id="rotateSecretKeys", response_model=RotatedSecrets, responses=error_responses(400, 409)
)
async def rotate(auth: Operator, write: Write, context: ContextOf) -> Response:
    """Encrypt every secret with the newest key of the process that answers. Safe to repeat."""

    async def work() -> RotatedSecrets:
        return RotatedSecrets(**asdict(await key_rotation.rotate_keys(context, auth.actor)))

    return await write.once(auth, work)
