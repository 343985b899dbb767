"""Check what was sent as an upload: whether it can be read, and how many of its rows hold a valid number."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sendoff.errors import Invalid, TooFewContacts
from sendoff.uploads.files.converting import PHONE_COLUMN
from sendoff.uploads.files.filenames import clean_filename
from sendoff.uploads.files.tasks import ConvertJson, ValidateCsv
from sendoff.uploads.files.worker import FileWorker

FEWEST_CONTACTS = 100


@dataclass(frozen=True, slots=True)
class CsvSubmission:
    """A CSV, received into a file that its receiver removes."""

    path: Path
    phone_column: str
    filename: str | None
    skip_mobile_lookup: bool = False


@dataclass(frozen=True, slots=True)
class JsonSubmission:
    """A body of the JSON mode, received into a file in a folder that its receiver removes."""

    path: Path


@dataclass(frozen=True, slots=True)
class CheckedUpload:
    """The CSV to store, and what is known of it."""

    path: Path
    size: int
    filename: str
    phone_column: str
    skip_mobile_lookup: bool
    valid: int
    invalid: int
    missing_cells: int


async def check_upload(
    file_worker: FileWorker, submission: CsvSubmission | JsonSubmission, *, organization_id: str
) -> CheckedUpload:
    """Count its rows. Raises Invalid (the file, the column, the body), TooLarge (entries) and TooFewContacts."""
    checked = await (
        _check_csv(file_worker, submission, organization_id)
        if isinstance(submission, CsvSubmission)
        else _check_json(file_worker, submission, organization_id)
    )
    if checked.valid < FEWEST_CONTACTS:
        raise TooFewContacts(minimum=FEWEST_CONTACTS, got=checked.valid)
    return checked


async def _check_csv(file_worker: FileWorker, submission: CsvSubmission, organization_id: str) -> CheckedUpload:
    if not submission.phone_column.strip():
        raise Invalid("phone_column is missing: name the column that holds the phone numbers.", field="phone_column")
    counts = await file_worker.run(
        ValidateCsv(str(submission.path), submission.phone_column), organization_id=organization_id
    )
    return CheckedUpload(
        path=submission.path,
        size=submission.path.stat().st_size,
        filename=clean_filename(submission.filename),
        phone_column=submission.phone_column,
        skip_mobile_lookup=submission.skip_mobile_lookup,
        valid=counts.valid,
        invalid=counts.invalid,
        missing_cells=counts.missing_cells,
    )


async def _check_json(file_worker: FileWorker, submission: JsonSubmission, organization_id: str) -> CheckedUpload:
    target = submission.path.with_suffix(".csv")
    converted = await file_worker.run(ConvertJson(str(submission.path), str(target)), organization_id=organization_id)
    return CheckedUpload(
        path=target,
        size=target.stat().st_size,
        filename=clean_filename(converted.filename),
        phone_column=PHONE_COLUMN,
        skip_mobile_lookup=converted.skip_mobile_lookup,
        valid=converted.valid,
        invalid=converted.invalid,
        missing_cells=converted.missing_cells,
    )
