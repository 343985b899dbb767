"""The work that reads whole files, as tasks of the sandbox (sendoff/sandbox.py).

It imports no database, no web and no queue, so that the process starts fast and stays small.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from sendoff.uploads.files.converting import Converted, convert_json
from sendoff.uploads.files.results import Written, write_results
from sendoff.uploads.files.validating import Counts, Progress, validate_csv


class ValidateCsv(msgspec.Struct, frozen=True, tag=True):
    """Count the rows; answered by Counts."""

    source: str
    phone_column: str

    def run(self, progress: Progress) -> Counts:
        return validate_csv(Path(self.source), self.phone_column, progress)


class ConvertJson(msgspec.Struct, frozen=True, tag=True):
    """Convert the JSON mode's body into a CSV and count its rows; answered by Converted."""

    source: str
    target: str

    def run(self, progress: Progress) -> Converted:
        return convert_json(Path(self.source), Path(self.target), progress)


class WriteResults(msgspec.Struct, frozen=True, tag=True):
    """Write both result files; answered by Written."""

    source: str
    phone_column: str
    processed: str
    filtered: str
    valid_rows: int
    skip_line_types: bool

    def run(self, progress: Progress) -> Written:
        return write_results(
            Path(self.source),
            self.phone_column,
            processed=Path(self.processed),
            filtered=Path(self.filtered),
            valid_rows=self.valid_rows,
            skip_line_types=self.skip_line_types,
            progress=progress,
        )


FileTask = ValidateCsv | ConvertJson | WriteResults
