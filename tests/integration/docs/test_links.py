"""Links of the repository's pages lead to files that exist; papers that people look for are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.processes import ROOT

FOLDERS = ("docs", "contrib", "packages", "tests")
FOUND = [*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))]
PAGES = sorted(page for page in FOUND if "node_modules" not in page.parts)
ANCHOR = re.compile(r"\]\((?!https?://|mailto:)([^)\s#]*)#([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?://|mailto:|#)([^)\s#]+)")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    links = LINK.findall(CODE.sub("", page.read_text()))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_into_a_page_leads_to_a_heading(page: Path) -> None:
    named = [(page.parent / path if path else page, anchor) for path, anchor in ANCHOR.findall(page.read_text())]
    pages = [(to, anchor) for to, anchor in named if to.suffix == ".md"]
    assert [(to.name, anchor) for to, anchor in pages if anchor not in anchors_of(to)] == []


def anchors_of(page: Path) -> set[str]:
    """The anchors that a page's headings get: lower case, hyphens for blanks, no punctuation."""
    headings = HEADING.findall(page.read_text())
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "paper", ["LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "SECURITY.md", ".editorconfig"]
)
def test_a_paper_that_people_look_for_is_there(paper: str) -> None:
    assert (ROOT / paper).read_text().strip()


def test_the_workflow_runs_what_must_pass() -> None:
    assert "- run: .ci/run" in (ROOT / ".github" / "workflows" / "ci.yml").read_text()
