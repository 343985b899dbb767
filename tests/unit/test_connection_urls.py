"""The URLs of PostgreSQL and Redis: what other programs write is taken, what cannot work is refused in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from sendoff.server_urls import database
from sendoff.server_urls.database import check_database_url, driver_url, hosts_of
from sendoff.server_urls.redis import RedisAddress, parse_redis_url

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("written", "given_to_the_driver"),
    [
        ("postgres://u:p@db/x", "postgresql://u:p@db/x"),
        ("postgresql://u@h1:5432,h2:5433/x?target_session_attrs=read-write", None),
        ("postgresql://u@/x?host=h1:5432&host=h2:5433", "postgresql://u@/x?host=h1:5432,h2:5433"),
        ("postgresql://u@/x?host=h1&host=h2", "postgresql://u@/x?host=h1,h2"),
        ("postgresql://u@/x?host=h1,h2&port=5432,5433", None),
        ("postgresql://u@db/x?host=/run/pg", "postgresql://u@/x?host=/run/pg"),
        ("postgresql://u@[::1]:5432/x", None),
        ("postgresql:///x", None),
        (
            "postgresql://u@db/x?application_name=web&options=-csearch_path%3Dapp%20-cjit%3Doff",
            "postgresql://u@db/x?application_name=web&options=-csearch_path%3Dapp%20-cjit%3Doff",
        ),
        ("postgresql://u@db/x?ssl=require", "postgresql://u@db/x?sslmode=require"),
    ],
)
def test_a_database_url_is_read_as_libpq_reads_it(written: str, given_to_the_driver: str | None) -> None:
    checked = check_database_url(written)
    assert checked == check_database_url(checked)
    assert driver_url(checked) == (given_to_the_driver or written)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"postgresql://u:{SECRET}@h1:5432,h2:x/db", "percent-encode"),
        (f"postgresql://u:{SECRET}@h1:0/db", "percent-encode"),
        (f"postgresql://u:{SECRET}@::1/db", "percent-encode"),
        (f"postgresql://u:{SECRET}@h/db?sslrootcert=/none.pem", "`sslrootcert`"),
        (f"postgresql://u:{SECRET}@h/db?sslmode=verify-full", "sslrootcert=FILE"),
        (f"postgresql://u:{SECRET}@h/db?sslmode=require&sslrootcert=system", "verify-full"),
        (f"postgresql://u:{SECRET}@h/db?target_session_attrs=standby", "read-write"),
        (f"postgresql://u:{SECRET}@/db?host=h1&port=x", "65535"),
        (f"postgresql://u:{SECRET}@h/db?statement_cache_size=0", "`statement_cache_size`"),
    ],
)
def test_a_database_url_that_cannot_work_is_refused_without_its_password(
    url: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("PGSSLROOTCERT", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ValueError, match=said) as refused:
        check_database_url(url)
    assert SECRET not in str(refused.value)


def test_the_systems_authorities_are_a_file_for_the_driver_and_check_the_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authorities.pem"))
    (tmp_path / "authorities.pem").touch()
    checked = check_database_url("postgresql://u@db/x?sslrootcert=system")
    assert check_database_url(checked) == checked
    wanted = f"postgresql://u@db/x?sslrootcert={tmp_path}/authorities.pem&sslmode=verify-full"
    assert driver_url(checked) == wanted


def test_a_system_without_authorities_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_system_authorities", lambda: None)
    with pytest.raises(ValueError, match="ca-certificates"):
        check_database_url("postgresql://u@db/x?sslrootcert=system")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://localhost", RedisAddress([("localhost", 6379)])),
        ("redis://:p%40@h:1/2", RedisAddress([("h", 1)], database=2, password="p@")),
        ("rediss://u:p@[::1]:7/0", RedisAddress([("::1", 7)], username="u", password="p", tls=True)),
        ("unix://:p@/run/a%20b.sock?db=3", RedisAddress(path="/run/a b.sock", database=3, password="p")),
        (
            "redis+sentinel://u:p@s1,s2:2/main/4?sentinel_password=q",
            RedisAddress(
                [("s1", 26379), ("s2", 2)],
                database=4,
                username="u",
                password="p",
                service="main",
                options={"sentinel_password": "q"},
            ),
        ),
        (
            "rediss+cluster://u:p@n1,n2:2",
            RedisAddress([("n1", 6379), ("n2", 2)], username="u", password="p", tls=True, is_cluster=True),
        ),
        (
            "rediss://h?ssl_cert_reqs=required&ssl_check_hostname=true&ssl_ca_certs=/dev/null",
            RedisAddress([("h", 6379)], tls=True, options={"ssl_ca_certs": "/dev/null"}),
        ),
    ],
)
def test_a_redis_url_is_taken_apart(url: str, address: RedisAddress) -> None:
    assert parse_redis_url(url) == address


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"redis+ring://:{SECRET}@h", "must start with"),
        (f"redis+cluster://:{SECRET}@h1,h2/1", "a cluster has no others"),
        (f"redis+cluster://:{SECRET}@h1?sentinel_password=1", "`sentinel_password`"),
        (f"redis://:{SECRET}@h1,h2", "percent-encode"),
        (f"redis://:{SECRET}@h:x", "percent-encode"),
        (f"redis://:{SECRET}@h/main", "number of the database"),
        (f"redis://:{SECRET}@h?retry=1", "`retry`"),
        (f"redis://:{SECRET}@h?ssl_ca_certs=/dev/null", "`ssl_ca_certs`"),
        (f"rediss://:{SECRET}@h?ssl_cert_reqs=none", "must not turn off"),
        (f"rediss://:{SECRET}@h?ssl_check_hostname=false", "must not turn off"),
        (f"rediss://:{SECRET}@h?ssl_ca_certs=/none.pem", "cannot be read"),
        (f"redis+sentinel://:{SECRET}@s1:26379", "must name the master"),
        (f"unix://:{SECRET}@", "unix:///run/valkey.sock"),
    ],
)
def test_a_redis_url_that_cannot_work_is_refused_without_its_password(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        parse_redis_url(url)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql:///sendoff", []),
        ("postgresql://u@h1:1,h2/sendoff", [("h1", 1), ("h2", None)]),
        ("postgresql://u@[::1]:1,[::2]/sendoff", [("::1", 1), ("::2", None)]),
        ("postgresql://u@/sendoff?host=h1,h2&port=5433", [("h1", 5433), ("h2", 5433)]),
        ("postgresql://u@/sendoff?host=/run/a%20b&port=1", [("/run/a b", 1)]),
        ("postgresql://u@ignored/sendoff?host=h1&host=h2&port=1&port=2", [("h1", 1), ("h2", 2)]),
    ],
)
def test_the_hosts_of_a_database_url_are_told_apart(url: str, hosts: list[tuple[str, int | None]]) -> None:
    assert hosts_of(driver_url(check_database_url(url))) == hosts
