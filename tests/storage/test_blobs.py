"""The driver suite, blobs and the store itself: open, read, size, delete, keys, claim, check. Every store passes it."""

import pytest

from storage.blobstore import BlobMissing, BlobStore, ByteRange, ForeignStore, UploadState
from storage.digest import ALGORITHMS, Digest
from tests.storage.conftest import Driver
from tests.storage.content import MIB, list_keys, make_content, pieces, read_blob, store_blob

pytestmark = pytest.mark.anyio

SIZE = 3 * MIB + 17


@pytest.mark.parametrize(
    ("first", "last"),
    [(0, SIZE - 1), (0, 0), (SIZE - 1, SIZE - 1), (5, 9), (MIB - 1, MIB), (7, 2 * MIB + 7), (SIZE - 18, SIZE - 1)],
)
async def test_range_is_read_to_the_byte(blob_store: BlobStore, first: int, last: int) -> None:
    """A range holds its first and its last byte and all between them."""
    content = make_content(SIZE)
    await store_blob(blob_store, "key", content)
    assert await read_blob(blob_store, "key", SIZE, ByteRange(first, last)) == content[first : last + 1]


async def test_opened_blob_gives_several_ranges(blob_store: BlobStore) -> None:
    """One opened blob can be read again and again, in any order."""
    await store_blob(blob_store, "key", b"0123456789")
    blob = await blob_store.open("key", 10)
    assert blob.size == 10
    for first, last in ((5, 6), (0, 9), (9, 9), (0, 0)):
        found = b"".join([piece async for piece in blob.read(ByteRange(first, last))])
        assert found == b"0123456789"[first : last + 1]
    await blob.close()


async def test_read_past_the_end_is_a_missing_blob(blob_store: BlobStore) -> None:
    """A range that the store cannot fill ends in BlobMissing, never in a short answer."""
    await store_blob(blob_store, "key", b"0123456789")
    with pytest.raises(BlobMissing):
        await read_blob(blob_store, "key", 10, ByteRange(5, 10))


async def test_deleted_blob_is_read_to_its_end(blob_store: BlobStore) -> None:
    """Whoever has opened a blob reads it whole, although it is deleted meanwhile; nobody else opens it."""
    content = make_content(SIZE)
    await store_blob(blob_store, "key", content)
    blob = await blob_store.open("key", SIZE)
    reader = aiter(blob.read(ByteRange(0, SIZE - 1)))
    found = [await anext(reader)]
    await blob_store.delete("key")
    found += [piece async for piece in reader]
    await blob.close()
    assert b"".join(found) == content
    with pytest.raises(BlobMissing):
        await blob_store.open("key", SIZE)


@pytest.mark.parametrize("expected", [0, 9, 11])
async def test_other_size_is_a_missing_blob(blob_store: BlobStore, expected: int) -> None:
    """A blob of another size than the caller knows is not opened."""
    await store_blob(blob_store, "key", b"0123456789")
    with pytest.raises(BlobMissing):
        await blob_store.open("key", expected)


async def test_absent_blob(blob_store: BlobStore) -> None:
    """What is not there has no size, cannot be opened, and can be deleted."""
    assert await blob_store.size("absent") is None
    with pytest.raises(BlobMissing):
        await blob_store.open("absent", 1)
    await blob_store.delete("absent")


async def test_upload_is_no_blob_before_its_commit(blob_store: BlobStore) -> None:
    """Until the commit nobody sees the blob, not even in part."""
    upload = await blob_store.append(UploadState("key", 0), pieces(b"abc"))
    assert await blob_store.size("key") is None
    assert await list_keys(blob_store) == set()
    with pytest.raises(BlobMissing):
        await blob_store.open("key", 3)
    await blob_store.delete("key")
    await blob_store.commit(upload)
    assert await blob_store.size("key") == 3


async def test_keys_are_those_of_all_blobs(blob_store: BlobStore, driver: Driver) -> None:
    """Every committed key is listed once; deleted ones are not."""
    stored = {f"{number:02x}{number}" for number in range(30)}
    for key in stored:
        await store_blob(blob_store, key, key.encode())
    await blob_store.delete("000")
    assert sorted([key async for key in driver.connect().keys()]) == sorted(stored - {"000"})  # noqa: SIM118


async def test_uploads_are_those_that_take_room(blob_store: BlobStore, driver: Driver, left_over: set[str]) -> None:
    """Each upload is listed with its bytes until it is committed or aborted."""
    await store_blob(blob_store, "committed", b"abc")
    await blob_store.abort(await blob_store.append(UploadState("aborted", 0), pieces(b"abc")))
    await blob_store.append(UploadState("open", 0), pieces(b"abcd"))
    left_over.add("open")
    assert [upload async for upload in driver.connect().uploads()] == [("open", 4)]


async def test_delete_takes_one_blob(blob_store: BlobStore) -> None:
    """The same content under another key stays when one is deleted."""
    await store_blob(blob_store, "k1", b"same")
    await store_blob(blob_store, "k2", b"same")
    await blob_store.delete("k1")
    assert await blob_store.size("k1") is None
    assert await read_blob(blob_store, "k2", 4) == b"same"


async def test_fresh_store_can_be_written_to(blob_store: BlobStore) -> None:
    """The check of a store with room passes and leaves nothing behind."""
    await blob_store.probe()
    assert await list_keys(blob_store) == set()


@pytest.mark.parametrize("is_populated", [False, True])
async def test_claim_may_be_repeated(blob_store: BlobStore, driver: Driver, is_populated: bool) -> None:
    """The same registry may claim its store at each start, empty or not."""
    await store_blob(blob_store, "key", b"abc")
    again = driver.connect()
    await again.bind("one", is_populated=is_populated)
    assert await read_blob(again, "key", 3) == b"abc"


async def test_store_of_another_registry_is_refused(blob_store: BlobStore, driver: Driver) -> None:
    """A store that another registry claimed is refused, and stays the other's."""
    await store_blob(blob_store, "key", b"abc")
    for is_populated in (False, True):
        with pytest.raises(ForeignStore):
            await driver.connect().bind("two", is_populated=is_populated)
    await blob_store.bind("one", is_populated=True)


async def test_empty_store_under_a_full_database_is_refused(driver: Driver) -> None:
    """A database that knows of blobs refuses a store without marker, and does not mark it."""
    store = driver.connect()
    for _ in range(2):
        with pytest.raises(ForeignStore):
            await store.bind("one", is_populated=True)
    await store.bind("two", is_populated=False)


async def test_verify_never_claims(driver: Driver) -> None:
    """A command that only reads is told whether the store is this registry's; it never marks one."""
    store = driver.connect()
    for _ in range(2):
        with pytest.raises(ForeignStore):
            await store.verify("one")
    await store.bind("one", is_populated=False)
    await driver.connect().verify("one")
    with pytest.raises(ForeignStore):
        await store.verify("two")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("size", [0, 1, SIZE, 8 * MIB, 8 * MIB + 1])
async def test_digest_of_a_blob_is_that_of_its_bytes(blob_store: BlobStore, size: int, algorithm: str) -> None:
    """A stored blob is read again to its last byte."""
    content = make_content(size)
    await store_blob(blob_store, "key", content)
    assert await blob_store.digest_stored("key", algorithm) == Digest.of(content, algorithm)


async def test_digest_of_what_is_no_blob(blob_store: BlobStore, left_over: set[str]) -> None:
    """An upload is no blob before its commit, and what is not there has no digest."""
    await blob_store.append(UploadState("open", 0), pieces(b"abc"))
    left_over.add("open")
    for key in ("open", "absent"):
        with pytest.raises(BlobMissing):
            await blob_store.digest_stored(key, "sha256")
