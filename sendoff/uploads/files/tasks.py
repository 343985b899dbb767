"""The work that reads whole files, as messages to a process of its own (`python -m sendoff.uploads.files.tasks`).

The process reads one task from its standard input and writes lines to its standard output: any number of progress
reports, then a result or a refusal. It imports no database, no web and no queue, so it starts fast and stays small.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from sendoff.errors import Invalid, SendoffError, TooLarge
from sendoff.uploads.files.converting import Converted, convert_json
from sendoff.uploads.files.results import Written, write_results
from sendoff.uploads.files.validating import Counts, Progress, validate_csv


class ValidateCsv(msgspec.Struct, frozen=True, tag=True):
    """Count the rows; answered by Counts."""

    source: str
    phone_column: str

    def perform(self, progress: Progress) -> Counts:
        return validate_csv(Path(self.source), self.phone_column, progress)


class ConvertJson(msgspec.Struct, frozen=True, tag=True):
    """HandshakePermit the JSON mode's body into a CSV and count its rows; answered by Converted."""

    source: str
    target: str

    def perform(self, progress: Progress) -> Converted:
        return convert_json(Path(self.source), Path(self.target), progress)


class WriteResults(msgspec.Struct, frozen=True, tag=True):
    """Write both result files; answered by Written."""

    source: str
    phone_column: str
    processed: str
    filtered: str
    valid_rows: int
    skip_line_types: bool

    def perform(self, progress: Progress) -> Written:
        return write_results(
            Path(self.source),
            self.phone_column,
            processed=Path(self.processed),
            filtered=Path(self.filtered),
            valid_rows=self.valid_rows,
            skip_line_types=self.skip_line_types,
            progress=progress,
        )


Task = ValidateCsv | ConvertJson | WriteResults


class Reached(msgspec.Struct, frozen=True, tag=True):
    """So many rows are read."""

    rows: int


class Done(msgspec.Struct, frozen=True, tag=True):
    """The last line of a task that was performed: its answer."""

    answer: msgspec.Raw


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The last line of a task that was not: the file is at fault."""

    message: str
    field: str | None = None
    too_large: bool = False

    @classmethod
    def because_of(cls, error: Invalid | TooLarge) -> Refused:
        return cls(error.message, getattr(error, "field", None), isinstance(error, TooLarge))

    def as_error(self) -> SendoffError:
        return TooLarge(self.message) if self.too_large else Invalid(self.message, field=self.field)


Line = Reached | Done | Refused


def main() -> None:
    """Performs the one task on standard input."""
    task: Task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    try:
        answer = task.perform(lambda rows: _say(Reached(rows)))
    except (Invalid, TooLarge) as error:
        _say(Refused.because_of(error))
    else:
        _say(Done(msgspec.Raw(msgspec.json.encode(answer))))


def _say(line: Line) -> None:
    """Raises BrokenPipeError when whoever asked is gone, which ends the process."""
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
