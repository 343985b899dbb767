"""The docs site: every page is reached, every link leads somewhere, and the generated reference is complete."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.core import TyperGroup, TyperOption

from sendoff import errors
from sendoff.errors import SendoffError
from sendoff.observability import metrics
from sendoff.policy.states import DeadLetterReason
from tests.support.processes import ROOT
from tools.docs_site import commands, http_api, log_events, reference
from tools.docs_site.pages import ASSETS, OUTSIDE, assemble, links_of
from tools.docs_site.site import find_foreign_resources

CODE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return {name: text for name, text in assemble().items() if name.endswith(".md")}


def anchors_of(text: str) -> set[str]:
    """The anchors of a page's headings, as MkDocs makes them; without the numbers of repeated ones."""
    headings = re.findall(r"^#+ (.*)$", CODE.sub("", text), re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in plain}


def test_every_link_of_the_site_leads_to_a_page_and_a_heading(pages: dict[str, str]) -> None:
    dead = []
    for page, text in pages.items():
        for target, anchor in links_of(text):
            there = posixpath.normpath(posixpath.join(posixpath.dirname(page), target)) if target else page
            is_heading = not anchor or anchor in anchors_of(pages.get(there, ""))
            if not (there in ASSETS.values() or (there in pages and is_heading)):
                dead.append(f"{page}: {target}#{anchor}")
    assert dead == []


def test_every_page_is_in_the_navigation_or_reached_from_an_index(pages: dict[str, str]) -> None:
    navigation = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2].partition("\nnot_in_nav")[0]
    listed = set(re.findall(r"[\w/.-]+\.md", navigation))
    written = {name for name in pages if not name.startswith("decisions/0")}
    assert sorted(written - listed) == [], "name these pages under `nav` in mkdocs.yml"
    assert sorted(listed - written) == [], "these pages are gone: take them out of `nav` in mkdocs.yml"


def test_pages_outside_of_the_docs_folder_exist() -> None:
    assert [source for source in OUTSIDE if not (ROOT / source).exists()] == []


def test_no_diagram_needs_a_library_of_another_host(pages: dict[str, str]) -> None:
    assert [name for name, text in pages.items() if "```mermaid" in text] == []
    assert "| `in_flight` | `delivered` | 2xx |" in pages["explanation/architecture.md"]


def test_every_metric_that_is_served_is_in_the_reference(pages: dict[str, str]) -> None:
    served = set(re.findall(r"^# TYPE (sendoff_\w+)", metrics.exposition().decode(), re.MULTILINE))
    listed = {name for name, _, _, _ in reference.find_metrics()}
    assert {name for name in served if not name.endswith("_created")} <= listed
    assert all(f"`{name}`" in pages["reference/metrics.md"] for name in listed)


def test_every_log_event_has_a_meaning_and_every_meaning_an_event() -> None:
    remedy = "say in tools/docs_site/log_events.toml what the event means, what follows and what to do"
    assert log_events.unexplained() == [], remedy
    gone = sorted(log_events.MEANINGS.keys() - log_events.find_events().keys())
    assert gone == [], "these events are logged no more: remove them from tools/docs_site/log_events.toml"


def test_log_events_are_found_with_their_levels_and_fields() -> None:
    event = log_events.find_events()["attempt_failed"]
    assert event.levels == {"info"}
    assert {"outcome", "because", "endpoint"} <= event.fields.keys()


def test_every_dead_letter_reason_is_in_the_reference_with_what_to_do(pages: dict[str, str]) -> None:
    page = pages["reference/dead-letter-reasons.md"]
    for reason in DeadLetterReason:
        assert f"| `{reason}` | {reason.meaning} | {reason.remedy} |" in page


def test_every_error_of_the_product_is_in_the_reference(pages: dict[str, str]) -> None:
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SendoffError)}
    internal = {SendoffError, errors.WrongSchema}
    assert [
        kind.__name__ for kind in kinds - internal if f"`{kind.__name__}`" not in pages["reference/errors.md"]
    ] == []


def test_every_operation_of_the_api_is_in_the_reference(pages: dict[str, str]) -> None:
    page = pages["reference/http-api.md"]
    found = [f"### `{method} {path}`" for path, method, _ in http_api.operations(http_api.load_document())]
    assert len(found) > 30
    assert [heading for heading in found if heading not in page] == []


def test_every_command_and_option_is_in_the_reference(pages: dict[str, str]) -> None:
    page, found = pages["reference/command-line.md"], dict(commands.find_commands())
    assert {"sendoff up", "sendoff orgs create", "sendoff dead-letters discard"} <= found.keys()
    for name, command in found.items():
        section = page.partition(f"# `{name}`\n")[2].partition("\n##")[0]
        assert section, name
        options = {option for one in command.params if isinstance(one, TyperOption) for option in one.opts}
        assert [option for option in options if not isinstance(command, TyperGroup) and option not in section] == []


def commands_in(text: str) -> Iterator[list[str]]:
    """The words behind `sendoff` of each line in the page's shell blocks that calls it."""
    for block in re.findall(r"^ *```sh\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            call = re.search(r"(?:^|\.venv/bin/)sendoff ([a-z][^|>&;)]*)", line.strip())
            if call:
                yield shlex.split(call[1])


def test_commands_in_the_docs_exist_with_their_options(pages: dict[str, str]) -> None:
    known = dict(commands.find_commands())
    used = [words for text in pages.values() for words in commands_in(text)]
    assert len(used) > 20
    for words in used:
        name = next((one for count in (2, 1) if (one := " ".join(["sendoff", *words[:count]])) in known), None)
        assert name is not None, words
        options = {option for one in known[name].params for option in one.opts}
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= options, words


def test_parts_that_a_built_page_loads_from_another_host_are_found(tmp_path: Path) -> None:
    page = '<script src="https://cdn.example/x.js"></script><a href="https://else.example">x</a><img src="/y.png">'
    (tmp_path / "index.html").write_text(f'{page}<link rel="canonical" href="https://docs.example/">')
    (tmp_path / "x.css").write_text("a { background: url(//fonts.example/a.woff2) }")
    urls = [url for _, url in find_foreign_resources(tmp_path)]
    assert urls == ["https://cdn.example/x.js", "//fonts.example/a.woff2"]
