"""The lossy file system keeps what was synced and forgets the rest: else a test on it proves nothing."""

import fcntl
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from tests.faults.disk import Disk
from tests.faults.tree import Survivors


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with Disk(tmp_path) as mounted:
        yield mounted


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(path: Path, content: bytes, *, synced: bool) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        if synced:
            os.fdatasync(file.fileno())


def test_synced_content_under_a_synced_name_survives(disk: Disk) -> None:
    """Content that was synced, under a name whose directory was synced, is there after the power cut."""
    write(disk.path / "kept", b"content", synced=True)
    sync(disk.path)
    disk.cut_power()
    assert (disk.path / "kept").read_bytes() == b"content"


def test_unsynced_content_is_lost(disk: Disk) -> None:
    """A file whose name was synced but not its content is empty after the power cut."""
    write(disk.path / "empty", b"content", synced=False)
    sync(disk.path)
    assert (disk.path / "empty").read_bytes() == b"content"
    disk.cut_power()
    assert (disk.path / "empty").read_bytes() == b""


def test_an_unsynced_name_is_lost(disk: Disk) -> None:
    """A synced file whose directory was not synced is gone after the power cut."""
    write(disk.path / "nameless", b"content", synced=True)
    disk.cut_power()
    assert names(disk.path) == []


def test_an_unsynced_rename_is_undone(disk: Disk) -> None:
    """A rename is undone unless both directories were synced; the content stays what was synced."""
    for folder in ("from", "to"):
        (disk.path / folder).mkdir()
    write(disk.path / "from" / "file", b"content", synced=True)
    sync(disk.path / "from")
    sync(disk.path)
    (disk.path / "from" / "file").rename(disk.path / "to" / "file")
    disk.cut_power()
    assert (disk.path / "from" / "file").read_bytes() == b"content"
    assert names(disk.path / "to") == []


def test_a_synced_rename_survives(disk: Disk) -> None:
    """A rename over another file inside one synced directory survives with the synced content."""
    write(disk.path / "old", b"old", synced=True)
    write(disk.path / "new", b"new", synced=True)
    (disk.path / "new").rename(disk.path / "old")
    sync(disk.path)
    disk.cut_power()
    assert names(disk.path) == ["old"]
    assert (disk.path / "old").read_bytes() == b"new"


def test_an_unsynced_unlink_is_undone(disk: Disk) -> None:
    """A file that was unlinked without a sync of its directory is back after the power cut."""
    write(disk.path / "file", b"content", synced=True)
    sync(disk.path)
    (disk.path / "file").unlink()
    disk.cut_power()
    assert (disk.path / "file").read_bytes() == b"content"


def test_an_unsynced_folder_takes_its_synced_content_along(disk: Disk) -> None:
    """Syncing a file and its directory does not make the directory's own name durable."""
    (disk.path / "folder").mkdir()
    write(disk.path / "folder" / "file", b"content", synced=True)
    sync(disk.path / "folder")
    disk.cut_power()
    assert names(disk.path) == []


def test_an_overwritten_and_a_truncated_file_return_to_the_last_sync(disk: Disk) -> None:
    """Writes over synced content, and a truncation, are undone when they were not synced."""
    write(disk.path / "file", b"first content", synced=True)
    sync(disk.path)
    descriptor = os.open(disk.path / "file", os.O_RDWR)
    os.pwrite(descriptor, b"LATER", 2)
    os.ftruncate(descriptor, 7)
    assert os.pread(descriptor, 99, 0) == b"fiLATER"
    os.close(descriptor)
    disk.cut_power()
    assert (disk.path / "file").read_bytes() == b"first content"


def test_the_kernel_may_have_written_names_or_contents_back(disk: Disk) -> None:
    """The two other kinds of power cut keep every name, or every content under a synced name."""
    write(disk.path / "file", b"old", synced=True)
    sync(disk.path)
    write(disk.path / "file", b"newer", synced=False)
    write(disk.path / "other", b"other", synced=False)
    disk.cut_power(Survivors.NAMES)
    assert names(disk.path) == ["file", "other"]
    assert (disk.path / "file").read_bytes() == b"old"
    write(disk.path / "file", b"newer", synced=False)
    write(disk.path / "third", b"third", synced=False)
    disk.cut_power(Survivors.CONTENTS)
    assert names(disk.path) == ["file", "other"]
    assert (disk.path / "file").read_bytes() == b"newer"


def test_an_open_file_outlives_its_name(disk: Disk) -> None:
    """A file can be read, written and truncated through its descriptor after its name is gone."""
    descriptor = os.open(disk.path / "file", os.O_CREAT | os.O_RDWR)
    (disk.path / "file").unlink()
    os.pwrite(descriptor, b"content", 0)
    os.ftruncate(descriptor, 4)
    assert os.pread(descriptor, 99, 0) == b"cont"
    assert names(disk.path) == []
    os.close(descriptor)


def test_locks_and_shared_memory_work(disk: Disk) -> None:
    """A lock (flock) excludes a second descriptor, and two shared mappings of a file see each other's writes."""
    path = disk.path / "file"
    write(path, bytes(8192), synced=True)
    with path.open("r+b") as first, path.open("r+b") as second:
        fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(BlockingIOError):
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with mmap.mmap(first.fileno(), 8192) as one, mmap.mmap(second.fileno(), 8192) as other:
            one[4096] = 7
            assert other[4096] == 7


def test_sqlite_keeps_its_promise_on_it(disk: Disk) -> None:
    """A commit in WAL mode with synchronous=FULL survives, an open transaction and synchronous=OFF do not."""
    path = disk.path / "test.db"
    database = apsw.Connection(str(path))
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE entry (name TEXT)")
    database.execute("INSERT INTO entry VALUES ('committed')")
    database.execute("PRAGMA synchronous=OFF")
    database.execute("INSERT INTO entry VALUES ('unsynced')")
    database.execute("BEGIN IMMEDIATE")
    database.execute("INSERT INTO entry VALUES ('open')")
    disk.cut_power()
    with apsw.Connection(str(path)) as survivor:
        assert list(survivor.execute("SELECT name FROM entry")) == [("committed",)]
        assert list(survivor.execute("PRAGMA integrity_check")) == [("ok",)]
    survivor.close()
