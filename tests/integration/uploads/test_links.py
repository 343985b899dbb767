"""Download links: ours, unforged, and names that are safe to show."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendoff.uploads.files.downloads import Downloads, FileKind, LinkSigner, StoredFile, derive_key
from sendoff.uploads.files.filenames import LONGEST_NAME, clean_filename, result_name
from sendoff.uploads.files.storage import Storage, content_disposition

NOW = datetime(2026, 4, 24, 12, 0, 0, 999_999, tzinfo=UTC)
OLD, NEW = "old-key-" * 5, "new-key-" * 5


def parts(path: str) -> tuple[str, str, int, str]:
    split = urlsplit(path)
    _, _, _, _, upload_id, _, kind = split.path.split("/")
    query = parse_qs(split.query)
    return upload_id, kind, int(query["expires"][0]), query["signature"][0]


def test_a_link_is_genuine_with_any_of_the_keys_and_signed_by_the_newest() -> None:
    link = parts(LinkSigner([OLD]).path("id", FileKind.PROCESSED, NOW))
    assert LinkSigner([NEW, OLD]).is_genuine(*link)
    assert not LinkSigner([NEW]).is_genuine(*link)
    assert LinkSigner([NEW]).is_genuine(*parts(LinkSigner([NEW, OLD]).path("id", FileKind.PROCESSED, NOW)))


@pytest.mark.parametrize(
    ("position", "value"),
    [(0, "other"), (1, "original"), (2, 9_999_999_999), (3, ""), (3, "é"), (3, "0" * 64)],
)
def test_a_changed_link_is_refused(position: int, value: object) -> None:
    signer = LinkSigner([NEW])
    link: list[object] = list(parts(signer.path("id", FileKind.PROCESSED, NOW)))
    assert signer.is_genuine(*link)  # type: ignore[arg-type]
    link[position] = value
    assert not signer.is_genuine(*link)  # type: ignore[arg-type]


def test_keys_for_different_purposes_differ() -> None:
    assert derive_key(NEW, "download links") != derive_key(NEW, "endpoint secrets")
    assert len(derive_key(NEW, "download links")) == 32


@pytest.mark.parametrize("base_url", ["https://api.example.com/", "https://api.example.com"])
async def test_a_folders_link_leads_to_the_api_and_says_when_it_ends(tmp_path: Path, base_url: str) -> None:
    downloads = Downloads(Storage.open(f"file://{tmp_path}"), LinkSigner([NEW]), base_url)
    file = StoredFile("id", FileKind.ORIGINAL, "a/b/original.csv")
    link = await downloads.link(file, now=NOW, lifetime=timedelta(minutes=5))
    assert link.url.startswith("https://api.example.com/api/v1/uploads/id/files/original?expires=")
    assert link.expires_at == datetime(2026, 4, 24, 12, 5, tzinfo=UTC)
    assert parts(link.url)[2] == link.expires_at.timestamp()


@pytest.mark.parametrize(
    ("given_name", "kept"),
    [
        ("contacts.csv", "contacts.csv"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\ada\\list.csv", "list.csv"),
        (" név‮\x00\r\n.csv ", "név.csv"),
        (".htaccess", "htaccess"),
        ("x" * 300 + ".csv", "x" * 251 + ".csv"),
        ("\ud800a.csv", "a.csv"),
    ],
)
def test_file_names_lose_folders_control_characters_and_length(given_name: str, kept: str) -> None:
    assert clean_filename(given_name) == kept


@pytest.mark.parametrize("nothing", [None, "", " ", "..", "/", "\0"])
def test_where_no_name_is_left_one_is_made(nothing: str | None) -> None:
    name = clean_filename(nothing)
    assert name.startswith("api_upload_")
    assert name.endswith(".csv")
    assert name != clean_filename(nothing)


def test_results_are_called_after_the_original() -> None:
    assert result_name("May.CSV", "original") == "May.csv"
    assert result_name("May.CSV", "processed") == "May-processed.csv"
    assert result_name("list", "processed-filtered") == "list-processed-filtered.csv"


@given(st.text())
def test_any_name_is_safe_in_a_header(name: str) -> None:
    clean = clean_filename(name)
    assert 0 < len(clean) <= LONGEST_NAME
    header = content_disposition(clean)
    assert header.isascii()
    assert header.isprintable()
    assert header.count('"') == 2


def test_the_accents_of_a_long_name_are_not_all_sorted() -> None:
    # Sorting all of them takes hours.
    name = clean_filename("a" + "\u0301" * 5_000_000 + "\u0316" * 5_000_000 + ".csv")
    assert (len(name), name[-4:]) == (LONGEST_NAME, ".csv")
