"""The storage port, the same tests for a folder and for a bucket."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sendoff.errors import NotFound, Unavailable
from sendoff.uploads.files.storage import Storage
from sendoff.uploads.process import process_upload
from tests.integration.uploads.bucket import Bucket, serve_bucket
from tests.integration.uploads.conftest import UploadFixture
from tests.support.app_fixture import open_app

KEY = "0199c1f2/0199c1f3/original.csv"
CONTENT = b"0123456789abcdef" * 700_000
FUTURE = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with serve_bucket() as served:
        monkeypatch.setenv("AWS_ENDPOINT_URL", served.url)
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("AWS_REGION", "eu-central-1")
        yield served


@pytest.fixture(params=["folder", "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folder":
        return Storage.open(f"file://{tmp_path}/made%20when/opened")
    request.getfixturevalue("bucket")
    return Storage.open("s3://uploads/some/prefix")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file of more than two parts."""
    path = tmp_path / "source"
    path.write_bytes(CONTENT)
    return path


async def content(storage: Storage, key: str) -> bytes:
    return b"".join([piece async for piece in await storage.read(key)])


async def test_a_file_is_stored_and_read_back(storage: Storage, source: Path) -> None:
    await storage.put(KEY, source, download_name="may.csv")
    assert await content(storage, KEY) == CONTENT
    assert await storage.size(KEY) == len(CONTENT)
    assert await storage.exists(KEY)


async def test_a_stream_is_stored_as_it_comes(storage: Storage) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(100):
            yield b"%d," % number * 50_000

    await storage.put(KEY, pieces())
    assert await content(storage, KEY) == b"".join(b"%d," % number * 50_000 for number in range(100))


def test_a_folder_that_cannot_be_made_is_unavailable(source: Path) -> None:
    """A read-only container that was given no volume, say."""
    with pytest.raises(Unavailable, match="SENDOFF_STORAGE_URL"):
        Storage.open(f"file://{source}/beneath-a-file")


async def test_storing_again_replaces_what_is_there(storage: Storage, source: Path, tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"small")
    await storage.put(KEY, source)
    await storage.put(KEY, tmp_path / "small")
    assert await content(storage, KEY) == b"small"


async def test_deleted_and_unknown_ids_are_not_found(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"small")
    await storage.put(KEY, tmp_path / "small")
    await storage.delete(KEY, "never/was/there.csv")
    assert not await storage.exists(KEY)
    with pytest.raises(NotFound):
        await storage.read(KEY)
    with pytest.raises(NotFound):
        await storage.size(KEY)


async def test_keys_are_listed_with_those_that_are_old_enough_alone(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"small")
    await storage.put(KEY, tmp_path / "small")
    assert [key async for keys in storage.keys(older_than=FUTURE) for key in keys] == [KEY]
    ancient = datetime(2000, 1, 1, tzinfo=UTC)
    assert [key async for keys in storage.keys(older_than=ancient) for key in keys] == []


async def test_a_stream_that_breaks_off_stores_nothing(storage: Storage) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 6_000_000
        raise ConnectionResetError

    with pytest.raises(Unavailable):
        await storage.put("a/b/broken.csv", broken())
    assert [key async for keys in storage.keys(older_than=FUTURE) for key in keys if "broken" in key] == []


async def test_a_bucket_gets_large_files_in_parts_under_its_prefix(bucket: Bucket, source: Path) -> None:
    storage = Storage.open("s3://uploads/some/prefix/")
    await storage.put(KEY, source, download_name='mä"y.csv')
    assert list(bucket.objects) == [f"some/prefix/{KEY}"]
    assert 0 < bucket.largest_part <= 6 * 1024 * 1024
    assert "filename*=UTF-8''m%C3%A4%22y.csv" in bucket.dispositions[f"some/prefix/{KEY}"]


async def test_a_bucket_signs_links_that_need_no_credentials(bucket: Bucket, source: Path) -> None:
    storage = Storage.open("s3://uploads")
    await storage.put(KEY, source)
    url = await storage.signed_url(KEY, expires_in=timedelta(minutes=5))
    assert url is not None
    assert url.startswith(f"{bucket.url}/uploads/{KEY}?")
    assert "X-Amz-Expires=300" in url

    def get() -> bytes:
        with urllib.request.urlopen(url) as answer:  # noqa: S310 - the test's own server
            return bytes(answer.read())

    assert await asyncio.to_thread(get) == CONTENT


async def test_a_bucket_that_refuses_is_unavailable_and_says_nothing_secret(bucket: Bucket, source: Path) -> None:
    bucket.broken = True
    storage = Storage.open("s3://uploads")
    for attempt in (storage.put(KEY, source), storage.read(KEY), storage.size(KEY), storage.delete(KEY)):
        with pytest.raises(Unavailable) as caught:
            await attempt
        assert "secret" not in str(caught.value)


async def test_an_upload_goes_through_a_bucket_from_end_to_end(bucket: Bucket, sqlite_url: str, tmp_path: Path) -> None:
    async with open_app(sqlite_url, storage_url="s3://uploads/tenants") as app:
        uploads = UploadFixture(app, tmp_path, tmp_path)
        upload_id = await uploads.upload()
        assert await process_upload(app.context, upload_id) == "completed"
        base = f"tenants/{uploads.organization_id}/{upload_id}"
        assert sorted(bucket.objects) == [
            f"{base}/{name}.csv" for name in ("original", "processed-filtered", "processed")
        ]
        (announced,) = await uploads.events("upload.completed")
        downloads = announced["upload"]["downloads"]
        assert downloads["processed"].startswith(f"{bucket.url}/uploads/{base}/processed.csv?")
        assert downloads["processed_filtered"].startswith(f"{bucket.url}/uploads/{base}/processed-filtered.csv?")
