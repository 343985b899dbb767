"""A customer's list: 1,000 phone numbers of the US and Canada in the shapes that people write them."""

from __future__ import annotations

import csv
import io

ROWS = 1_000

_AREA_CODES = ("212", "213", "305", "312", "415", "416", "512", "604", "702", "808")
_SHAPES = (
    "+1{area}{exchange}{line}",
    "({area}) {exchange}-{line}",
    "{area}-{exchange}-{line}",
    "1 {area} {exchange} {line}",
)


def make_csv() -> bytes:
    """A CSV with the columns `name` and `phone` and 1,000 rows, each number another and each valid."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["name", "phone"])
    for number in range(ROWS):
        shape = _SHAPES[number % len(_SHAPES)]
        area, line = _AREA_CODES[number // 100], f"{1000 + number:04}"
        writer.writerow([f"Contact {number + 1}", shape.format(area=area, exchange="234", line=line)])
    return text.getvalue().encode()
