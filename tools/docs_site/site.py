"""What the built site must not do: load anything from another host."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

_LOADING = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "video": "src"}
"""Elements that a browser loads something for, and the attribute that says from where."""

_IN_STYLES = re.compile(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')\s]+)""")


class _Resources(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        url = dict(attrs).get(_LOADING.get(tag, "")) or ""
        if url.startswith(("http://", "https://", "//")) and not _is_for_readers(tag, dict(attrs)):
            self.urls.append(url)


def _is_for_readers(tag: str, attributes: dict[str, str | None]) -> bool:
    """Whether the element names an address without loading it, as `<link rel="canonical">` does."""
    return tag == "link" and attributes.get("rel") in {"canonical", "next", "prev"}


def find_foreign_resources(site: Path) -> list[tuple[str, str]]:
    """The page or style sheet and the address of each thing that it loads from another host."""
    found: list[tuple[str, str]] = []
    for page in sorted(site.rglob("*.html")):
        parser = _Resources()
        parser.feed(page.read_text())
        found += [(str(page.relative_to(site)), url) for url in parser.urls]
    for sheet in sorted(site.rglob("*.css")):
        found += [(str(sheet.relative_to(site)), url) for url in _IN_STYLES.findall(sheet.read_text())]
    return found
