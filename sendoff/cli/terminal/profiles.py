"""Profiles: names for APIs of other machines with their keys, in a file that only its owner reads."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

from sendoff.cli.terminal.remote import Remote
from sendoff.errors import NotFound, SendoffError

Profiles = dict[str, dict[str, str]]


def profiles_file() -> Path:
    """`$XDG_CONFIG_HOME/sendoff/profiles.toml`, by default below `~/.config`."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()
    return Path(base) / "sendoff" / "profiles.toml"


def load_profiles() -> Profiles:
    """All profiles. Raises SendoffError for a file that others can read, or that is not TOML of this form."""
    path = profiles_file()
    if not path.exists():
        return {}
    if path.stat().st_mode & 0o077:
        raise SendoffError(f"{path} holds API keys and can be read by others; run: chmod 600 {path}")
    try:
        found = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SendoffError(f"{path} is not valid TOML: {error}.") from None
    for name, profile in found.items():
        if not isinstance(profile, dict) or not all(isinstance(profile.get(one), str) for one in ("url", "key")):
            raise SendoffError(f"{path}: the profile {name!r} needs a `url` and a `key`, both texts.")
    return found


def find_profile(name: str) -> Remote:
    """The API that a profile names. Raises NotFound."""
    profiles = load_profiles()
    if name not in profiles:
        known = f"there are {', '.join(profiles)}" if profiles else "there is none yet"
        raise NotFound(f"There is no profile {name!r}; {known}. `sendoff profiles set {name}` makes one.")
    return Remote.at(profiles[name]["url"], profiles[name]["key"], name)


def save_profiles(profiles: Profiles) -> None:
    """Replace the file, readable by its owner alone."""
    path = profiles_file()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        for name, profile in profiles.items():
            lines = (f"{field} = {json.dumps(profile[field])}\n" for field in ("url", "key"))
            file.write(f"[{json.dumps(name)}]\n{''.join(lines)}\n")
    draft.replace(path)
