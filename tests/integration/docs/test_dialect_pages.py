"""The pages of the dialects say what the code does."""

from __future__ import annotations

import re

import pytest

from sendoff.dialects.registry import Dialects
from sendoff.verify import verify
from tests.integration.docs.dialect_pages import FOLDER, PAGES, Page, pages
from tests.integration.docs.vectors import NOW


def test_the_pages_are_not_stale() -> None:
    stale = [path.name for path, text in pages().items() if not path.exists() or path.read_text() != text]
    assert stale == [], "run: python -m tests.integration.docs.dialect_pages"


def test_every_dialect_has_a_page_and_every_page_a_dialect() -> None:
    dialects = Dialects()
    assert [dialects.get(page.dialect).name for page in PAGES] == dialects.names
    assert {path.name for path in FOLDER.iterdir()} == {path.name for path in pages()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.dialect)
def test_the_example_on_the_page_is_verified_with_the_secret_on_the_page(page: Page) -> None:
    text = (FOLDER / f"{page.dialect}.md").read_text()
    [secret] = re.findall(r"(?:secret|public key) is `([^`]+)`", text)
    [request] = re.findall(r"```http\n(.*?)\n```", text, re.DOTALL)
    head, _, body = request.partition("\n\n")
    headers = [tuple(line.split(": ", 1)) for line in head.splitlines()[1:]]
    assert verify(page.dialect, dict(headers), body.encode(), secret, now=NOW)
