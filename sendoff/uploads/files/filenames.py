"""Names that users give their files: shown and offered for download, never used as paths."""

from __future__ import annotations

import secrets
import unicodedata

LONGEST_NAME = 255
_LONGEST_ENDING = 10

_MOST_CHARACTERS_READ = 2 * LONGEST_NAME
"""Characters of a name that are looked at, the ending included. The time to normalize a run of accents grows with the
square of its length: these take a millisecond, the 100,000 that fit into a request would take half a minute."""


def clean_filename(name: str | None) -> str:
    """The name without folders, control characters and lone surrogates; `api_upload_<hex>.csv` if nothing is left."""
    last = (name or "").replace("\\", "/").rsplit("/", 1)[-1]
    if len(last) > _MOST_CHARACTERS_READ:
        last = last[: _MOST_CHARACTERS_READ - _LONGEST_ENDING] + last[-_LONGEST_ENDING:]
    kept = "".join(c for c in unicodedata.normalize("NFC", last) if unicodedata.category(c) not in ("Cc", "Cf", "Cs"))
    stripped = kept.strip().lstrip(".")
    return _shortened(stripped) if stripped else f"api_upload_{secrets.token_hex(8)}.csv"


def result_name(original: str, kind: str) -> str:
    """What a file of the upload is called when downloaded: `contacts.csv`, `contacts-processed.csv` …

    Its extension is that of the content, not the customer's: `setup.exe` becomes `setup.exe.csv`.
    """
    stem = original[:-4] if original.lower().endswith(".csv") else original
    return f"{stem}.csv" if kind == "original" else f"{stem}-{kind}.csv"


def _shortened(name: str) -> str:
    """Cut before the ending, if there is one worth keeping."""
    if len(name) <= LONGEST_NAME:
        return name
    stem, dot, ending = name.rpartition(".")
    if dot and len(ending) < _LONGEST_ENDING:
        return stem[: LONGEST_NAME - len(ending) - 1] + dot + ending
    return name[:LONGEST_NAME]
