"""What only the filesystem driver has: its layout, descriptors, threads, syncs and marker."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage.blobstore import BlobMissing, ForeignStore, StoreFull, UploadBusy, UploadMissing, UploadState
from storage.digest import Digest
from storage.filesystem import FilesystemBlobStore
from storage.reserve import require_room
from tests.storage.content import (
    MIB,
    ConnectionLostError,
    in_two,
    list_keys,
    make_content,
    pieces,
    read_blob,
    store_blob,
    torn,
)

pytestmark = pytest.mark.anyio

PROJECT = Path(__file__).parents[2]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FilesystemBlobStore]:
    """A store with a single thread, so that one occupied thread is all of them."""
    opened = FilesystemBlobStore(tmp_path / "blobs", threads=1)
    await opened.bind("one", is_populated=False)
    yield opened
    opened.close()


class Occupation:
    """Keeps the store's only thread busy from construction to `end`."""

    def __init__(self, store: FilesystemBlobStore) -> None:
        self._may_end = threading.Event()
        self._future = store._threads.submit(self._may_end.wait, 30)

    def end(self) -> None:
        self._may_end.set()
        assert self._future.result(30)


def open_descriptors() -> dict[str, str]:
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            found[entry.name] = str(entry.readlink())
    return found


async def turns(number: int = 20) -> None:
    """Let everything in the event loop that can go on go on."""
    for _ in range(number):
        await asyncio.sleep(0)


async def test_layout(store: FilesystemBlobStore, tmp_path: Path) -> None:
    """An upload is `uploads/KEY`, a blob `data/KK/KEY`, the marker `.entrepot`, and there is nothing else."""
    await store_blob(store, "abcd", b"blob")
    await store.append(UploadState("efgh", 0), pieces(b"upload"))
    root = tmp_path / "blobs"
    files = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    marker = files.pop(".entrepot")
    assert files == {"data/ab/abcd": b"blob", "uploads/efgh": b"upload"}
    assert json.loads(marker) == {"instance": "one", "format": 1}


async def test_torn_append_takes_no_room(store: FilesystemBlobStore, tmp_path: Path) -> None:
    """The bytes of a torn append are given back at once, not at the next append."""
    upload = await store.append(UploadState("key", 0), pieces(b"abc"))
    with pytest.raises(ConnectionLostError):
        await store.append(upload, torn(make_content(3 * MIB)))
    assert (tmp_path / "blobs/uploads/key").stat().st_size == 3


async def test_running_hashes_are_bounded(store: FilesystemBlobStore) -> None:
    """However many uploads are open, the store keeps a bounded number of hashes, and every digest stays right."""
    uploads = [await store.append(UploadState(f"{n:04}", 0), pieces(f"{n}".encode())) for n in range(1100)]
    assert len(store._hashes) == 1024
    for number in (0, 1, 500, 1099):
        assert await store.digest(uploads[number], "sha256") == Digest.of(f"{number}".encode())


def test_full_store_says_so_and_loses_nothing(tmp_path: Path) -> None:
    """Without room an append raises StoreFull, gives its bytes back, and the upload goes on when there is room."""
    command = [sys.executable, "-m", "tests.storage.full_store", str(tmp_path / "blobs")]
    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {
        "first": "full",
        "size_afterwards": MIB,
        "has_old_digest": True,
        "is_whole": True,
    }


@pytest.mark.parametrize("times", [1, 2, 5])
async def test_cancelled_append_waits_for_its_thread(store: FilesystemBlobStore, times: int) -> None:
    """Cancelled in the middle of a write, however often, an append closes its file after the write, and only once."""
    before = open_descriptors()
    upload = await store.append(UploadState("key", 0), pieces(b"abc"))
    is_written = asyncio.Event()
    content = make_content(MIB)

    async def two_batches() -> AsyncIterator[bytes]:
        yield content
        is_written.set()
        yield content

    writer = asyncio.create_task(store.append(upload, two_batches()))
    await is_written.wait()
    occupation = Occupation(store)
    await turns()
    for _ in range(times):
        writer.cancel()
        await turns()
    assert not writer.done(), "its thread has not written yet"
    occupation.end()
    with pytest.raises(asyncio.CancelledError):
        await writer
    assert open_descriptors() == before
    upload = await store.append(upload, pieces(b"def"))
    assert await store.digest(upload, "sha256") == Digest.of(b"abcdef")


async def test_append_cancelled_while_it_opens_leaves_nothing_open(store: FilesystemBlobStore) -> None:
    """Cancelled before its file is open, an append closes it all the same: nobody is locked out."""
    before = open_descriptors()
    occupation = Occupation(store)
    writer = asyncio.create_task(store.append(UploadState("key", 0), pieces(b"abc")))
    await turns()
    writer.cancel()
    await turns()
    occupation.end()
    with pytest.raises(asyncio.CancelledError):
        await writer
    assert open_descriptors() == before
    await store_blob(store, "key", b"next")


async def test_errors_leave_nothing_open(store: FilesystemBlobStore) -> None:
    """After operations that fail no descriptor stays open."""
    await store_blob(store, "blob", b"abc")
    before = open_descriptors()
    for upload in (UploadState("absent", 5), UploadState("blob", 99)):
        with pytest.raises(UploadMissing):
            await store.append(upload, pieces(b"more"))
        with pytest.raises(UploadMissing):
            await store.commit(upload)
    with pytest.raises(ConnectionLostError):
        await store.append(UploadState("torn", 0), torn(b"abc"))
    with pytest.raises(BlobMissing):
        await store.open("blob", 7)
    assert open_descriptors() == before


async def test_second_writer_elsewhere_is_refused_while_the_first_writes(
    store: FilesystemBlobStore, tmp_path: Path
) -> None:
    """Another process hears UploadBusy, too, and no byte is mixed."""
    is_writing, may_end = asyncio.Event(), asyncio.Event()
    content = in_two(b"first ", is_writing, may_end, b"writer")
    first = asyncio.create_task(store.append(UploadState("key", 0), content))
    await is_writing.wait()
    second = FilesystemBlobStore(tmp_path / "blobs", threads=4)
    with pytest.raises(UploadBusy):
        await second.append(UploadState("key", 0), pieces(b"second"))
    may_end.set()
    upload = await first
    assert await second.digest(upload, "sha256") == Digest.of(b"first writer")
    await second.commit(upload)
    assert await read_blob(second, "key", 12) == b"first writer"
    second.close()


async def test_upload_that_is_begun_again_takes_the_place_of_a_commit_that_no_row_followed(
    store: FilesystemBlobStore,
) -> None:
    """What came last under a key is what is committed, also where another content of the same size was before."""
    await store_blob(store, "key", b"before")
    second = await store.append(UploadState("key", 0), pieces(b"behind"))
    assert await store.digest(second, "sha256") == Digest.of(b"behind")
    await store.commit(second)
    assert await read_blob(store, "key", 6) == b"behind"


@pytest.mark.parametrize("failing", [1, 2])
async def test_failed_sync_is_never_tried_again(
    store: FilesystemBlobStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failing: int
) -> None:
    """When a sync of the file (1) or of its name (2) fails, the upload is gone: a second commit cannot succeed."""
    await store_blob(store, "ke", b"makes the folder")
    upload = await store.append(UploadState("key", 0), pieces(b"abc"))
    calls, sync = [], os.fsync

    def fail_once(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == failing:
            raise OSError(5, "Input/output error")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fail_once)  # the kernel's failure, which no disk here can be asked for
    with pytest.raises(OSError, match="Input/output error"):
        await store.commit(upload)
    with pytest.raises(UploadMissing):
        await store.commit(upload)
    assert [path.name for path in (tmp_path / "blobs").rglob("ke*") if path.is_file()] == ["ke"]


async def test_steps_of_a_commit(tmp_path: Path) -> None:
    """The kill points of append and commit come in their order, each where its comment says."""
    root = tmp_path / "blobs"
    seen: list[tuple[str, bool, bool]] = []

    def reach(point: str) -> None:
        seen.append((point, (root / "uploads/key").exists(), (root / "data/ke/key").exists()))

    store = FilesystemBlobStore(root, reach=reach)
    await store.bind("one", is_populated=False)
    await store.commit(await store.append(UploadState("key", 0), pieces(b"abc")))
    assert seen == [
        ("append.created", True, False),
        ("append.written", True, False),
        ("folder.made", True, False),
        ("append.created", True, False),
        ("commit.synced", True, False),
        ("commit.renamed", False, True),
        ("commit.done", False, True),
    ]
    assert await read_blob(store, "key", 3) == b"abc"
    store.close()


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "\0"])
async def test_damaged_marker_is_refused(store: FilesystemBlobStore, tmp_path: Path, text: str) -> None:
    """A marker that cannot be read is somebody's: the store is refused and the marker stays as it is."""
    marker = tmp_path / "blobs/.entrepot"
    marker.write_text(text)
    with pytest.raises(ForeignStore, match="damaged"):
        await store.bind("one", is_populated=False)
    assert marker.read_text() == text


async def test_other_format_is_refused(store: FilesystemBlobStore, tmp_path: Path) -> None:
    """A store of a later format is refused, not written to."""
    (tmp_path / "blobs/.entrepot").write_text('{"instance": "one", "format": 2}')
    with pytest.raises(ForeignStore, match="format 2"):
        await store.bind("one", is_populated=False)


async def test_blobs_without_marker_are_refused(store: FilesystemBlobStore, tmp_path: Path) -> None:
    """Blobs that nobody has marked belong to somebody: an empty database does not take them over."""
    await store_blob(store, "key", b"abc")
    (tmp_path / "blobs/.entrepot").unlink()
    with pytest.raises(ForeignStore, match="no marker"):
        await store.bind("one", is_populated=False)


async def test_servers_of_one_registry_meet_at_an_empty_place(store: FilesystemBlobStore) -> None:
    """What one of them has stored since another one looked for the marker is nobody else's."""
    await store_blob(store, "key", b"abc")
    store._refuse_unmarked("one", is_populated=False)
    with pytest.raises(ForeignStore, match="another registry"):
        store._refuse_unmarked("two", is_populated=False)


@pytest.mark.usefixtures("store")
async def test_claim_makes_lost_folders(tmp_path: Path) -> None:
    """A backup may have left out what was empty: the next start makes the folders again."""
    (tmp_path / "blobs/uploads").rmdir()
    (tmp_path / "blobs/data").rmdir()
    again = FilesystemBlobStore(tmp_path / "blobs")
    await again.bind("one", is_populated=False)
    await again.probe()
    await store_blob(again, "key", b"abc")
    again.close()


async def test_stray_files_are_unknown_keys(store: FilesystemBlobStore, tmp_path: Path) -> None:
    """A file where a folder belongs is listed by its name, and so is what comes behind it."""
    await store_blob(store, "key", b"abc")
    (tmp_path / "blobs/data/a").touch()
    assert await list_keys(store) == {"a", "key"}


async def test_other_errors_come_out_as_they_are(store: FilesystemBlobStore, tmp_path: Path) -> None:
    """Only a full disk is named a full store."""
    (tmp_path / "blobs/uploads").rmdir()
    (tmp_path / "blobs/uploads").write_text("a file where a folder was")
    with pytest.raises(NotADirectoryError):
        await store.append(UploadState("key", 0), pieces(b"abc"))


async def test_digest_is_of_the_file_as_it_is_now(store: FilesystemBlobStore, tmp_path: Path) -> None:
    """Bytes that changed in place change the digest."""
    await store_blob(store, "key", b"abc")
    (tmp_path / "blobs/data/ke/key").write_bytes(b"abd")
    assert await store.digest_stored("key", "sha256") == Digest.of(b"abd")


async def test_cancelled_digest_ends_with_its_piece(store: FilesystemBlobStore, tmp_path: Path) -> None:
    """Cancelled, the digest of a blob that takes hours ends after a few of its bytes, and closes its file."""
    await store_blob(store, "key", b"begin")
    with (tmp_path / "blobs/data/ke/key").open("r+b") as file:
        file.truncate(1 << 40)
    before = open_descriptors()
    reading = asyncio.create_task(store.digest_stored("key", "sha256"))
    while open_descriptors() == before:  # noqa: ASYNC110 - a descriptor has no event
        await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert open_descriptors() == before


def test_reserve_is_a_share_of_the_volume(tmp_path: Path) -> None:
    """Of a small volume a twentieth is kept, of a large one 256 MiB, and what is about to be added counts."""
    space = os.statvfs(tmp_path)
    free = space.f_bavail * space.f_frsize
    kept = min(space.f_blocks * space.f_frsize // 20, 256 * MIB)
    slack = 64 * MIB  # others write to the volume as well
    require_room(tmp_path, None, adding=free - kept - slack)
    with pytest.raises(StoreFull, match="must stay free for deletes"):
        require_room(tmp_path, None, adding=free - kept + slack)
    require_room(tmp_path, 0, adding=free - slack)


async def test_reserve_holds_within_one_append(tmp_path: Path) -> None:
    """Each batch asks for room, so an append that began with enough ends when the reserve is reached."""
    space = os.statvfs(tmp_path)
    store = FilesystemBlobStore(tmp_path / "blobs", reserve=space.f_bavail * space.f_frsize - 64 * MIB)
    await store.bind("one", is_populated=False)
    upload = await store.append(UploadState("key", 0), pieces(b"begin"))
    with pytest.raises(StoreFull):
        await store.append(upload, pieces(*[make_content(MIB)] * 512))
    assert (tmp_path / "blobs/uploads/key").stat().st_size == 5
    store.close()


async def test_without_room_only_additions_are_refused(store: FilesystemBlobStore, tmp_path: Path) -> None:
    """A store that has no room but its reserve says so, refuses every byte, and does all the rest."""
    await store_blob(store, "key", b"abc")
    upload = await store.append(UploadState("upload", 0), pieces(b"begin"))
    full = FilesystemBlobStore(tmp_path / "blobs", reserve=1 << 62)
    with pytest.raises(StoreFull):
        await full.probe()
    for state in (upload, UploadState("new", 0)):
        with pytest.raises(StoreFull):
            await full.append(state, pieces(b"more"))
    assert await full.append(upload, pieces()) == upload
    assert await full.digest(upload, "sha256") == Digest.of(b"begin")
    await full.commit(upload)
    assert await read_blob(full, "upload", 5) == b"begin"
    assert await full.digest_stored("key", "sha256") == Digest.of(b"abc")
    await full.delete("key")
    await full.abort(UploadState("new", 0))
    assert await list_keys(store) == {"upload"}
    full.close()


@pytest.mark.parametrize("key", ["../outside", "a/../../outside", "", ".", "a\0b"])
async def test_only_keys_of_ours_are_removed(tmp_path: Path, store: FilesystemBlobStore, key: str) -> None:
    """Whoever brings rows in can name no other file."""
    (tmp_path / "outside").touch()
    for work in (store.delete, store.sweep):
        with pytest.raises(ValueError, match="no storage key"):
            await work(key)
    with pytest.raises(ValueError, match="no storage key"):
        await store.abort(UploadState(key, 0))
    assert (tmp_path / "outside").exists()
