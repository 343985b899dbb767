"""Settings as somebody types them: what is wrong is told in a sentence, which never repeats a password."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis.asyncio import Redis

from sendoff.settings import BadSettings, load

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


def test_what_stands_in_no_setting_is_in_the_directory_that_the_process_starts_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    assert settings.database_url == "postgresql+asyncpg://u:p%40@db/x?host=/run/pg&ssl=require"


@pytest.mark.parametrize(
    ("option", "said"),
    [("connect_timeout=5", "`connect_timeout`"), ("sslmode=please", "verify-full"), ("a=b&ssl=x", "`a`")],
)
def test_an_unknown_option_of_a_database_url_is_named_with_the_setting(option: str, said: str) -> None:
    with pytest.raises(BadSettings, match="DATABASE_URL") as refused:
        load(database_url=f"postgresql+asyncpg://u:hidden@db/x?{option}")
    assert said in str(refused.value)
    assert "hidden" not in str(refused.value)
