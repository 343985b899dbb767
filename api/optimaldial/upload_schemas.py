"""Bodies and answers of `/api/v1/uploads`, field by field as the contract has them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from sendoff.policy.states import UploadStatus

from ..http.schemas import ResponseModel, Time


class UploadView(ResponseModel):
    """An upload of phone numbers."""

    id: str
    user_id: str
    organization_id: str
    original_filename: str
    storage_path: str
    file_size_bytes: int = Field(ge=0)
    status: UploadStatus
    valid_row_count: int = Field(ge=0)
    invalid_row_count: int = Field(ge=0)
    credits_required: int = Field(ge=0)
    credits_charged: int = Field(ge=0)
    credits_refunded: int = Field(ge=0)
    source: Literal["web", "api"]
    api_key_id: str | None
    skip_mobile_lookup: bool
    processed_storage_path: str | None
    processed_filtered_storage_path: str | None
    error_message: str | None
    exceeded_daily_limit: bool
    created_at: Time
    updated_at: Time


class CancelledUpload(BaseModel):
    """What was given back."""

    status: Literal["cancelled"] = "cancelled"
    credits_refunded: int = Field(ge=0)


class DownloadLink(ResponseModel):
    """A link that works for whoever has it, until it expires."""

    url: str
    expires_at: Time


_PHONE = {"description": "In any common shape; only numbers of the United States and Canada count as valid."}
_SCALAR = {"type": ["string", "number", "boolean", "null"]}

NEW_UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "phone_column"],
                    "properties": {
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": "A CSV with a header row, at most 100 MB. "
                            "Each row with a valid number costs a credit, a number that comes twice costs two.",
                        },
                        "phone_column": {"type": "string", "description": "The header of the column of phone numbers."},
                        "skip_mobile_lookup": {
                            "type": "boolean",
                            "description": "Keep numbers that are no person's line in the filtered file.",
                        },
                        "filename_override": {"type": "string", "description": "Instead of the file's own name."},
                    },
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "description": "Exactly one of the two lists.",
                    "properties": {
                        "filename": {"type": ["string", "null"]},
                        "skip_mobile_lookup": {"type": ["boolean", "null"]},
                        "phone_numbers": {
                            "type": ["array", "null"],
                            "maxItems": 250_000,
                            "items": {"type": ["string", "number", "null"], **_PHONE},
                        },
                        "contacts": {
                            "type": ["array", "null"],
                            "maxItems": 250_000,
                            "items": {
                                "type": "object",
                                "properties": {"phone": {"type": ["string", "number", "null"], **_PHONE}},
                                "additionalProperties": _SCALAR,
                            },
                        },
                    },
                }
            },
        },
    }
}
"""The `openapi_extra` of the route that reads its body itself."""
