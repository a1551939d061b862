"""The driver suite, uploads: append, digest, commit, abort. Every store passes it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from storage.blobstore import BlobStore, UploadBusy, UploadMissing, UploadState
from storage.digest import ALGORITHMS, Digest
from tests.storage.conftest import Driver
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


async def test_appended_pieces_are_one_content(blob_store: BlobStore) -> None:
    """Pieces of any size, in several appends, become one blob in their order."""
    parts = [b"a", make_content(3 * MIB + 5), b"", b"bc", make_content(70_000, "more")]
    upload = await blob_store.append(UploadState("key", 0), pieces(*parts[:3]))
    upload = await blob_store.append(upload, pieces(*parts[3:]))
    await blob_store.commit(upload)
    content = b"".join(parts)
    assert upload.offset == len(content)
    assert await read_blob(blob_store, "key", len(content)) == content


async def test_append_of_nothing_changes_nothing(blob_store: BlobStore) -> None:
    """An append without a byte returns the upload as it was."""
    upload = await blob_store.append(UploadState("key", 0), pieces(b"abc"))
    assert await blob_store.append(upload, pieces()) == upload
    assert await blob_store.append(upload, pieces(b"")) == upload
    await blob_store.commit(upload)
    assert await read_blob(blob_store, "key", 3) == b"abc"


@pytest.mark.parametrize("written", [0, 10, 3 * MIB])
async def test_torn_append_leaves_the_upload_as_it_was(blob_store: BlobStore, written: int) -> None:
    """When the content raises, the error comes out, and the upload goes on from its old offset."""
    before = await blob_store.append(UploadState("key", 0), pieces(b"begin "))
    with pytest.raises(ConnectionLostError):
        await blob_store.append(before, torn(make_content(written)))
    assert await blob_store.digest(before, "sha256") == Digest.of(b"begin ")
    upload = await blob_store.append(before, pieces(b"end"))
    assert await blob_store.digest(upload, "sha256") == Digest.of(b"begin end")
    await blob_store.commit(upload)
    assert await read_blob(blob_store, "key", 9) == b"begin end"


async def test_torn_first_append_can_be_repeated(blob_store: BlobStore) -> None:
    """An upload whose first append tore is as good as new."""
    with pytest.raises(ConnectionLostError):
        await blob_store.append(UploadState("key", 0), torn(make_content(2 * MIB)))
    upload = await blob_store.append(UploadState("key", 0), pieces(b"whole"))
    assert await blob_store.digest(upload, "sha256") == Digest.of(b"whole")
    await blob_store.commit(upload)


@pytest.mark.parametrize("is_elsewhere", [False, True])
async def test_append_writes_over_what_was_not_recorded(
    blob_store: BlobStore, driver: Driver, is_elsewhere: bool
) -> None:
    """Two appends from one offset, as after a crash before the offset was recorded: the later one counts."""
    recorded = await blob_store.append(UploadState("key", 0), pieces(b"kept "))
    await blob_store.append(recorded, pieces(b"forgotten, and longer"))
    store = driver.connect() if is_elsewhere else blob_store
    upload = await store.append(recorded, pieces(b"new"))
    assert await store.digest(upload, "sha256") == Digest.of(b"kept new")
    await store.commit(upload)
    assert await read_blob(store, "key", 8) == b"kept new"


async def test_commit_leaves_out_what_was_not_recorded(blob_store: BlobStore) -> None:
    """Bytes past the offset never become part of the blob."""
    recorded = await blob_store.append(UploadState("key", 0), pieces(b"kept"))
    await blob_store.append(recorded, pieces(b" and forgotten"))
    assert await blob_store.digest(recorded, "sha256") == Digest.of(b"kept")
    await blob_store.commit(await blob_store.append(recorded, pieces(), is_last=True))
    assert await read_blob(blob_store, "key", 4) == b"kept"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("running", ALGORITHMS)
@pytest.mark.parametrize("is_elsewhere", [False, True])
async def test_digest_is_that_of_the_stored_bytes(
    blob_store: BlobStore, driver: Driver, running: str, algorithm: str, is_elsewhere: bool
) -> None:
    """Whatever algorithm ran along, and wherever, the digest is that of the bytes up to the offset."""
    content = make_content(2 * MIB + 3)
    upload = await blob_store.append(UploadState("key", 0, running), pieces(content[:MIB], content[MIB:]))
    store = driver.connect() if is_elsewhere else blob_store
    assert await store.digest(upload, algorithm) == Digest.of(content, algorithm)
    await store.abort(upload)


async def test_appends_may_alternate_between_processes(blob_store: BlobStore, driver: Driver) -> None:
    """Each append may come to another process; the digest at the end is right in all of them."""
    stores = [blob_store, driver.connect(), driver.connect()]
    upload = UploadState("key", 0)
    for number in range(7):
        upload = await stores[number % 3].append(upload, pieces(f"part {number};".encode()))
    content = b"".join(f"part {number};".encode() for number in range(7))
    assert {await store.digest(upload, "sha256") for store in stores} == {Digest.of(content)}
    await stores[1].commit(upload)
    assert await read_blob(stores[2], "key", len(content)) == content


async def test_second_writer_is_refused_while_the_first_writes(blob_store: BlobStore) -> None:
    """Two appends to one upload at once: one goes on, the other hears UploadBusy, no byte is mixed."""
    is_writing, may_end = asyncio.Event(), asyncio.Event()
    first = asyncio.create_task(
        blob_store.append(UploadState("key", 0), in_two(b"first ", is_writing, may_end, b"writer"))
    )
    await is_writing.wait()
    with pytest.raises(UploadBusy):
        await blob_store.append(UploadState("key", 0), pieces(b"second"))
    may_end.set()
    upload = await first
    assert await blob_store.digest(upload, "sha256") == Digest.of(b"first writer")
    await blob_store.commit(upload)
    assert await read_blob(blob_store, "key", 12) == b"first writer"


async def test_cancelled_writer_makes_room_for_the_next(blob_store: BlobStore) -> None:
    """A writer that is cancelled leaves the upload as it was, and free."""
    is_writing = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield make_content(MIB)
        is_writing.set()
        await asyncio.Event().wait()

    writer = asyncio.create_task(blob_store.append(UploadState("key", 0), endless()))
    await is_writing.wait()
    writer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writer
    upload = await blob_store.append(UploadState("key", 0), pieces(b"next"))
    await blob_store.commit(upload)
    assert await read_blob(blob_store, "key", 4) == b"next"


async def test_commit_twice_is_commit_once(blob_store: BlobStore, driver: Driver) -> None:
    """A commit may be repeated, here and in another process."""
    upload = await blob_store.append(UploadState("key", 0), pieces(b"abc"))
    for store in (blob_store, blob_store, driver.connect()):
        await store.commit(upload)
        assert await read_blob(store, "key", 3) == b"abc"


async def test_upload_without_content_becomes_an_empty_blob(blob_store: BlobStore, driver: Driver) -> None:
    """The blob of no bytes can be committed, with and without an append, and twice."""
    upload = await blob_store.append(UploadState("appended", 0), pieces())
    assert await blob_store.digest(upload, "sha512") == Digest.of(b"", "sha512")
    for key in ("appended", "never"):
        await blob_store.commit(UploadState(key, 0))
        await driver.connect().commit(UploadState(key, 0))
        assert await blob_store.size(key) == 0
        assert await read_blob(blob_store, key, 0) == b""


async def test_commit_that_no_row_followed_can_go_on(blob_store: BlobStore, driver: Driver) -> None:
    """A commit whose row was never written, as after a crash between the two: the upload is where it was."""
    upload = await blob_store.append(UploadState("key", 0), pieces(b"abc"))
    await blob_store.commit(upload)
    store = driver.connect()
    longer = await store.append(upload, pieces(b"def"))
    assert await store.digest(longer, "sha256") == Digest.of(b"abcdef")
    await store.commit(longer)
    assert await read_blob(store, "key", 6) == b"abcdef"


async def test_upload_that_is_begun_again_after_a_commit_that_no_row_followed(
    blob_store: BlobStore, driver: Driver
) -> None:
    """The same content that comes once more, in other pieces, is what is committed."""
    content = make_content(6 * MIB)
    await store_blob(blob_store, "key", content)
    store = driver.connect()
    second = await store.append(UploadState("key", 0), pieces(content[:MIB]))
    second = await store.append(second, pieces(content[MIB:]))
    assert await store.digest(second, "sha256") == Digest.of(content)
    await store.commit(second)
    assert await read_blob(store, "key", len(content)) == content


@pytest.mark.parametrize("stored", [b"", b"fewer"])
@pytest.mark.parametrize("operation", ["append", "digest", "commit"])
async def test_lost_bytes_are_noticed(
    blob_store: BlobStore, driver: Driver, left_over: set[str], stored: bytes, operation: str
) -> None:
    """When fewer bytes are stored than the offset says, as after a power loss, every operation says so."""
    if stored:
        await blob_store.append(UploadState("key", 0), pieces(stored))
        left_over.add("key")
    lost = UploadState("key", 10)
    store = driver.connect()
    operations: dict[str, Callable[[], Awaitable[object]]] = {
        "append": lambda: store.append(lost, pieces(b"more")),
        "digest": lambda: store.digest(lost, "sha256"),
        "commit": lambda: store.commit(lost),
    }
    with pytest.raises(UploadMissing):
        await operations[operation]()
    assert await list_keys(store) == set()


async def test_abort_forgets_the_upload(blob_store: BlobStore) -> None:
    """After an abort nothing is left, a second abort is no error, and an append finds nothing to go on from."""
    upload = await blob_store.append(UploadState("key", 0), pieces(b"abc"))
    await blob_store.abort(upload)
    await blob_store.abort(upload)
    await blob_store.abort(UploadState("never", 0))
    with pytest.raises(UploadMissing):
        await blob_store.append(upload, pieces(b"def"))


async def test_abort_takes_what_was_committed_and_never_named(blob_store: BlobStore) -> None:
    """An upload whose commit no row followed can be forgotten, too; no other blob goes with it."""
    upload = await blob_store.append(UploadState("key", 0), pieces(b"abc"))
    await blob_store.commit(upload)
    await store_blob(blob_store, "kex", b"abc")
    await blob_store.abort(upload)
    assert await list_keys(blob_store) == {"kex"}


async def test_uploads_do_not_meet(blob_store: BlobStore) -> None:
    """Many uploads at once, of the same content too, each become their own blob."""

    async def push(key: str, content: bytes) -> None:
        upload = UploadState(key, 0)
        for start in range(0, len(content), 100_000):
            upload = await blob_store.append(upload, pieces(content[start : start + 100_000]))
        assert await blob_store.digest(upload, "sha256") == Digest.of(content)
        await blob_store.commit(upload)

    contents = {f"k{number}": make_content(300_000, str(number % 3)) for number in range(12)}
    await asyncio.gather(*(push(key, content) for key, content in contents.items()))
    assert await list_keys(blob_store) == set(contents)
    for key, content in contents.items():
        assert await read_blob(blob_store, key, len(content)) == content
