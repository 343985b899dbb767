"""A hundred files in the shapes of the software that writes them are counted as an independent reading counts them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sendoff.errors import Invalid
from sendoff.uploads.files.csv_reader import open_table
from sendoff.uploads.files.phone_numbers import is_valid
from tests.integration.uploads.csv_shapes import SHAPES, Shape

READ = [shape for shape in SHAPES if not shape.refusal]
REFUSED = [shape for shape in SHAPES if shape.refusal]


def software(shape: Shape) -> str:
    return shape.software


def test_there_are_a_hundred_different_ones() -> None:
    assert len({shape.content() for shape in SHAPES}) > 80
    assert len({shape.software for shape in SHAPES}) >= 100


@pytest.mark.parametrize("shape", READ, ids=software)
def test_every_phone_number_is_found_in_its_row(shape: Shape, tmp_path: Path) -> None:
    path = tmp_path / "original.csv"
    path.write_bytes(shape.content())
    with open_table(path, shape.phone) as table:
        found = [table.phone(row) for row in table.rows]
    assert found == list(shape.independent_phones())
    assert any(map(is_valid, found))


@pytest.mark.parametrize("shape", REFUSED, ids=software)
def test_an_unreadable_file_is_refused_with_what_to_change(shape: Shape, tmp_path: Path) -> None:
    path = tmp_path / "original.csv"
    path.write_bytes(shape.content())
    with pytest.raises(Invalid, match="its columns are: ") as refused, open_table(path, shape.phone):
        pass
    assert refused.value.field == "phone_column"
    assert shape.refusal in refused.value.message
