"""The two result files, against a reference that asks the library row by row."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from sendoff.uploads.files.results import Written, neutralize, write_results
from sendoff.uploads.files.validating import Counts, validate_csv
from tests.integration.uploads.contacts import messy_contacts
from tests.integration.uploads.test_numbers import library


class Files:
    """An upload's original and its results."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "original.csv"
        self._processed = folder / "processed.csv"
        self._filtered = folder / "filtered.csv"
        self.progress: list[int] = []

    def write(self, text: str, *, phone_column: str = "phone", skip: bool = False) -> Written:
        self.source.write_text(text, newline="")
        counts = validate_csv(self.source, phone_column, self.progress.append)
        return write_results(
            self.source,
            phone_column,
            processed=self._processed,
            filtered=self._filtered,
            valid_rows=counts.valid,
            skip_line_types=skip,
            progress=self.progress.append,
        )

    @property
    def processed(self) -> list[dict[str, str]]:
        return _rows(self._processed)

    @property
    def processed_bytes(self) -> bytes:
        return self._processed.read_bytes()

    @property
    def filtered(self) -> list[dict[str, str]]:
        return _rows(self._filtered)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_counts_and_rows_are_those_of_the_library_to_the_row(files: Files) -> None:
    contacts = messy_contacts(6_000, seed=1)
    written = files.write(_csv(contacts))
    expected = [(row, number) for row in contacts if (number := library(row["phone"])) is not None]
    assert 3_000 < len(expected) < 6_000
    assert validate_csv(files.source, "phone", lambda _rows: None) == Counts(len(expected), 6_000 - len(expected))
    assert written.processed == len(expected)
    assert files.processed == [
        {
            "name": row["name"],
            "phone": row["phone"],
            "phone_e164": number.e164,
            "phone_region": number.region,
            "phone_line_type": number.line_type,
            "phone_time_zone": number.time_zone,
        }
        for row, number in expected
    ]
    assert files.progress == [5_000, 5_000]


def test_the_filtered_file_has_the_first_row_of_each_number_that_a_person_may_carry(files: Files) -> None:
    written = files.write(
        "name,phone\nAda,4155552671\nBob,(415) 555-2671\nToll,8005551234\n"
        "Paid,9005551234\nVoip,6005551234\nEve,4165550000\n"
    )
    assert written == Written(processed=6, filtered=2)
    assert [row["name"] for row in files.filtered] == ["Ada", "Eve"]


def test_without_the_mobile_lookup_only_duplicates_are_filtered(files: Files) -> None:
    written = files.write("name,phone\nAda,4155552671\nBob,415.555.2671\nToll,8005551234\n", skip=True)
    assert written == Written(processed=3, filtered=2)
    assert [row["name"] for row in files.filtered] == ["Ada", "Toll"]


def test_short_rows_are_filled_up_and_cells_beyond_the_header_come_last(files: Files) -> None:
    files.write("phone,name,city\n4155552671\n4155552672,Ada,Oakland,surplus\n")
    assert [(row["phone_e164"], row["name"], row["city"]) for row in files.processed] == [
        ("+14155552671", "", ""),
        ("+14155552672", "Ada", "Oakland"),
    ]
    assert files.processed_bytes.splitlines()[2].endswith(b",America/Los_Angeles,surplus")


def test_added_columns_are_replaced_by_columns_of_the_same_name(files: Files) -> None:
    files.write("phone,phone_e164,phone_e164_2\n4155552671,mine,too\n")
    assert files.processed[0] | {"phone": ""} == {
        "phone": "",
        "phone_e164": "mine",
        "phone_e164_2": "too",
        "phone_e164_3": "+14155552671",
        "phone_region": "US",
        "phone_line_type": "fixed_line_or_mobile",
        "phone_time_zone": "America/Los_Angeles",
    }


@pytest.mark.parametrize(
    "cell",
    [
        "=1+1",
        "=cmd|' /C calc'!A0",
        "+cmd|' /C calc'!A0",
        "-2+3+cmd|' /C calc'!A0",
        "@SUM(A1)",
        "\t1",
        "\r1",
        "＝1+1",
        "+1+1",
        "-",
        "+",
        "=",
    ],
)
def test_formulas_are_neutralized_in_cells_and_header(files: Files, cell: str) -> None:
    assert neutralize(cell) == "'" + cell
    files.write(_csv([{"phone": "4155552671", cell: cell}]))
    assert files.processed[0]["'" + cell] == "'" + cell


@pytest.mark.parametrize("cell", ["", "Ada", "a=b", "-5", "+1 (415) 555-2671", "+14155552671", "-3.5", "'=1", " ="])
def test_plain_text_and_plain_numbers_stay_as_they_are(cell: str) -> None:
    assert neutralize(cell) == cell


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("cell", ["x;=1+1", "x\t@SUM(A1)", "x,-2+3+cmd|' /C calc'!A0", "x\n=1+1", 'x;"=1+1', "\t=1+1"])
def test_no_delimiter_makes_a_formula_of_a_part_of_a_cell(files: Files, cell: str, delimiter: str) -> None:
    quoted = '"' + cell.replace('"', '""') + '"'
    files.write(f"phone{delimiter}note\n4155552671{delimiter}{quoted}\n")
    text = files.processed_bytes.decode()
    for other in ",;\t|":
        cells = [part for row in csv.reader(text.splitlines(), delimiter=other) for part in row]
        assert not [part for part in cells if part[:1] in "=@" and part], cells


def test_text_with_delimiters_is_quoted_but_otherwise_stays_as_it_is(files: Files) -> None:
    files.write("phone,note\n4155552671,a;b\n")
    assert b',"a;b",' in files.processed_bytes
    assert neutralize("Tel.;+1 415-555-2671") == "Tel.;+1 415-555-2671"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("line_ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_results_are_written_as_the_original_is(files: Files, delimiter: str, line_ending: str, mark: str) -> None:
    files.write(f"{mark}phone{delimiter}name{line_ending}4155552671{delimiter}Ada{line_ending}")
    head = delimiter.join(["phone", "name", "phone_e164", "phone_region", "phone_line_type", "phone_time_zone"])
    row = delimiter.join(["4155552671", "Ada", '"+14155552671"', "US", "fixed_line_or_mobile", "America/Los_Angeles"])
    assert files.processed_bytes.decode() == f"{mark}{head}{line_ending}{row}{line_ending}"


def _csv(rows: list[dict[str, str]]) -> str:
    import io

    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _rows(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
