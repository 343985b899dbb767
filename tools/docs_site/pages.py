"""The site's pages, from the repository's: each at its place on the site, with its links leading there."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from tools.docs_site import reference

ROOT = Path(__file__).parents[2]

OUTSIDE: Mapping[str, str] = {
    "ARCHITECTURE.md": "explanation/architecture.md",
    "SECURITY.md": "explanation/security.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "contrib/README.md": "how-to/production-kit.md",
    "contrib/compose/README.md": "how-to/compose.md",
    "packages/python/README.md": "reference/verifiers/python.md",
    "packages/javascript/README.md": "reference/verifiers/javascript.md",
    "packages/go/README.md": "reference/verifiers/go.md",
    "bench/SCALE.md": "reference/scale-runs.md",
    "tests/README.md": "tests.md",
}
"""Pages that stand outside `docs/`, and their places on the site."""

_ASSET_NAMES = ("vectors.json", "demo.svg", "site.css", "dashboard.png", "dashboard-event.png", "portal.png")
ASSETS: Mapping[str, str] = {f"docs/{name}": name for name in _ASSET_NAMES}
"""Files other than pages, and their places on the site."""

SECTIONS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "tutorial.md": ("Tutorial: the first delivery", ("Try it", "Receive")),
    "how-to/production.md": ("Run it in production", ("Run it in production",)),
    "explanation/guarantees.md": ("Guarantees", ("Guarantees",)),
}
"""Pages made of sections of the README: their titles and the sections."""

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?://|mailto:)([^)\s#]*)(#[^)\s]*)?\)")
_FENCE = re.compile(r"(^```.*?^```)", re.DOTALL | re.MULTILINE)
_DIAGRAM = re.compile(r"^```mermaid\n(.*?)^```", re.DOTALL | re.MULTILINE)
_TRANSITION = re.compile(r"^\s*(\S+) --> (\S+?)(?:: (.*))?$", re.MULTILINE)


def assemble() -> dict[str, str]:
    """Every page of the site's source, by its place."""
    places = _places()
    found = {place: _localize((ROOT / source).read_text(), source, place, places) for source, place in places.items()}
    readme = (ROOT / "README.md").read_text()
    for place, (title, sections) in SECTIONS.items():
        text = "\n\n".join(_section(readme, name, drop_heading=name == title) for name in sections)
        found[place] = _localize(f"# {title}\n\n{text}\n", "README.md", place, places)
    return found | reference.pages()


def assets() -> dict[str, bytes]:
    """Every other file of it, by its place: pictures, the style sheet, the test vectors."""
    return {place: (ROOT / source).read_bytes() for source, place in ASSETS.items()}


def _places() -> dict[str, str]:
    """The place of each page of the repository that is a page of the site."""
    docs = ROOT / "docs"
    inside = {f"docs/{path.relative_to(docs)}": _name(path.relative_to(docs)) for path in sorted(docs.rglob("*.md"))}
    return inside | {source: place for source, place in OUTSIDE.items() if (ROOT / source).exists()}


def _name(path: Path) -> str:
    return str(path.with_name("index.md") if path.name == "README.md" else path)


def _section(page: str, name: str, *, drop_heading: bool) -> str:
    """One `##` section of a page; its heading is dropped where it would repeat the title."""
    _, found, rest = page.partition(f"\n## {name}\n")
    if not found:
        raise ValueError(f"README.md has no section {name!r}")
    text = rest.partition("\n## ")[0].strip()
    return text if drop_heading else f"## {name}\n\n{text}"


def _localize(text: str, source: str, place: str, places: Mapping[str, str]) -> str:
    """The page with links that lead to places on the site; a link to a file that is not a page becomes its text."""

    def link(match: re.Match[str]) -> str:
        mark, label, target, anchor = match[1], match[2], match[3], match[4] or ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target)) if target else source
        there = _find_place(path, anchor, places)
        if there is None:
            return label
        return f"{mark}[{label}]({posixpath.relpath(there, posixpath.dirname(place) or '.')}{anchor})"

    parts = _FENCE.split(_DIAGRAM.sub(_table_of_transitions, text))
    return "".join(part if part.startswith("```") else _LINK.sub(link, part) for part in parts)


def _find_place(path: str, anchor: str, places: Mapping[str, str]) -> str | None:
    if path in ASSETS:
        return ASSETS[path]
    if path == "README.md":
        slugs = {name.lower().replace(" ", "-"): place for place, (_, names) in SECTIONS.items() for name in names}
        return slugs.get(anchor.removeprefix("#"), "index.md")
    return places.get(path)


def _table_of_transitions(diagram: re.Match[str]) -> str:
    """A state diagram as a table: a library that draws it would be loaded from another host."""
    names = {"[*]": "–"}
    rows = [
        f"| {names.get(left, f'`{left}`')} | {names.get(right, f'`{right}`')} | {when or ''} |"
        for left, right, when in _TRANSITION.findall(diagram[1])
    ]
    return "\n".join(["| from | to | when |", "|---|---|---|", *rows])


def links_of(text: str) -> Iterator[tuple[str, str]]:
    """The target and the anchor of each relative link of a page, outside of code."""
    for part in _FENCE.split(text):
        if not part.startswith("```"):
            for match in _LINK.finditer(re.sub(r"`[^`\n]*`", "", part)):
                yield match[3], (match[4] or "").removeprefix("#")
