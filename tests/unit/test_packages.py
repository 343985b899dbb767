"""The shape of the code: small packages that say what lives in them, and one meaning for each public class name."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST_MODULES = 15
"""Modules of a package beside its `__init__`, sub-packages aside: what a reader still sees at once."""

GROWING = {"sendoff/store/migrations/versions"}
"""Packages with a module for each change of the schema."""

PACKAGES = sorted(
    found.parent
    for top in ("sendoff", "api", "worker", "bench")
    for found in (ROOT / top).rglob("__init__.py")
    if str(found.parent.relative_to(ROOT)) not in GROWING
)


def modules(package: Path) -> list[Path]:
    """The package's own modules."""
    return sorted(found for found in package.glob("*.py") if found.name != "__init__.py")


def public_classes() -> Iterator[tuple[str, str]]:
    """Each public class of the product and its module. `sendoff.verify` is installed on its own, with its own names."""
    for package in PACKAGES:
        if package == ROOT / "sendoff" / "verify":
            continue
        for module in modules(package):
            for node in ast.parse(module.read_text()).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    yield node.name, str(module.relative_to(ROOT))


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: str(package.relative_to(ROOT)))
def test_a_package_is_small_and_says_what_lives_in_it(package: Path) -> None:
    assert ast.get_docstring(ast.parse((package / "__init__.py").read_text()))
    assert len(modules(package)) <= MOST_MODULES


def test_no_two_public_classes_have_one_name() -> None:
    homes = defaultdict(list)
    for name, module in public_classes():
        homes[name].append(module)
    assert {name: found for name, found in homes.items() if len(found) > 1} == {}
