"""The data directory: what `sendoff up` keeps on this machine unless the environment names it.

`sendoff.db` (SQLite), `valkey.sock` (the embedded Valkey), `secret_keys` (made once) and `uploads/`. A variable that
is set in the environment always wins over the directory.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from sendoff.errors import SendoffError
from sendoff.settings import Settings, load

DEFAULT = Path(".sendoff")

LOCATIONS = ("SENDOFF_DATABASE_URL", "SENDOFF_REDIS_URL", "SENDOFF_STORAGE_URL", "SENDOFF_SECRET_KEYS")
"""The settings that name an installation: a data directory has a value for each."""

_LONGEST_SOCKET_PATH = 100  # the kernel takes 107 bytes on Linux, 103 on macOS


class NoDataYet(SendoffError):
    """There is no database in the data directory."""


class UnsafeDirectory(SendoffError):
    """A directory that must be ours alone is not."""


class NoDirectory(SendoffError):
    """The data directory cannot be made."""


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """Where things are in the directory `path` (absolute); names nothing that has to exist yet."""

    path: Path

    @classmethod
    def at(cls, path: Path) -> DataDirectory:
        return cls(path.expanduser().absolute())

    @property
    def database(self) -> Path:
        return self.path / "sendoff.db"

    @property
    def database_url(self) -> str:
        """The database as a URL: SQLAlchemy decodes `%` in it and takes what follows a `?` for options."""
        return f"sqlite+aiosqlite:///{quote(str(self.database))}"

    @property
    def secret_keys(self) -> Path:
        """The file of the keys that were made here."""
        return self.path / "secret_keys"

    @property
    def valkey_log(self) -> Path:
        return self.path / "valkey.log"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def socket(self) -> Path:
        """Valkey's socket; in a directory of the temporary files' when its name would be too long here."""
        near = self.path / "valkey.sock"
        if len(os.fsencode(near)) <= _LONGEST_SOCKET_PATH:
            return near
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]
        return _temporary_files() / f"sendoff-{os.getuid()}-{digest}" / "valkey.sock"

    def make(self) -> None:
        """Make the directory, and the socket's, for this user alone."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise NoDirectory(
                f"The data directory {self.path} cannot be made ({error.strerror}); name another one with --data."
            ) from None
        if self.socket.parent != self.path:
            _make_private(self.socket.parent)

    def remove_stale_files(self) -> None:
        """Remove what is of no use when nothing runs here."""
        if self.socket.parent != self.path:
            with suppress(OSError):  # another one's socket is in it, or it is gone
                self.socket.parent.rmdir()

    def settings(self, environment: Mapping[str, str] = os.environ) -> Settings:
        """The settings of a process that works on this directory. Makes it, with its secret keys, if need be."""
        overrides = self._locations(environment)
        if not is_set("SENDOFF_SECRET_KEYS", environment):
            self.make()
            overrides["secret_keys"] = self._read_or_make_secret_keys()
        return load(**overrides)

    def settings_without_keys(self, environment: Mapping[str, str] = os.environ) -> Settings:
        """The same for what needs no secret keys, such as migrations. Makes nothing."""
        return load(**self._locations(environment))

    def environment(self, *, wins: bool, environment: Mapping[str, str] = os.environ) -> Mapping[str, str]:
        """The variables that count for a command on this directory.

        When it `wins` (it was named on the command line) and holds a database, these name no other installation. Secret
        keys and Redis count nevertheless where it has none of its own: it was set up with the environment's then.
        """
        if not (wins and self.database.exists()):
            return environment
        own = {"SENDOFF_SECRET_KEYS": self.secret_keys, "SENDOFF_REDIS_URL": self.socket}
        ignored = {name for name in LOCATIONS if name not in own or own[name].exists()}
        return {name: value for name, value in environment.items() if name.upper() not in ignored}

    def require_database(self, environment: Mapping[str, str] = os.environ) -> None:
        """Raise NoDataYet if neither the environment names a database nor one was made here."""
        if not is_set("SENDOFF_DATABASE_URL", environment) and not self.database.exists():
            raise NoDataYet(
                f"There is no database in {self.path}: start `sendoff up`, run `sendoff migrate`, "
                "or name another directory with --data."
            )

    def has_own_valkey(self, environment: Mapping[str, str] = os.environ) -> bool:
        """Whether the Redis of this directory is the embedded one."""
        return not is_set("SENDOFF_REDIS_URL", environment)

    def _locations(self, environment: Mapping[str, str]) -> dict[str, str]:
        locations = {
            "database_url": self.database_url,
            "redis_url": f"unix://{quote(str(self.socket))}",
            "storage_url": f"file://{quote(str(self.path / 'uploads'))}",
        }
        return {name: value for name, value in locations.items() if not is_set(f"SENDOFF_{name.upper()}", environment)}

    def _read_or_make_secret_keys(self) -> str:
        keys = self.secret_keys
        if not keys.exists():
            _write_once(keys, secrets.token_urlsafe(32))
        elif keys.stat().st_mode & 0o077:
            keys.chmod(0o600)  # copied or restored from elsewhere
        return keys.read_text().strip()


def as_environment(settings: Settings) -> dict[str, str]:
    """The variables that make another process use the same database, Redis, storage and keys."""
    return {
        "SENDOFF_DATABASE_URL": settings.database_url,
        "SENDOFF_REDIS_URL": settings.redis_url,
        "SENDOFF_STORAGE_URL": settings.storage_url,
        "SENDOFF_SECRET_KEYS": ",".join(key.get_secret_value() for key in settings.secret_keys),
    }


def is_set(name: str, environment: Mapping[str, str]) -> bool:
    """Whether a setting is in the environment, in upper or lower case. An empty value means that it is not set."""
    return any(given.upper() == name and value for given, value in environment.items())


def _write_once(path: Path, text: str) -> None:
    """Write a file that only this user reads; of several processes that try, one succeeds and all read the same."""
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        Path(path).hardlink_to(draft)
    except FileExistsError:
        pass  # another process was first
    finally:
        Path(draft).unlink()


def _temporary_files() -> Path:
    usual = Path(tempfile.gettempdir())
    # A TMPDIR that is itself too long would leave no room for the socket.
    return usual if len(os.fsencode(usual)) <= _LONGEST_SOCKET_PATH // 2 else Path("/tmp")  # noqa: S108 - checked below


def _make_private(directory: Path) -> None:
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077 or directory.is_symlink():
        raise UnsafeDirectory(f"{directory} must be a directory of this user alone; remove it and try again.")
