"""Stores that want to hear of every part when an upload is completed, and of no upload that has ended: Ceph RGW is one.

The proxy refuses the first Complete as such a store does, so that any server does for these tests.
"""

from collections.abc import AsyncIterator

import pytest

from storage.blobstore import StoreUnavailable, UploadMissing, UploadState
from storage.digest import Digest
from storage.s3.store import S3BlobStore
from tests.servers.s3_proxy import BROKEN, Answer, S3Proxy
from tests.storage.conftest import Replicas
from tests.storage.content import MIB, ConnectionLostError, make_content, pieces, read_blob, torn
from tests.storage.s3_content import find_uploads, list_objects

pytestmark = pytest.mark.anyio

WANTS_ALL = Answer(400, "InvalidPart")


@pytest.fixture
async def store(replicas: Replicas) -> AsyncIterator[S3BlobStore]:
    """Nothing but the blob is left of what the test pushes."""
    yield replicas.connect()
    assert find_uploads(replicas.place) == set()
    assert set(list_objects(replicas.place)) <= {"data/ke/key"}


async def append(store: S3BlobStore, upload: UploadState, content: bytes) -> UploadState:
    return await store.append(upload, pieces(content), is_streamed=True)


@pytest.mark.parametrize(
    ("sizes", "torn_after"),
    [
        ((5, 6 * MIB), None),  # a small last part, sent again with what follows
        ((5, 6 * MIB), 60 * MIB),  # and what a torn append has sent beyond
        ((13 * MIB, 6 * MIB), 60 * MIB),
        ((13 * MIB,), 60 * MIB),
    ],
)
async def test_parts_that_are_not_named(
    store: S3BlobStore, proxy: S3Proxy, sizes: tuple[int, ...], torn_after: int | None
) -> None:
    """The object is made without them, whether the digest or the commit asks for it first."""
    contents = [make_content(size, str(number)) for number, size in enumerate(sizes)]
    upload = await append(store, UploadState("key", 0), contents[0])
    if torn_after:
        with pytest.raises(ConnectionLostError):
            await store.append(upload, torn(make_content(torn_after, "torn")), is_streamed=True)
    for content in contents[1:]:
        upload = await append(store, upload, content)
    fault = proxy.break_(WANTS_ALL, "CompleteMultipartUpload", times=1)
    whole = b"".join(contents)
    assert await store.digest(upload, "sha512") == Digest.of(whole, "sha512")
    await store.commit(upload)
    assert fault.done == 1
    assert await read_blob(store, "key", len(whole)) == whole


async def test_a_small_end_before_a_surplus_part_is_given_up(store: S3BlobStore, proxy: S3Proxy) -> None:
    """No object can be made of all parts then: the client begins again."""
    upload = await append(store, UploadState("key", 0), make_content(13 * MIB))
    with pytest.raises(ConnectionLostError):
        await store.append(upload, torn(make_content(60 * MIB)), is_streamed=True)
    upload = await store.append(upload, pieces(b"end"), is_last=True)
    proxy.break_(WANTS_ALL, "CompleteMultipartUpload")
    with pytest.raises(UploadMissing):
        await store.commit(upload)
    proxy.heal()
    await store.abort(upload)


async def test_an_upload_that_another_has_completed(store: S3BlobStore, replicas: Replicas, proxy: S3Proxy) -> None:
    """The store says that it has failed, again and again: the object says that it was done."""
    content = make_content(6 * MIB)
    upload = await append(store, UploadState("key", 0), content)
    await replicas.connect().commit(upload)
    proxy.break_(BROKEN, "CompleteMultipartUpload")
    await store.commit(upload)
    assert await read_blob(store, "key", len(content)) == content


async def test_an_upload_that_another_has_aborted(store: S3BlobStore, replicas: Replicas, proxy: S3Proxy) -> None:
    """The client begins again; while the upload is there, it is told to wait."""
    upload = await append(store, UploadState("key", 0), make_content(6 * MIB))
    proxy.break_(BROKEN, "CompleteMultipartUpload")
    with pytest.raises(StoreUnavailable):
        await store.commit(upload)
    await replicas.connect().abort(upload)
    with pytest.raises(UploadMissing):
        await store.commit(upload)
