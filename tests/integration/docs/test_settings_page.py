"""The page of settings says what the settings are."""

from __future__ import annotations

from sendoff.settings import Settings
from tests.integration.docs.settings_page import ENV_EXAMPLE, PAGE, render, render_env_example


def test_every_setting_says_what_it_does() -> None:
    silent = [
        name for name, field in Settings.model_fields.items() if not (field.description or "").endswith((".", ")"))
    ]
    assert silent == []


def test_the_page_is_not_stale() -> None:
    assert PAGE.read_text() == render(), "run: python -m tests.integration.docs.settings_page"


def test_the_example_of_an_environment_is_not_stale() -> None:
    assert ENV_EXAMPLE.read_text() == render_env_example(), "run: python -m tests.integration.docs.settings_page"
