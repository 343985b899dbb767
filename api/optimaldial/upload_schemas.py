"""Bodies and answers of `/api/v1/uploads`, field by field as the contract has them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema

from sendoff.policy.states import UPLOAD, UploadStatus
from sendoff.uploads.files.downloads import FileKind

from ..http.schemas import Id, ResponseModel, Time
from ..openapi.operations import COMPONENTS, reference_to

_REACHED = list(dict.fromkeys(str(arrow.target) for arrow in UPLOAD.arrows))

Status = Annotated[UploadStatus, WithJsonSchema({"type": "string", "enum": _REACHED})]
"""The statuses that uploads of this service can have; the contract names more."""

Kind = Annotated[str, WithJsonSchema({"type": "string", "enum": [*map(str, FileKind)]})]
"""Which file of an upload; another one is a 404."""

Count = Annotated[int, Field(ge=0, json_schema_extra={"format": "int64"})]


class UploadView(ResponseModel):
    """An upload of phone numbers."""

    id: Id
    user_id: str
    organization_id: Id
    original_filename: str
    storage_path: str
    file_size_bytes: Count
    status: Status
    valid_row_count: Count
    invalid_row_count: Count
    credits_required: Count
    credits_charged: Count
    credits_refunded: Count
    source: Literal["web", "api"]
    api_key_id: Id | None
    skip_mobile_lookup: bool
    processed_storage_path: str | None
    processed_filtered_storage_path: str | None
    error_message: str | None
    exceeded_daily_limit: bool
    created_at: Time
    updated_at: Time


class CancelledUpload(ResponseModel):
    """What was given back."""

    status: Literal["cancelled"] = "cancelled"
    credits_refunded: Count


class DownloadLink(ResponseModel):
    """A link that works without a key, until it expires."""

    url: str
    expires_at: Time


_PHONE = {
    "description": "In any common shape; only numbers of the United States and Canada count as valid.",
    "anyOf": [{"type": "string"}, {"type": "integer", "format": "int64"}, {"type": "null"}],
}
_CONTACT = {
    "type": "object",
    "description": "A phone number with columns of its own, which the results keep.",
    "properties": {"phone": _PHONE},
    "additionalProperties": reference_to("ContactValue"),
}
_CONTACT_VALUE = {
    "description": "Text, a number, a boolean or null.",
    # As a union with null, oapi-codegen would make code of it that does not compile.
    "not": {"anyOf": [{"type": "object"}, {"type": "array", "items": {}}]},
}
_LIST_OF_NUMBERS = {
    "type": "object",
    "description": "Exactly one of the two lists.",
    "properties": {
        "filename": {"type": ["string", "null"], "description": "The name that the upload shows."},
        "skip_mobile_lookup": {"type": ["boolean", "null"]},
        "phone_numbers": {"type": ["array", "null"], "maxItems": 250_000, "items": _PHONE},
        "contacts": {"type": ["array", "null"], "maxItems": 250_000, "items": reference_to("Contact")},
    },
    "additionalProperties": False,
}
_FILE = {
    "type": "object",
    "description": "A file as an HTML form sends it.",
    "required": ["file", "phone_column"],
    "properties": {
        "file": {
            "type": "string",
            "format": "binary",
            "description": "A CSV with a header row, at most 100 MB. "
            "Each row with a valid number costs a credit, a number that comes twice costs two.",
        },
        "phone_column": {"type": "string", "minLength": 1, "description": "The header of the column of phone numbers."},
        "skip_mobile_lookup": {
            "type": "boolean",
            "description": "Keep numbers of lines that no person carries in the filtered file.",
        },
        "filename_override": {"type": "string", "description": "Instead of the file's own name."},
    },
    "additionalProperties": False,
}

NEW_UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": reference_to("UploadedFile")},
            "application/json": {"schema": reference_to("ListOfNumbers")},
        },
    },
    COMPONENTS: {
        "Contact": _CONTACT,
        "ContactValue": _CONTACT_VALUE,
        "ListOfNumbers": _LIST_OF_NUMBERS,
        "UploadedFile": _FILE,
    },
}
"""The `openapi_extra` of the route that reads its body itself."""
