"""`/api/v1/uploads` (OptimalDial contract, "Uploads")."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from sendoff.idempotency import IdempotentRequest, StoredResponse
from sendoff.store.tables import Upload
from sendoff.uploads.create import UploadOwner, create_upload, require_credits, require_subscription
from sendoff.uploads.files.storage import content_disposition
from sendoff.uploads.files.tempfiles import temporary_folder
from sendoff.uploads.manage import (
    cancel_upload,
    delete_upload_files,
    find_upload,
    link_to_file,
    list_uploads,
    open_linked_file,
)

from ..http.authentication import RequestAuth
from ..http.dependencies import ContextOf, IdempotencyKey, UploadsReader, UploadsWriter
from ..http.idempotency import Write, respond
from ..http.pagination import MOST_PER_PAGE, decode_cursor, split_page
from ..http.schemas import Id, Page
from ..http.server.disconnect import until_client_leaves
from ..openapi.operations import error_responses
from .concurrency import UploadsInProgress
from .upload_body import content_kind, receive
from .upload_schemas import NEW_UPLOAD, CancelledUpload, DownloadLink, Kind, UploadView

router = APIRouter(prefix="/api/v1/uploads", tags=["uploads"])

_CSV = {"description": "The file", "content": {"text/csv": {"schema": {"type": "string"}}}}


@router.post(
    "",
    operation_id="createUpload",
    openapi_extra=NEW_UPLOAD,
    response_model=UploadView,
    responses=error_responses(400, 402, 409, 413, 415, 422, 429),
)
async def create(request: Request, auth: UploadsWriter, context: ContextOf, key: IdempotencyKey) -> Response:
    """Upload phone numbers: they are validated, charged and queued for processing before the answer comes."""
    content_kind(request)
    uploads = UploadsInProgress.of(context)
    with uploads.one(auth.organization_id) as count:
        # With a key it may be the repetition of an upload that took the last credits: its body must be read to decide.
        await (require_credits if key is None else require_subscription)(context, auth.organization_id)
        async with temporary_folder() as folder:
            received = await receive(request, folder, count)
            idempotent = None if key is None else IdempotentRequest(auth.organization_id, key, received.fingerprint)
            async with uploads.check(auth.organization_id):
                stored = await create_upload(
                    context,
                    _owner(auth),
                    received.submission,
                    answer=_answer,
                    idempotent=idempotent,
                    reading=partial(until_client_leaves, request),
                )
    return respond(stored)


@router.get("", operation_id="listUploads", responses=error_responses(400))
async def list_all(
    auth: UploadsReader,
    context: ContextOf,
    limit: Annotated[int, Query(ge=1, le=MOST_PER_PAGE)] = 50,
    cursor: str | None = None,
) -> Page[UploadView]:
    """The organization's uploads, newest first."""
    before = decode_cursor(cursor)
    found = await list_uploads(context, auth.organization_id, limit=limit + 1, before=before)
    page, next_cursor = split_page(found, limit, lambda upload: upload.id)
    return Page(data=[UploadView.model_validate(upload) for upload in page], next_cursor=next_cursor)


@router.get("/{upload_id}", operation_id="getUpload", responses=error_responses(404))
async def get(auth: UploadsReader, context: ContextOf, upload_id: Id) -> UploadView:
    """One upload."""
    return UploadView.model_validate(await find_upload(context, auth.organization_id, upload_id))


@router.delete(
    "/{upload_id}",
    operation_id="cancelUpload",
    response_model=CancelledUpload,
    responses=error_responses(400, 404, 409, 429),
)
async def cancel(auth: UploadsWriter, write: Write, context: ContextOf, upload_id: Id) -> Response:
    """Cancel an upload that has not started; its credits come back."""
    await require_subscription(context, auth.organization_id)

    idempotent = await write.identified(auth)
    return respond(
        await cancel_upload(context, auth.organization_id, upload_id, answer=_answer_cancelled, idempotent=idempotent)
    )


@router.delete(
    "/{upload_id}/files",
    operation_id="deleteUploadFiles",
    status_code=204,
    response_class=Response,
    responses=error_responses(400, 404, 409, 429),
)
async def delete_files(auth: UploadsWriter, write: Write, context: ContextOf, upload_id: Id) -> Response:
    """Delete the files of a finished upload, which frees its part of the organization's quota."""
    work = partial(delete_upload_files, context, auth.organization_id, upload_id)
    return await write.once(auth, work, status=204)


@router.get("/{upload_id}/download/{kind}", operation_id="getDownloadLink", responses=error_responses(404))
async def download_link(auth: UploadsReader, context: ContextOf, upload_id: Id, kind: Kind) -> DownloadLink:
    """A short-lived link to one of the upload's files: `original`, `processed` or `processed-filtered`."""
    link = await link_to_file(context, auth.organization_id, upload_id, kind)
    return DownloadLink.model_validate(link)


@router.get(
    "/{upload_id}/files/{kind}",
    operation_id="downloadFile",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/csv": {"schema": {"type": "string"}}}, "description": "The file"},
        **error_responses(400, 404),
    },
)
async def download(
    context: ContextOf, upload_id: Id, kind: Kind, expires: int = 0, signature: str = ""
) -> StreamingResponse:
    """The file behind a download link. The link is all the permission that is needed."""
    opened = await open_linked_file(context, upload_id, kind, expires=expires, signature=signature)
    headers = {
        "Content-Disposition": content_disposition(opened.name),
        "Content-Length": str(opened.size),
        "Cache-Control": "private, no-store",
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingResponse(opened.pieces, headers=headers, media_type="text/csv; charset=utf-8")


def _owner(auth: RequestAuth) -> UploadOwner:
    principal = auth.principal
    return UploadOwner(principal.organization_id, principal.user_id, principal.key_id, request_id=auth.request_id)


def _answer(upload: Upload) -> StoredResponse:
    return StoredResponse(200, UploadView.model_validate(upload).model_dump_json().encode())


def _answer_cancelled(upload: Upload) -> StoredResponse:
    return StoredResponse(200, CancelledUpload(credits_refunded=upload.credits_refunded).model_dump_json().encode())
