"""Bodies of `POST /api/v1/uploads`: received into a folder on disk, of a bounded size, and fingerprinted."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request

from sendoff.errors import Invalid, TooLarge, UnsupportedMediaType, unknown_name
from sendoff.idempotency import fingerprint
from sendoff.uploads.check import CsvSubmission, JsonSubmission
from sendoff.uploads.files.converting import MOST_FILE_BYTES
from sendoff.uploads.files.tempfiles import TemporaryFile

from .multipart import FILE, Form, read_form

MULTIPART, JSON = "multipart/form-data", "application/json"

_FORM_FIELDS = (FILE, "phone_column", "filename_override", "skip_mobile_lookup")
_FORM_OVERHEAD_BYTES = 1024 * 1024
_TRUTHS = {
    "true": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "0": False,
    "no": False,
    "off": False,
    "": False,
}


@dataclass(frozen=True, slots=True)
class Received:
    """An upload on disk. Equal uploads have equal fingerprints, independent of the multipart boundary."""

    submission: CsvSubmission | JsonSubmission
    fingerprint: str


def content_kind(request: Request) -> str:
    """`MULTIPART` or `JSON`. Raises UnsupportedMediaType for anything else."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (MULTIPART, JSON):
        raise UnsupportedMediaType(f"Send the upload as {MULTIPART} or as {JSON}.")
    return kind


async def receive(request: Request, folder: Path, count: Callable[[int], None]) -> Received:
    """Reads the body to its end, and counts its bytes before they are written.

    Raises UnsupportedMediaType, TooLarge while it reads, Invalid, and what `count` raises.
    """
    kind = content_kind(request)
    _check_announced_size(request)
    return await (_receive_form if kind == MULTIPART else _receive_json)(request, folder, count)


async def _receive_form(request: Request, folder: Path, count: Callable[[int], None]) -> Received:
    path = folder / "received.csv"
    file = TemporaryFile(path, limit=MOST_FILE_BYTES)
    try:
        form = await read_form(_bounded(request, count), request.headers["content-type"], file)
    finally:
        await file.close()
    if not form.has_file:
        raise Invalid("The form has no part `file`.", field=FILE)
    for name in form.fields:
        if name not in _FORM_FIELDS:
            raise unknown_name(name, _FORM_FIELDS)
    submission = CsvSubmission(
        path=path,
        phone_column=form.fields.get("phone_column", ""),
        filename=form.fields.get("filename_override") or form.filename,
        skip_mobile_lookup=_truth(form, "skip_mobile_lookup"),
    )
    fields = sorted(f"{name}={value}" for name, value in form.fields.items())
    return Received(
        submission, fingerprint(b"form", form.file_digest, *(part.encode(errors="replace") for part in fields))
    )


async def _receive_json(request: Request, folder: Path, count: Callable[[int], None]) -> Received:
    path = folder / "received.json"
    digest, file = hashlib.sha256(), TemporaryFile(path, limit=MOST_FILE_BYTES)
    try:
        async for piece in _bounded(request, count):
            digest.update(piece)
            await file.write(piece)
    finally:
        await file.close()
    return Received(JsonSubmission(path), fingerprint(b"json", digest.digest()))


async def _bounded(request: Request, count: Callable[[int], None]) -> AsyncIterator[bytes]:
    """The body; the file's own limit leaves no bound to what surrounds it."""
    size = 0
    async for piece in request.stream():
        size += len(piece)
        _check_size(size)
        count(len(piece))
        yield piece


def _check_announced_size(request: Request) -> None:
    announced = request.headers.get("content-length", "")
    if announced.isdigit():
        _check_size(int(announced[:20]))


def _check_size(size: int) -> None:
    if size > MOST_FILE_BYTES + _FORM_OVERHEAD_BYTES:
        raise TooLarge(f"The upload is larger than {MOST_FILE_BYTES // 1024 // 1024} MB.")


def _truth(form: Form, name: str) -> bool:
    value = form.fields.get(name, "").strip().lower()
    if value not in _TRUTHS:
        raise Invalid(f"{name} must be true or false.", field=name)
    return _TRUTHS[value]
