from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from sendoff.cli.running.migrate import migrate_database
from sendoff.processes.data_directory import DataDirectory, NoDataYet, UnsafeDirectory, as_environment
from sendoff.store.engine.database import Database


def test_settings_come_from_the_directory_without_environment_variables(tmp_path: Path) -> None:
    settings = DataDirectory.at(tmp_path).settings({})
    assert settings.database_url == f"sqlite+aiosqlite:///{tmp_path}/sendoff.db"
    assert settings.storage_url == f"file://{tmp_path}/uploads"
    assert settings.redis_url.startswith("unix:///")
    assert len(settings.secret_keys) == 1


def test_the_environment_wins_over_the_directory_whatever_the_case_of_its_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("sendoff_database_url", "postgresql+asyncpg://elsewhere/sendoff")
    monkeypatch.setenv("SENDOFF_REDIS_URL", "redis://elsewhere")
    monkeypatch.setenv("SENDOFF_STORAGE_URL", "s3://bucket")
    monkeypatch.setenv("SENDOFF_SECRET_KEYS", "k" * 40)
    directory = DataDirectory.at(tmp_path / "unused")
    settings = directory.settings()
    assert settings.database_url == "postgresql+asyncpg://elsewhere/sendoff"
    assert settings.redis_url == "redis://elsewhere"
    assert settings.storage_url == "s3://bucket"
    assert [key.get_secret_value() for key in settings.secret_keys] == ["k" * 40]
    assert not directory.path.exists()
    assert not directory.has_own_valkey()


def test_secret_keys_are_made_once_and_readable_by_their_owner_alone(tmp_path: Path) -> None:
    directory = DataDirectory.at(tmp_path / "data")
    first, second = directory.settings({}), directory.settings({})
    assert first.secret_keys == second.secret_keys
    assert stat.S_IMODE((directory.path / "secret_keys").stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700
    assert [file.name for file in directory.path.iterdir()] == ["secret_keys"]


def test_secret_keys_can_be_rotated_in_their_file(tmp_path: Path) -> None:
    (tmp_path / "secret_keys").write_text(f"{'n' * 32}, {'o' * 32}\n")
    keys = DataDirectory.at(tmp_path).settings({}).secret_keys
    assert [key.get_secret_value() for key in keys] == ["n" * 32, "o" * 32]


def test_another_process_gets_the_same_directories_and_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = DataDirectory.at(tmp_path / "a folder").settings({})
    for name, value in as_environment(settings).items():
        monkeypatch.setenv(name, value)
    assert DataDirectory.at(tmp_path / "another").settings() == settings


def test_a_long_path_moves_the_socket_to_a_short_one_of_this_user_alone(
    tmp_path: Path, servers_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(servers_directory))
    directory = DataDirectory.at(tmp_path / ("long" * 30))
    assert len(os.fsencode(directory.socket)) <= 100
    assert directory.socket != DataDirectory.at(tmp_path / ("other" * 30)).socket
    directory.make()
    try:
        assert stat.S_IMODE(directory.socket.parent.stat().st_mode) == 0o700
    finally:
        directory.remove_stale_files()
    assert not directory.socket.parent.exists()


def test_a_socket_directory_that_others_can_enter_is_refused(
    tmp_path: Path, servers_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(servers_directory))
    directory = DataDirectory.at(tmp_path / ("open" * 30))
    directory.socket.parent.mkdir(mode=0o777)
    directory.socket.parent.chmod(0o777)
    try:
        with pytest.raises(UnsafeDirectory, match="this user alone"):
            directory.make()
    finally:
        directory.remove_stale_files()


def test_directories_with_and_without_a_database_are_distinguished(tmp_path: Path) -> None:
    directory = DataDirectory.at(tmp_path)
    with pytest.raises(NoDataYet, match="sendoff up"):
        directory.require_database({})
    directory.require_database({"SENDOFF_DATABASE_URL": "postgresql+asyncpg://elsewhere/sendoff"})
    directory.database.touch()
    directory.require_database({})


@pytest.mark.parametrize("name", ["job_feature%2Fone", "a%20b", "a b", "a?b", "a#b", "ü&c=d", "50%"])
def test_the_database_is_in_the_directory_whatever_its_name(name: str, tmp_path: Path) -> None:
    directory = DataDirectory.at(tmp_path / name)
    migrate_database(directory.path)
    assert directory.database.exists()
    assert {path.name for path in tmp_path.iterdir()} == {name}
    directory.require_database({})


def test_files_that_others_could_read_are_made_private(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    keys, database = tmp_path / "secret_keys", tmp_path / "sendoff.db"
    keys.write_text("k" * 40)
    database.touch()
    for found in (keys, database):
        found.chmod(0o644)
    settings = DataDirectory.at(tmp_path).settings({})
    Database.open(settings.database_url)
    assert [stat.S_IMODE(found.stat().st_mode) for found in (keys, database)] == [0o600, 0o600]


def test_a_folder_that_is_named_as_the_database_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    Database.open(f"sqlite+aiosqlite:///{tmp_path}")
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
