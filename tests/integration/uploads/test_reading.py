"""Reading CSVs that strangers wrote, the hostile ones too."""

from __future__ import annotations

import csv
import gzip
import lzma
import tracemalloc
from contextlib import suppress
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendoff.errors import Invalid
from sendoff.uploads.files import csv_reader
from sendoff.uploads.files.csv_reader import open_table

CELLS = st.text(alphabet="ab1 ,;|\t\r\n\"'=é€中", max_size=8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "original.csv"


def read(path: Path, content: bytes | str, phone_column: str = "phone") -> tuple[list[str], list[list[str]]]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with open_table(path, phone_column) as table:
        return table.columns, list(table.rows)


def refusal(path: Path, content: bytes | str, phone_column: str = "phone") -> Invalid:
    with pytest.raises(Invalid) as caught:
        read(path, content, phone_column)
    return caught.value


def test_rows_come_as_they_were_written_and_blank_lines_are_no_rows(path: Path) -> None:
    columns, rows = read(path, "name,phone\nAda,1\n\n\r\nGrace,2,extra\nshort\n")
    assert columns == ["name", "phone"]
    assert rows == [["Ada", "1"], ["Grace", "2", "extra"], ["short"]]


def test_a_row_too_short_for_the_phone_column_has_an_empty_phone(path: Path) -> None:
    path.write_text("name,phone\nAda\n")
    with open_table(path, "phone") as table:
        assert [table.phone(row) for row in table.rows] == [""]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_header_decides_the_delimiter_even_if_others_are_quoted(path: Path, delimiter: str) -> None:
    columns, rows = read(path, f'"a,;|\t,;|\t"{delimiter}phone\n1{delimiter}2\n')
    assert columns == ["a,;|\t,;|\t", "phone"]
    assert rows == [["1", "2"]]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_lf_crlf_and_cr_are_read_and_the_last_line_needs_no_line_end(path: Path, line_end: str) -> None:
    _, rows = read(path, line_end.join(["phone", "1", "2"]))
    assert rows == [["1"], ["2"]]


def test_quoted_cells_may_hold_line_breaks_delimiters_and_doubled_quotes(path: Path) -> None:
    _, rows = read(path, 'phone,note\n1,"a\nb\r\n""c"", d"\n2,x\n')
    assert rows == [["1", 'a\nb\r\n"c", d'], ["2", "x"]]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_encodings_of_spreadsheet_exports_are_read(path: Path, encoding: str) -> None:
    columns, rows = read(path, "phone,név\n1,Éé\n".replace("é", "é").encode(encoding))
    assert columns == ["phone", "név"]
    assert rows == [["1", "Éé"]]


def test_a_file_of_mixed_encodings_loses_no_row(path: Path) -> None:
    _, rows = read(path, b"phone,name\n1,Jos\xc3\xa9\n2,Jos\xe9\n3,\x81\xff\xfe\n")
    assert [row[0] for row in rows] == ["1", "2", "3"]
    assert [row[1] for row in rows[:2]] == ["José", "José"]


@pytest.mark.parametrize("wanted", ["Phone Number", "phone number", "  PHONE NUMBER "])
def test_the_phone_column_is_found_whatever_its_case_and_blanks(path: Path, wanted: str) -> None:
    path.write_text("a, Phone Number\n1,2\n")
    with open_table(path, wanted) as table:
        assert table.phone_index == 1


def test_an_exact_match_of_the_phone_column_wins_over_a_similar_one(path: Path) -> None:
    path.write_text("PHONE,phone\n1,2\n")
    with open_table(path, "phone") as table:
        assert table.phone_index == 1


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        ("phone;name, first\n1;Ada\n", ["phone", "name, first"]),
        ("name, first, last;phone\nAda;1\n", ["name, first, last", "phone"]),
        ('"Name\n(full)";phone\nAda;1\n', ["Name\n(full)", "phone"]),
        ('"a, b\r\n""c"""\tphone\r\nAda\t1\r\n', ['a, b\r\n"c"', "phone"]),
        ("sep=;\nphone;name, a, b\n1;Ada\n", ["phone", "name, a, b"]),
        ('\ufeff"sep=~"\r\nphone~name\r\n1~Ada\r\n', ["phone", "name"]),
        ('"phone",";phone;"\n1,2\n', ["phone", ";phone;"]),
    ],
)
def test_the_delimiter_is_the_one_that_gives_the_header_the_phone_column(
    path: Path, content: str, columns: list[str]
) -> None:
    path.write_bytes(content.encode())
    with open_table(path, "phone") as table:
        assert table.columns == columns
        assert [table.phone(row) for row in table.rows] == ["1"]


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("\ufeffphone", "phone"),
        ("pho\u200bne", "Phone"),
        ("phone\u00a0number", "phone number"),
        ("phone number", "phone\u00a0 number"),
        ("te\u0301le\u0301phone", "t\u00e9l\u00e9phone"),
        ("T\u00c9L\u00c9PHONE", "te\u0301le\u0301phone"),
    ],
)
def test_invisible_characters_and_forms_of_accents_do_not_hide_the_phone_column(
    path: Path, written: str, wanted: str
) -> None:
    path.write_text(f"a,{written}\n1,2\n", encoding="utf-8")
    with open_table(path, wanted) as table:
        assert table.phone_index == 1


def test_a_missing_column_is_refused_naming_the_delimiter_that_was_taken(path: Path) -> None:
    assert "the semicolon as delimiter its columns are: 'name', 'number'" in refusal(path, "name;number\n").message


def test_rows_that_lack_too_many_cells_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_reader, "MOST_FILLED_CELLS", 10)
    assert len(read(path, "phone,a,b,c,d,e\n1\n2\n")[1]) == 2
    assert "lack more than 10 cells" in refusal(path, "phone,a,b,c,d,e\n1\n2\n3\n").message


def test_a_missing_phone_column_is_refused_naming_the_columns_there_are(path: Path) -> None:
    error = refusal(path, "name,number\n1,2\n", "phone")
    assert error.field == "phone_column"
    assert "'name', 'number'" in error.message


@pytest.mark.parametrize(
    ("content", "wanted", "remedy"),
    [
        ("Report\n\nname,phone\n", "Phone", "Line 3 has it: if that is the header, remove lines 1 to 2."),
        ('"Made\nin May"\nname;phone\n', "phone", "Line 3 has it: if that is the header, remove lines 1 to 2."),
        ("# exported\nphone\tname\n", "phone", "Line 2 has it: if that is the header, remove line 1."),
        ("name^phone\nAda^1\n", "phone", "save it with commas, semicolons, tabs or bars."),
        ("name    phone\nAda     1\n", "phone", "save it with commas, semicolons, tabs or bars."),
        ("<html><body><table>\n", "phone", "It looks like HTML or XML; save it as CSV (UTF-8)."),
        ('[{"phone": "1"}]', "phone", "send that as the body, with Content-Type: application/json."),
        ("名前,電話番号\n".encode("shift-jis"), "電話番号", "save it as CSV (UTF-8)."),
        ("a,b,Phone Number,c\n", "phone", "Name one of them in phone_column, such as 'Phone Number'."),
        ("a,phnoe,b\n", "phone", "Name one of them in phone_column, such as 'phnoe'."),
        ("a," * 299 + "Mobile phone\n", "mobile", "Name one of them in phone_column, such as 'Mobile phone'."),
        ("a,b\n", "phone", "Name one of them in phone_column."),
    ],
)
def test_the_refusal_of_a_column_says_what_to_change(
    path: Path, content: bytes | str, wanted: str, remedy: str
) -> None:
    message = refusal(path, content, wanted).message
    assert message.startswith("The file has no column ")
    assert message.endswith(remedy)


def test_the_refusal_stays_short_however_many_and_long_the_columns_are(path: Path) -> None:
    error = refusal(path, ",".join(["x" * 900] * 900) + "\n", "phone" * 10_000)
    assert len(error.message) < 2_000


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff", "   \n", ",,,\n;;\n", '"",""\r\n'])
def test_an_empty_file_is_refused(path: Path, content: str) -> None:
    assert "is empty" in refusal(path, content).message


def test_rows_of_empty_cells_above_the_header_are_skipped(path: Path) -> None:
    assert read(path, ';;\r\n"";"";""\r\n\r\nname;phone;\r\nAda;1;\r\n;;\r\n') == (
        ["name", "phone", ""],
        [["Ada", "1", ""], ["", "", ""]],
    )
    assert read(path, '"\n";phone\n2;1\n') == (["\n", "phone"], [["2", "1"]])


def test_a_file_of_three_hundred_columns_and_cells_of_a_megabyte_is_read(path: Path) -> None:
    names, note = [f"c{number}" for number in range(299)], "é,\n" * 330_000
    content = StringIO(newline="")
    csv.writer(content).writerows([[*names, "phone"], [note, *[""] * 298, "1"], ["2"]])
    columns, rows = read(path, content.getvalue())
    assert columns == [*names, "phone"]
    assert rows == [[note, *[""] * 298, "1"], ["2"]]


def test_a_header_alone_has_no_rows(path: Path) -> None:
    assert read(path, "phone") == (["phone"], [])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"phone\n415\x00\n", "NUL"),
        (b"\x00" * 100, "NUL"),
        (b"\xff\xfep\x00h\x00\x00\xd8\x00\xd8", "UTF-16"),
        (b"PK\x03\x04 a zip", "spreadsheet"),
        (b"\xd0\xcf\x11\xe0 an old workbook", "spreadsheet"),
        (gzip.compress(b"phone\n1\n", mtime=0), "compressed by gzip"),
        (lzma.compress(b"phone\n1\n"), "compressed by xz"),
        (b"%PDF-1.7\n", "is a PDF"),
        (b'phone\n1\n"' + b"x" * 1_100_000 + b'"', "Row 3 of the file has a cell of more than 1,048,576 characters"),
        (b"," * 1_500 + b"phone\n", "1,501 columns"),
        (b"," * 3_000_000, "row of more than"),
        (b"phone\n" + b"x" * 3_000_000, "row of more than"),
        (b"phone\n" + b'"a\n",' * 700_000, "row of more than"),
        (b'phone\n1\n2,"' + b"x" * 200_000, "Row 3"),
        (b'phone\n1\n"2\n3\n4\n', "Row 3 of the file opens a quote that is never closed"),
    ],
)
def test_hostile_files_are_refused_with_a_sentence(path: Path, content: bytes, expected: str) -> None:
    error = refusal(path, content)
    assert error.field == "file"
    assert expected in error.message


@pytest.mark.parametrize("unit", [b",", b'"a\n",', b"x", b'""', b'"'])
def test_no_file_makes_the_reader_hold_much_of_it(path: Path, unit: bytes) -> None:
    path.write_bytes(b"phone\n" + unit * (20_000_000 // len(unit)))
    tracemalloc.start()
    try:
        with suppress(Invalid), open_table(path, "phone") as table:
            assert sum(1 for _ in table.rows) == 0
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 32_000_000


@given(rows=st.lists(st.lists(CELLS, min_size=2, max_size=4), max_size=6), delimiter=st.sampled_from(",;\t|"))
def test_output_of_a_csv_writer_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], delimiter: str
) -> None:
    text = StringIO(newline="")
    csv.writer(text, delimiter=delimiter).writerows([["phone", "b"], *rows])
    path = tmp_path_factory.getbasetemp() / "property.csv"
    assert read(path, text.getvalue())[1] == rows


@given(st.binary(max_size=400))
def test_any_bytes_at_all_are_read_or_refused_but_never_break_the_reader(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "anything.csv"
    path.write_bytes(b"phone,x\n" + content)
    with suppress(Invalid), open_table(path, "phone") as table:
        assert all(row for row in table.rows)
