"""Filters of the pages' templates that make markup escape what they are given."""

from __future__ import annotations

from markupsafe import Markup

from api.pages.rendering import make_breakable, mark_code


def test_text_between_backticks_becomes_code_and_everything_is_escaped() -> None:
    marked = mark_code("`since` must be a <time>, such as `<2h>`")
    assert marked == Markup("<code>since</code> must be a &lt;time&gt;, such as <code>&lt;2h&gt;</code>")
    assert mark_code("one ` alone") == "one ` alone"


def test_a_url_breaks_before_its_separators_and_is_escaped() -> None:
    broken = make_breakable("https://api.example.com/hooks?a=<b>")
    assert broken == "https://api<wbr>.example<wbr>.com<wbr>/hooks<wbr>?a<wbr>=&lt;b&gt;"
    assert make_breakable("") == ""
