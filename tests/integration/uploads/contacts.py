"""Contacts as they come in practice: all shapes of numbers, some wrong, some twice, some from elsewhere."""

from __future__ import annotations

import random
from collections.abc import Callable

_SHAPES: list[Callable[[str, str, str], str]] = [
    lambda area, office, line: f"{area}{office}{line}",
    lambda area, office, line: f"1{area}{office}{line}",
    lambda area, office, line: f"+1{area}{office}{line}",
    lambda area, office, line: f"({area}) {office}-{line}",
    lambda area, office, line: f"{area}-{office}-{line}",
    lambda area, office, line: f"{area}.{office}.{line} x12",
    lambda area, office, line: f"tel:+1-{area}-{office}-{line}",
    lambda area, office, line: f"  +1 ({area}) {office} {line} ",
]
_AREAS = ["415", "212", "416", "604", "867", "310", "800", "900", "600", "500", "809", "787", "911", "115", "521"]
_JUNK = ["", "n/a", "+44 20 7946 0958", "12345", "415-555-267", "call me", "0", "+"]


def messy_contacts(count: int, *, seed: int) -> list[dict[str, str]]:
    """`count` rows with `name` and `phone`; somewhat more than half of them have a valid number."""
    random_source = random.Random(seed)  # noqa: S311 - the same contacts every time
    return [{"name": f"Person {index}", "phone": _phone(random_source)} for index in range(count)]


def valid_contacts(count: int, *, seed: int = 7) -> list[dict[str, str]]:
    """`count` rows, each with a different valid number."""
    random_source = random.Random(seed)  # noqa: S311 - the same contacts every time
    lines = random_source.sample(range(8_000_000), count)
    return [{"name": f"Person {index}", "phone": f"+1415{2_000_000 + line}"} for index, line in enumerate(lines)]


def _phone(random_source: random.Random) -> str:
    if random_source.random() < 0.1:
        return random_source.choice(_JUNK)
    shape, area = random_source.choice(_SHAPES), random_source.choice(_AREAS)
    return shape(area, f"{random_source.randrange(150, 1000):03d}", f"{random_source.randrange(200):04d}")
