"""Every `sendoff` command in the docs exists, with each of its options."""

from __future__ import annotations

import re
import shlex

import pytest
from typer.core import TyperGroup

from tests.support.processes import ROOT
from tools.docs_site.commands import find_commands

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs" / "how-to").glob("*.md")])
LINE = re.compile(r"^(?:\.venv/bin/)?sendoff (?P<rest>[^|&;<>\n]*(?:\\\n[^|&;<>\n]*)*)", re.MULTILINE)
COMMANDS = dict(find_commands())


def commands_of(text: str) -> list[list[str]]:
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [found["rest"].replace("\\\n", " ").rstrip("\\ ") for block in blocks for found in LINE.finditer(block)]
    return [shlex.split(line, comments=True) for line in lines if line.count("'") % 2 == 0 and line.count('"') % 2 == 0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_docs_exist_with_their_options(page: object) -> None:
    for words in commands_of(page.read_text()):  # type: ignore[attr-defined]
        name = f"sendoff {words[0]}"
        assert name in COMMANDS, f"there is no {name}"
        if isinstance(COMMANDS[name], TyperGroup) and len(words) > 1 and not words[1].startswith("-"):
            name = f"{name} {words[1]}"
            assert name in COMMANDS, f"there is no {name}"
        known = {option for one in COMMANDS[name].params for option in (*one.opts, *one.secondary_opts)}
        for word in words:
            if word.startswith("--"):
                assert word.partition("=")[0] in known | {"--help"}, f"{name} has no {word}"
