"""The JSON mode: both lists become the CSV that the rest of the way reads."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendoff.errors import Invalid, SendoffError, TooLarge
from sendoff.uploads.files import json_entries
from sendoff.uploads.files.converting import Converted, convert_json
from sendoff.uploads.files.csv_reader import open_table
from sendoff.uploads.files.validating import validate_csv
from tests.integration.uploads.contacts import messy_contacts

CELLS = st.text(max_size=20).filter(lambda text: "\0" not in text)


def convert(folder: Path, body: Any) -> tuple[Converted, list[dict[str, str]]]:
    source, target = folder / "body.json", folder / "original.csv"
    source.write_bytes(body if isinstance(body, bytes) else json.dumps(body).encode())
    converted = convert_json(source, target, lambda _rows: None)
    assert validate_csv(target, "phone", lambda _rows: None).valid == converted.valid
    with open_table(target, "phone") as table:
        return converted, [dict(zip(table.columns, row, strict=False)) for row in table.rows]


def refusal(folder: Path, body: Any) -> SendoffError:
    with pytest.raises((Invalid, TooLarge)) as caught:
        convert(folder, body)
    return caught.value


def test_phone_numbers_become_one_column_whether_text_or_number(tmp_path: Path) -> None:
    converted, rows = convert(tmp_path, {"filename": "a.csv", "phone_numbers": ["415-555-2671", 4155552672, None, "x"]})
    assert rows == [{"phone": "415-555-2671"}, {"phone": "4155552672"}, {"phone": ""}, {"phone": "x"}]
    assert converted == Converted(valid=2, invalid=2, filename="a.csv")


def test_contacts_keep_every_member_that_any_of_them_has(tmp_path: Path) -> None:
    contacts = [{"name": "Ada", "phone": "4155552671"}, {"age": 36, "vip": True}, {"phone": "1", "score": 1.50}]
    converted, rows = convert(tmp_path, {"contacts": contacts, "skip_mobile_lookup": True})
    assert rows == [
        {"phone": "4155552671", "name": "Ada"},
        {"phone": "", "name": "", "age": "36", "vip": "true"},
        {"phone": "1", "name": "", "age": "", "vip": "", "score": "1.5"},
    ]
    assert converted == Converted(valid=1, invalid=2, missing_cells=4, skip_mobile_lookup=True)


def test_an_entry_cut_anywhere_by_the_pieces_it_is_read_in_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"contacts": messy_contacts(40, seed=3), "filename": "ünïcode\n.csv"}
    expected = convert(tmp_path, body)
    for piece in (1, 2, 3, 7, 50):
        monkeypatch.setattr(json_entries, "_PIECE", piece)
        assert convert(tmp_path, body) == expected
        assert convert(tmp_path, json.dumps(body, indent=3).encode()) == expected


@given(st.lists(st.dictionaries(CELLS | st.just("phone"), CELLS | st.none(), max_size=4), max_size=8))
def test_any_text_survives_the_way_through_the_csv(
    tmp_path_factory: pytest.TempPathFactory, contacts: list[dict[str, str | None]]
) -> None:
    _, rows = convert(tmp_path_factory.getbasetemp(), {"contacts": contacts})
    kept = [{name: value for name, value in row.items() if value} for row in rows]
    assert kept == [{name: _encodable(value) for name, value in contact.items() if value} for contact in contacts]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "must be a JSON object"),
        (b"[]", "must be a JSON object"),
        (b"\xff\xfe{}", "not UTF-8"),
        (b"{", "not valid JSON"),
        (b'{"phone_numbers": ["1", "2"', "not valid JSON"),
        (b'{"phone_numbers": ["1" "2"]}', "not valid JSON"),
        (b'{"phone_numbers": ["1",]}', "not valid JSON"),
        (b'{"phone_numbers": [NaN]}', "not valid JSON"),
        (b'{"phone_numbers": ["1"]} {}', "something follows"),
        (b'{"phone_numbers": ["1"], 5: 6}', "not valid JSON"),
        (b'{"phone_numbers": [' + b"[" * 100_000, "nested too deeply"),
        (b'{"phone_numbers": ["' + b"1" * 2_000_000 + b'"', "longer than"),
        ({}, "neither"),
        ({"phone_numbers": None}, "neither"),
        ({"phone_numbers": ["1"], "contacts": [{"phone": "1"}]}, "exactly one"),
        (b'{"phone_numbers": ["1"], "phone_numbers": ["2"]}', "exactly one"),
        ({"phone_numbers": "4155552671"}, "phone_numbers must be a list"),
        ({"contacts": {"phone": "1"}}, "contacts must be a list"),
        ({"contacts": ["4155552671"]}, "contacts[0] must be an object"),
        ({"phone_numbers": ["1", ["2"]]}, "phone_numbers[1] must be text"),
        ({"phone_numbers": [True]}, "phone_numbers[0] must be a phone number"),
        ({"contacts": [{"phone": {"a": 1}}]}, "contacts[0].phone must be text"),
        ({"contacts": [{"phone": "1", "tags": ["a"]}]}, "contacts[0].tags must be text"),
        ({"contacts": [{"phone": "1\0"}]}, "NUL"),
        ({"contacts": [{"phone": "1", "a\0": ""}]}, "NUL"),
        ({"contacts": [{"x" * 300: "1"}]}, "at most 200"),
        ({"contacts": [{f"m{n}": "" for n in range(1_000)}]}, "more than 1,000 different members"),
        ({"phone_numbers": [], "filename": 5}, "filename must be"),
        ({"phone_numbers": [], "skip_mobile_lookup": "yes"}, "skip_mobile_lookup must be"),
    ],
)
def test_a_body_without_an_upload_is_refused_with_a_sentence(tmp_path: Path, body: Any, expected: str) -> None:
    assert expected in refusal(tmp_path, body).message


@pytest.mark.parametrize(("kind", "entry"), [("phone_numbers", '"1"'), ("contacts", "{}")])
def test_no_more_entries_are_read_than_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, entry: str
) -> None:
    assert json_entries.MOST_ENTRIES == 250_000
    monkeypatch.setattr(json_entries, "MOST_ENTRIES", 1_000)
    body = f'{{"{kind}": [{",".join([entry] * 1_000)}]}}'
    assert convert(tmp_path, body.encode())[0].invalid == 1_000
    error = refusal(tmp_path, body.replace("]}", f",{entry}]}}").encode())
    assert isinstance(error, TooLarge)
    assert error.message == f"{kind} has more than 1,000 entries."


def test_a_large_body_is_never_held_at_once(tmp_path: Path) -> None:
    contact = json.dumps({"phone": "4155552671", "note": "x" * 1_000})
    body = f'{{"contacts": [{",".join([contact] * 12_000)}]}}'.encode()
    source, target = tmp_path / "body.json", tmp_path / "original.csv"
    source.write_bytes(body)
    tracemalloc.start()
    try:
        assert convert_json(source, target, lambda _rows: None).valid == 12_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < len(body) / 4


def _encodable(text: str) -> str:
    return text.encode(errors="replace").decode()


def test_many_members_and_empty_contacts_do_not_grow_on_disk(tmp_path: Path) -> None:
    first = {"phone": "4155552671", **{f"m{n}": "x" for n in range(998)}}
    source, target = tmp_path / "body.json", tmp_path / "out.csv"
    source.write_text(json.dumps({"contacts": [first, *[{}] * 30_000]}))
    convert_json(source, target, lambda _rows: None)
    assert target.stat().st_size < 2 * source.stat().st_size


def test_sparse_contacts_that_would_fill_the_disk_are_refused(tmp_path: Path) -> None:
    first = {"phone": "4155552671", **{f"m{n}": "x" for n in range(998)}}
    source, target = tmp_path / "body.json", tmp_path / "out.csv"
    source.write_text(json.dumps({"contacts": [first, *[{"m997": 1}] * 60_000]}))
    with pytest.raises(TooLarge, match="in parts"):
        convert_json(source, target, lambda _rows: None)
    assert target.stat().st_size < 105 * 1024 * 1024
