"""Settings as users write them: errors are one sentence and never repeat a password."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis.asyncio import Redis

from sendoff.errors import BadSettings
from sendoff.settings import Settings, load

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("database_url", f"postgresql+asyncpg://sendoff:{SECRET}@db:port/sendoff"),
        ("database_url", f"postgresql+asyncpg://sendoff:{SECRET}/x@db/sendoff"),
        ("database_url", f"mysql://sendoff:{SECRET}@db/sendoff"),
        ("redis_url", f"redis://:{SECRET}/x@127.0.0.1:6379/0"),
        ("redis_url", f"redis://:{SECRET}@[127.0.0.1:6379/0"),
        ("redis_url", f"http://:{SECRET}@127.0.0.1:6379/0"),
        ("egress_proxy_url", f"http://us:{SECRET}/x@proxy:3128"),
        ("egress_proxy_url", f"http://us:{SECRET}@[proxy"),
        ("egress_proxy_url", f"https://us:{SECRET}@proxy:3128"),
        ("egress_proxy_url", f"http://us:{SECRET}@proxy:3128/path"),
        ("secret_keys", SECRET),
        ("storage_url", f"s4://{SECRET}"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_password(name: str, value: str) -> None:
    with pytest.raises(BadSettings) as refused:
        load(**{name: value})
    assert f"SENDOFF_{name.upper()}: " in refused.value.message
    assert SECRET not in repr(refused.value) + str(refused.value.__cause__)


def test_unset_paths_default_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "a place"
    place.mkdir()
    monkeypatch.chdir(place)
    settings = load()
    socket = Redis.from_url(settings.redis_url).connection_pool.connection_kwargs["path"]
    assert socket == str(place / ".sendoff" / "valkey.sock")
    assert settings.storage_url == f"file://{tmp_path}/a%20place/.sendoff/uploads"


@pytest.mark.parametrize("spelling", ["ssl", "sslmode"])
def test_a_database_url_takes_both_spellings_of_the_ssl_mode(spelling: str) -> None:
    settings = load(database_url=f"postgresql+asyncpg://u:p%40@db/x?host=/run/pg&{spelling}=require")
    assert settings.database_url == "postgresql+asyncpg://u:p%40@db/x?host=/run/pg&sslmode=require"


@pytest.mark.parametrize(
    ("option", "said"),
    [("connect_timeout=5", "`connect_timeout`"), ("sslmode=please", "verify-full"), ("a=b&ssl=x", "`a`")],
)
def test_an_unknown_option_of_a_database_url_is_named_with_the_setting(option: str, said: str) -> None:
    with pytest.raises(BadSettings, match="DATABASE_URL") as refused:
        load(database_url=f"postgresql+asyncpg://u:hidden@db/x?{option}")
    assert said in str(refused.value)
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    ("written", "used"),
    [
        ("postgres://u@db/x", "postgresql+asyncpg://u@db/x"),
        ("postgresql://u@db/x?sslmode=require", "postgresql+asyncpg://u@db/x?sslmode=require"),
        ("sqlite:////srv/a.db", "sqlite+aiosqlite:////srv/a.db"),
    ],
)
def test_a_database_url_may_leave_out_the_driver(written: str, used: str) -> None:
    assert load(database_url=written).database_url == used


def test_a_variable_that_is_empty_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = load()
    for name in Settings.model_fields:
        monkeypatch.setenv(f"SENDOFF_{name.upper()}", "")
    monkeypatch.setenv("SENDOFF_UNKNOWN", "")
    assert load() == expected


def test_a_single_attempt_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENDOFF_RETRY_SCHEDULE", "None")
    assert load().retry_schedule == []
    monkeypatch.setenv("SENDOFF_RETRY_SCHEDULE", " , ")
    with pytest.raises(BadSettings, match="none for a single attempt"):
        load()


def test_an_unknown_name_is_refused_with_the_nearest_known_one_among_all_errors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SENDOFF_RETRY_SHEDULE", "1m")
    monkeypatch.setenv("sendoff_zzz", "1")
    monkeypatch.setenv("SENDOFF_LEASE_SECONDS", "-1")
    with pytest.raises(BadSettings) as refused:
        load()
    lines = refused.value.message.splitlines()
    assert lines[0] == "SENDOFF_RETRY_SHEDULE: there is no such setting; did you mean SENDOFF_RETRY_SCHEDULE?"
    assert lines[1].startswith("sendoff_zzz: there is no such setting; remove it")
    assert lines[2].startswith("SENDOFF_LEASE_SECONDS: ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SENDOFF_PORT", "tcp://10.0.0.1:8000"),
        ("SENDOFF_SERVICE_HOST", "10.0.0.1"),
        ("SENDOFF_WEB_SERVICE_PORT_HTTP", "8000"),
        ("SENDOFF_WEB_PORT_8000_TCP_ADDR", "10.0.0.1"),
        ("SENDOFF_DATA", "/srv"),
        ("SENDOFF_WEBHOOK_SECRET", "whsec_x"),
    ],
)
def test_variables_of_kubernetes_and_the_command_line_are_not_settings(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    load()


def test_settings_that_do_not_fit_together_are_all_reported() -> None:
    with pytest.raises(BadSettings) as refused:
        load(oauth_jwks="http://keys.example", lease_seconds=5)
    assert len(refused.value.message.splitlines()) == 3


def test_a_file_of_authorities_must_exist_and_hold_certificates(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match=r"SENDOFF_CA_FILE: .* cannot be read .*; name a file"):
        load(ca_file=tmp_path / "none.pem")
    (tmp_path / "bad.pem").write_text("no certificate")
    with pytest.raises(BadSettings, match=r"SENDOFF_CA_FILE: .* holds no certificate in PEM"):
        load(ca_file=tmp_path / "bad.pem")


def test_settings_for_trying_it_out_are_called_dangerous() -> None:
    assert load().dangers() == []
    networks, http = load(dangerously_allow_networks="127.0.0.0/8", dangerously_allow_http=True).dangers()
    assert "127.0.0.0/8" in networks
    assert "unencrypted" in http


def test_former_names_of_settings_count_unless_the_new_one_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENDOFF_SECRET_KEYS", "k" * 32)
    monkeypatch.setenv("SENDOFF_HOUSE_USER_AGENT", "Former/1")
    assert load().dialect_user_agent == "Former/1"
    monkeypatch.setenv("SENDOFF_DIALECT_USER_AGENT", "New/1")
    assert load().dialect_user_agent == "New/1"


@pytest.mark.parametrize(
    "url", ["api.example.com", "ftp://api.example.com", "https://", "https://a\udcff/", "https://a?b"]
)
def test_a_public_url_that_no_browser_opens_is_refused(url: str) -> None:
    with pytest.raises(BadSettings, match="PUBLIC_URL: must be written like"):
        load(secret_keys="k" * 32, public_url=url)


def test_links_begin_with_the_public_url_without_its_last_slash() -> None:
    assert load(secret_keys="k" * 32, public_url="https://example.com/hooks/").public_url == "https://example.com/hooks"
