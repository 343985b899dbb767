"""The shape of the code: small packages, and each says what lives in it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST_MODULES = 15
"""Modules of a package beside its `__init__`, sub-packages aside: what a reader still sees at once."""

GROWING = {"sendoff/store/migrations/versions"}
"""Packages with a module for each change of the schema."""

PACKAGES = sorted(
    found.parent
    for top in ("sendoff", "api", "worker")
    for found in (ROOT / top).rglob("__init__.py")
    if str(found.parent.relative_to(ROOT)) not in GROWING
)


def modules(package: Path) -> list[Path]:
    """The package's own modules."""
    return sorted(found for found in package.glob("*.py") if found.name != "__init__.py")


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: str(package.relative_to(ROOT)))
def test_a_package_is_small_and_says_what_lives_in_it(package: Path) -> None:
    assert ast.get_docstring(ast.parse((package / "__init__.py").read_text()))
    assert len(modules(package)) <= MOST_MODULES
