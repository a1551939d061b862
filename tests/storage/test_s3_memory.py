"""How much memory uploads into S3 take, whatever there are and however slow: the rest waits on the disk."""

import asyncio
import hashlib
import os
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage.blobstore import StoreFull, UploadState
from storage.digest import Digest
from storage.s3.store import S3BlobStore
from tests.storage.conftest import Replicas
from tests.storage.content import MIB, make_content, pieces, read_blob

pytestmark = pytest.mark.anyio

PIECE = make_content(64 << 10)


async def stream(size: int) -> AsyncIterator[bytes]:
    for number in range(size // len(PIECE)):
        yield PIECE
        if not number % 16:
            await asyncio.sleep(0)


async def push(store: S3BlobStore, key: str, size: int) -> None:
    upload = await store.append(UploadState(key, 0), stream(size), is_last=True, is_streamed=True)
    expected = hashlib.sha256()
    for _ in range(size // len(PIECE)):
        expected.update(PIECE)
    assert await store.digest(upload, "sha256") == Digest("sha256", expected.hexdigest())
    await store.commit(upload)


async def test_uploads_at_once_stay_within_the_budget(replicas: Replicas, tmp_path: Path) -> None:
    """Six of 64 MiB at once with 48 MiB for all: each goes through, and memory does not."""
    memory, size = 48 * MIB, 64 * MIB
    store = replicas.connect(memory=memory, spool=tmp_path, threads=16)
    await store.size("warm")  # boto3's own, before it is measured
    tracemalloc.start()
    try:
        await asyncio.gather(*(push(store, f"k{number}", size) for number in range(6)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < memory + 24 * MIB
    assert 32 * MIB < store._means.budget.highest <= memory
    assert store._means.budget.held == 0
    assert {await store.size(f"k{number}") for number in range(6)} == {size}


async def test_an_upload_needs_no_memory_at_all(replicas: Replicas, tmp_path: Path) -> None:
    """With a budget of nothing each part waits on the disk."""
    store, content = replicas.connect(memory=0, spool=tmp_path), make_content(22 * MIB)
    upload = await store.append(UploadState("key", 0), pieces(content[:MIB], content[MIB:]), is_streamed=True)
    assert await store.digest(upload, "sha256") == Digest.of(content)
    upload = await store.append(upload, pieces(b"and more"))
    await store.commit(upload)
    assert await read_blob(store, "key", len(content) + 8) == content + b"and more"
    assert not any(os.scandir(tmp_path))


async def test_slow_clients_do_not_hold_up_others(replicas: Replicas, tmp_path: Path) -> None:
    """Uploads that have filled the memory and do not go on: another one goes through, by way of the disk."""
    store = replicas.connect(memory=16 * MIB, spool=tmp_path)
    is_full, may_end = asyncio.Event(), asyncio.Event()

    async def stuck() -> AsyncIterator[bytes]:
        yield make_content(6 * MIB)
        is_full.set()
        await may_end.wait()

    slow = [asyncio.create_task(store.append(UploadState(f"s{number}", 0), stuck())) for number in range(3)]
    await is_full.wait()
    await push(store, "key", 20 * MIB)
    may_end.set()
    for each in slow:
        await store.abort(await each)


async def test_full_spool_is_a_full_store(replicas: Replicas, tmp_path: Path) -> None:
    """When the disk does not take them either, the client hears that there is no room, and nothing is held."""
    store = replicas.connect(memory=0, spool=tmp_path / "absent")
    with pytest.raises(StoreFull, match="spool"):
        await push(store, "key", MIB)
    assert store._means.budget.held == 0


async def test_ends_of_uploads_are_remembered_within_bounds(replicas: Replicas) -> None:
    """However many uploads pause after a small chunk, what is kept of them is an eighth of the memory."""
    store = replicas.connect(memory=8 * MIB)
    uploads = [
        await store.append(UploadState(f"{number:02}", 0), pieces(make_content(300_000, str(number))), is_streamed=True)
        for number in range(10)
    ]
    assert store._means.ends._size <= MIB
    for number in (0, 9):
        content = make_content(300_000, str(number)) + b"more"
        upload = await store.append(uploads[number], pieces(b"more"))
        assert await store.digest(upload, "sha256") == Digest.of(content)
        await store.commit(upload)
        assert await read_blob(store, upload.key, len(content)) == content
