"""Files under way on disk: bounded, and gone when their time is over, whatever ended it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sendoff.errors import TooLarge, Unavailable
from sendoff.uploads.files.tempfiles import TemporaryFile, remove_abandoned, save, temporary_folder

HOLD_A_FOLDER = """
import asyncio
from sendoff.uploads.files.tempfiles import temporary_folder

async def hold():
    async with temporary_folder() as folder:
        (folder / "half").write_text("done")
        print(folder, flush=True)
        await asyncio.sleep(60)

asyncio.run(hold())
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


async def pieces(*sizes: int) -> AsyncIterator[bytes]:
    for size in sizes:
        yield b"x" * size


async def test_a_folder_is_private_and_gone_at_the_end() -> None:
    async def fail_within() -> None:
        async with temporary_folder() as folder:
            found.append(folder)
            assert folder.stat().st_mode & 0o777 == 0o700
            (folder / "file").write_text("x")
            raise RuntimeError

    found: list[Path] = []
    with pytest.raises(RuntimeError):
        await fail_within()
    assert not found[0].exists()


async def test_a_folder_in_use_is_not_taken_for_abandoned() -> None:
    async with temporary_folder() as folder:
        assert remove_abandoned() == 0
        assert folder.exists()


def test_the_folder_of_a_killed_process_is_removed_by_the_next(temporary: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD_A_FOLDER], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    folder = Path(process.stdout.readline().strip())
    assert remove_abandoned() == 0
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (folder / "half").exists()
    assert remove_abandoned() == 1
    assert list(temporary.iterdir()) == []


def test_files_of_others_in_the_temporary_folder_are_neither_opened_nor_removed(temporary: Path) -> None:
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    os.mkfifo(temporary / "sendoff-upload-pipe")
    (temporary / "sendoff-upload-link").symlink_to(elsewhere)
    (temporary / "sendoff-upload-file").write_text("x")
    foreign = temporary / "sendoff-upload-foreign"
    foreign.mkdir()
    if os.getuid() == 0:
        os.chown(foreign, 12345, 12345)
    else:
        foreign.rmdir()
    before = sorted(temporary.iterdir())
    assert remove_abandoned() == 0
    assert sorted(temporary.iterdir()) == before


async def test_a_stream_is_saved_byte_for_byte(temporary: Path) -> None:
    assert await save(pieces(0, 1, 2_000_000, 3), temporary / "file") == 2_000_004
    assert (temporary / "file").stat().st_size == 2_000_004


async def test_a_stream_over_the_limit_is_refused_as_soon_as_it_is(temporary: Path) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1_000_000
            yield b"x" * 1_000_000

    with pytest.raises(TooLarge, match="larger than 2 MB"):
        await save(endless(), temporary / "file", limit=2 * 1024 * 1024)
    assert taken == 3_000_000


async def test_a_missing_temporary_folder_is_a_503_that_says_so(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.gettempdir", missing)
    with pytest.raises(Unavailable, match="No usable temporary directory"):
        remove_abandoned()
    with pytest.raises(Unavailable, match="No usable temporary directory"):
        async with temporary_folder():
            pass
    monkeypatch.undo()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    async with temporary_folder() as folder:
        assert folder.parent == temporary


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the device that is always full is Linux's")
@pytest.mark.parametrize("size", [3, 3_000_000])
async def test_a_full_disk_is_unavailable_and_leaves_the_file_closed(size: int) -> None:
    file = TemporaryFile(Path("/dev/full"))
    with pytest.raises(Unavailable, match="No space left"):
        await save(pieces(size), Path("/dev/full"))
    with pytest.raises(Unavailable, match="No space left"):
        await file.write(b"x" * 3_000_000)
    await file.close()
