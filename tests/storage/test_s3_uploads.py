"""Uploads into S3 that go on at other replicas, tear, freeze, are cancelled, or are committed twice."""

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.blobstore import UploadMissing, UploadState
from storage.digest import Digest
from storage.s3.store import S3BlobStore
from tests.storage.conftest import Replicas
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
from tests.storage.s3_content import find_uploads, list_multiparts, list_objects

pytestmark = pytest.mark.anyio

SIZES = (100, 4 * MIB, 5 * MIB, 7 * MIB, 13 * MIB, 20 * MIB)
KEYS = (f"{number:04}" for number in itertools.count())


async def assert_stored(store: S3BlobStore, upload: UploadState, content: bytes) -> None:
    """The upload is the content: by its digest, and once it is committed by its bytes. Nothing is left over."""
    assert upload.offset == len(content)
    assert await store.digest(upload, "sha256") == Digest.of(content)
    await store.commit(upload)
    assert await read_blob(store, upload.key, len(content)) == content
    assert find_uploads(store._objects.place) == set()


async def begin(store: S3BlobStore, content: bytes, *, is_streamed: bool = False) -> UploadState:
    return await store.append(UploadState("key", 0), pieces(content), is_streamed=is_streamed)


@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize("has_plain_hashes", [False, True])
@pytest.mark.parametrize("size", SIZES)
async def test_any_replica_goes_on(replicas: Replicas, size: int, is_streamed: bool, has_plain_hashes: bool) -> None:
    """Whatever the first append ended with, a tail, a last part that was too small, or a real one."""
    first, more = make_content(size), make_content(6 * MIB + 3, "more")
    upload = await begin(replicas.connect(has_plain_hashes=has_plain_hashes), first, is_streamed=is_streamed)
    store = replicas.connect(has_plain_hashes=has_plain_hashes)
    upload = await store.append(upload, pieces(more), is_last=True, is_streamed=is_streamed)
    await assert_stored(store, upload, first + more)


@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize("size", SIZES)
async def test_the_same_replica_goes_on(replicas: Replicas, size: int, is_streamed: bool) -> None:
    """From what it remembers."""
    store = replicas.connect()
    contents = [make_content(size), make_content(100, "more"), make_content(size, "last")]
    upload = await begin(store, contents[0], is_streamed=is_streamed)
    for content in contents[1:]:
        upload = await store.append(upload, pieces(content), is_streamed=is_streamed)
    await assert_stored(store, upload, b"".join(contents))


async def test_tiny_chunks_in_turn_on_three_replicas(replicas: Replicas) -> None:
    """Chunks that are too small for parts become parts all the same."""
    stores = [replicas.connect() for _ in range(3)]
    chunks = [make_content(700_000, str(number)) for number in range(20)]
    upload = UploadState("key", 0)
    for number, chunk in enumerate(chunks):
        upload = await stores[number % 3].append(upload, pieces(chunk))
    await assert_stored(stores[1], upload, b"".join(chunks))


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    appends=st.lists(
        st.tuples(st.integers(0, 9 * MIB), st.booleans(), st.booleans(), st.integers(0, 1)), min_size=1, max_size=5
    )
)
async def test_any_sequence_of_appends(replicas: Replicas, appends: list[tuple[int, bool, bool, int]]) -> None:
    """Chunks of any size, with and without Content-Range, torn and repeated, here and there, become one content."""
    stores = [replicas.connect(), replicas.connect()]
    upload, content = UploadState(next(KEYS), 0), b""
    for number, (size, is_streamed, is_torn, replica) in enumerate(appends):
        chunk = make_content(size, str(number))
        if is_torn:
            with pytest.raises(ConnectionLostError):
                await stores[replica].append(upload, torn(chunk, b"lost"), is_streamed=is_streamed)
        upload = await stores[replica].append(upload, pieces(chunk), is_streamed=is_streamed)
        content += chunk
    await assert_stored(stores[0], upload, content)


@pytest.mark.parametrize("is_elsewhere", [False, True])
@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize("size", [100, 7 * MIB])
async def test_torn_append_leaves_the_upload_as_it_was(
    replicas: Replicas, size: int, is_streamed: bool, is_elsewhere: bool
) -> None:
    """Also when it tears after parts were sent, and after the upload was reopened for it."""
    first, more = make_content(size), make_content(14 * MIB, "more")
    upload = await begin(replicas.connect(), first, is_streamed=is_streamed)
    store = replicas.connect()
    with pytest.raises(ConnectionLostError):
        await store.append(upload, torn(more, b"lost"), is_streamed=is_streamed)
    store = replicas.connect() if is_elsewhere else store
    assert await store.digest(upload, "sha256") == Digest.of(first)
    upload = await store.append(upload, pieces(more), is_streamed=is_streamed)
    await assert_stored(store, upload, first + more)


@pytest.mark.parametrize("written", [b"", make_content(14 * MIB)])
async def test_torn_first_append_leaves_nothing(replicas: Replicas, written: bytes) -> None:
    """Neither a multipart upload nor a tail."""
    store = replicas.connect()
    with pytest.raises(ConnectionLostError):
        await store.append(UploadState("key", 0), torn(written, b"lost"))
    assert find_uploads(replicas.place) == set()
    assert store._means.budget.held == 0


@pytest.mark.parametrize("when", [1, 14 * MIB])
async def test_cancelled_upload_leaves_nothing(replicas: Replicas, when: int) -> None:
    """No multipart upload, no object, no memory: however far it was."""
    store = replicas.connect()
    is_writing, may_end = asyncio.Event(), asyncio.Event()
    content = in_two(make_content(when), is_writing, may_end, b"")
    writer = asyncio.create_task(store.append(UploadState("key", 0), content, is_streamed=True))
    await is_writing.wait()
    writer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writer
    assert list_objects(replicas.place) == {}
    assert list_multiparts(replicas.place) == {}
    assert store._means.budget.held == 0


async def frozen(first: bytes, second: bytes, is_asleep: asyncio.Event, wake: asyncio.Event) -> AsyncIterator[bytes]:
    yield first
    is_asleep.set()
    await wake.wait()
    yield second


@pytest.mark.parametrize("begun", [100, 13 * MIB])
@pytest.mark.parametrize("is_late_first", [False, True])
async def test_frozen_writer_mixes_no_bytes(replicas: Replicas, begun: int, is_late_first: bool) -> None:
    """A sleeps, B appends to the same upload, A wakes up and sends the same parts: each has its own bytes or none.

    Most stores keep the last one of two parts with one number, and A's are that: who names B's may be refused.
    """
    a, b = replicas.connect(), replicas.connect()
    first = make_content(begun)
    upload = await begin(a, first)
    is_asleep, wake = asyncio.Event(), asyncio.Event()
    late = frozen(make_content(12 * MIB, "A1"), make_content(12 * MIB, "A2"), is_asleep, wake)
    writing = asyncio.create_task(a.append(upload, late))
    await is_asleep.wait()
    of_b = await b.append(upload, pieces(make_content(24 * MIB, "B")))
    wake.set()
    of_a = await writing
    contents = {
        a: first + make_content(12 * MIB, "A1") + make_content(12 * MIB, "A2"),
        b: first + make_content(24 * MIB, "B"),
    }
    won: S3BlobStore | None = None
    for store, state in ((a, of_a), (b, of_b)) if is_late_first else ((b, of_b), (a, of_a)):
        assert await store.digest(state, "sha256") == Digest.of(contents[store])
        try:
            await store.commit(state)
        except UploadMissing:
            assert won is not None or store is b, "the first to commit has its bytes, if its parts are there"
        else:
            assert won is None, "the second to commit changes nothing"
            won = store
    assert won is not None
    assert won is a or not is_late_first
    assert await read_blob(b, "key", len(contents[won])) == contents[won]


async def test_late_tail_is_not_taken_for_the_recorded_one(replicas: Replicas) -> None:
    """A's tail lands on B's: who goes on from B's state hears that it is gone, and never gets A's bytes."""
    upload = await begin(replicas.connect(), b"begin ")
    of_b = await replicas.connect().append(upload, pieces(b"of B"))
    await replicas.connect().append(upload, pieces(b"of A"))
    with pytest.raises(UploadMissing):
        await replicas.connect().append(of_b, pieces(b" more"))
    with pytest.raises(UploadMissing):
        await replicas.connect().commit(of_b)
    assert await list_keys(replicas.connect()) == set()


async def test_late_commit_does_not_touch_what_was_committed(replicas: Replicas) -> None:
    """A has uploaded all and sleeps before its commit, B begins again and commits: A's has no effect, and says so."""
    a, b = replicas.connect(), replicas.connect()
    of_a = await a.append(UploadState("key", 0), pieces(b"of A"), is_last=True, is_streamed=True)
    await store_blob(b, "key", b"of B")
    with pytest.raises(UploadMissing):
        await a.commit(of_a)
    assert await read_blob(b, "key", 4) == b"of B"
    await a.abort(UploadState("other", 0))
    assert list_multiparts(replicas.place) == {}


@pytest.mark.parametrize("size", [100, 7 * MIB])
@pytest.mark.parametrize("is_streamed", [False, True])
async def test_commit_that_no_row_followed_can_go_on(replicas: Replicas, size: int, is_streamed: bool) -> None:
    """The object has all of it: it is taken back, and replaced by the next commit."""
    first, more = make_content(size), make_content(14 * MIB, "more")
    upload = await begin(replicas.connect(), first, is_streamed=is_streamed)
    await replicas.connect().commit(upload)
    store = replicas.connect()
    upload = await store.append(upload, pieces(more), is_streamed=is_streamed)
    await assert_stored(store, upload, first + more)


@pytest.mark.parametrize("has_plain_hashes", [False, True])
@pytest.mark.parametrize("size", [100, 7 * MIB])
async def test_digest_by_another_algorithm_reads_what_is_stored(
    replicas: Replicas, size: int, has_plain_hashes: bool
) -> None:
    """For that the object is made early; a commit finds it made, an abort removes it."""
    content = make_content(size)
    for is_committed in (True, False):
        upload = await begin(replicas.connect(has_plain_hashes=has_plain_hashes), content)
        store = replicas.connect(has_plain_hashes=has_plain_hashes)
        assert await store.digest(upload, "sha512") == Digest.of(content, "sha512")
        assert await store.digest(upload, "sha256") == Digest.of(content)
        if is_committed:
            await store.commit(upload)
            assert await read_blob(store, "key", size) == content
            await store.delete("key")
        else:
            await store.abort(upload)
            assert list_objects(replicas.place) == {}


async def test_unrecorded_uploads_go_with_their_session(replicas: Replicas) -> None:
    """The rows' last state knows nothing of an append that was not recorded: the process that did it does."""
    store = replicas.connect()
    for content in (make_content(6 * MIB), b"a tail"):
        await begin(store, content)
        await store.abort(UploadState("key", 0))
        assert find_uploads(replicas.place) == set()
    for content in (make_content(6 * MIB), make_content(7 * MIB)):
        upload = await begin(store, content)
    await assert_stored(store, upload, make_content(7 * MIB))


async def test_sweep_removes_what_a_killed_server_left(replicas: Replicas) -> None:
    """Multipart uploads and tails that no row names are listed as uploads, and can be removed by their key."""
    await begin(replicas.connect(), make_content(6 * MIB))
    await replicas.connect().append(UploadState("key", 0), pieces(b"a tail"))
    await replicas.connect().append(UploadState("keys", 0), pieces(b"another's"))
    store = replicas.connect()
    assert [each async for each in store.uploads()] == [("key", 6 * MIB + 6), ("keys", 9)]
    await store.sweep("key")
    assert find_uploads(replicas.place) == {"keys"}
