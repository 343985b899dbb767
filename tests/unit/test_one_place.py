"""What is decided or written in one place stays there."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def places(text: str) -> dict[str, int]:
    """The product's modules that contain the text, and how often."""
    found = {
        str(module.relative_to(ROOT)): module.read_text().count(text)
        for top in ("sendoff", "api", "worker")
        for module in (ROOT / top).rglob("*.py")
    }
    return {module: count for module, count in found.items() if count}


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("INSERT INTO attempts", {"sendoff/store/hot/postgres.py": 1, "sendoff/store/hot/sqlite.py": 1}),
        (">= self.threshold", {"sendoff/policy/delivery/auto_disable.py": 1}),
        ("auto_disable.tally(", {"sendoff/endpoint_health/closing.py": 1}),
        ("database.direct is None", {}),
    ],
    ids=[
        "an attempt is inserted once for each database",
        "the rule",
        "its application",
        "databases are not told apart",
    ],
)
def test_it_stands_in_one_place(text: str, where: dict[str, int]) -> None:
    assert places(text) == where
