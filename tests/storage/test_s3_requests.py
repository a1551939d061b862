"""How many requests an upload and a pull cost, counted by a proxy, and that none of them is a listing."""

from collections import Counter

import pytest

from storage.blobstore import UploadState
from storage.s3.store import S3BlobStore
from tests.servers.s3_proxy import S3Proxy
from tests.storage.conftest import Replicas
from tests.storage.content import MIB, ConnectionLostError, make_content, pieces, read_blob, store_blob, torn
from tests.storage.s3_content import list_objects

pytestmark = pytest.mark.anyio

SEEN_TO = {"CreateMultipartUpload": 1, "CompleteMultipartUpload": 1}


@pytest.fixture
async def store(replicas: Replicas, proxy: S3Proxy) -> S3BlobStore:
    """Bound and empty; what it asks for from now on is counted."""
    opened = replicas.connect()
    await opened.bind("one", is_populated=False)
    proxy.forget()
    return opened


@pytest.mark.parametrize(
    ("size", "parts"), [(1, 1), (5 * MIB, 1), (13 * MIB - 1, 1), (13 * MIB, 2), (21 * MIB, 3), (30 * MIB, 4)]
)
@pytest.mark.parametrize("is_in_one_request", [False, True])
async def test_a_blob_costs_its_parts_and_two(
    store: S3BlobStore, proxy: S3Proxy, size: int, parts: int, is_in_one_request: bool
) -> None:
    """Create, parts, Complete: as docker pushes it (POST, PATCH, PUT), and in one request."""
    content = make_content(size)
    upload = await store.append(
        UploadState("key", 0), pieces(content[:100], content[100:]), is_last=is_in_one_request, is_streamed=True
    )
    if not is_in_one_request:
        upload = await store.append(upload, pieces(), is_last=True, is_streamed=True)
    await store.digest(upload, "sha256")
    await store.commit(upload)
    assert proxy.count() == Counter({**SEEN_TO, "UploadPart": parts})


async def test_chunks_that_are_parts_cost_no_more(store: S3BlobStore, proxy: S3Proxy) -> None:
    """With a Content-Range each chunk of 5 MiB or more is a part; the removal of tails that never were is the price."""
    upload = UploadState("key", 0)
    for number in range(3):
        upload = await store.append(upload, pieces(make_content(6 * MIB, str(number))), is_last=number == 2)
    await store.commit(upload)
    assert proxy.count() == Counter({**SEEN_TO, "UploadPart": 3, "DeleteObject": 2})


async def test_tiny_chunks_cost_one_request_each(store: S3BlobStore, proxy: S3Proxy) -> None:
    """Never a part per chunk: each is added to the tail, which is at last the only part."""
    upload = UploadState("key", 0)
    for number in range(20):
        upload = await store.append(upload, pieces(make_content(1000, str(number))))
    await store.commit(upload)
    assert proxy.count() == Counter({**SEEN_TO, "UploadPart": 1, "PutObject": 20, "DeleteObject": 2})
    assert set(list_objects(store._objects.place)) == {".entrepot", "data/ke/key"}


async def test_recorded_parts_are_never_written_over(store: S3BlobStore, proxy: S3Proxy) -> None:
    """What goes on from a last part that was too small has another number: when it tears, the recorded one is there."""
    upload = await store.append(UploadState("key", 0), pieces(b"small"), is_streamed=True)
    with pytest.raises(ConnectionLostError):
        await store.append(upload, torn(make_content(14 * MIB)), is_streamed=True)
    longer = await store.append(upload, pieces(make_content(6 * MIB)), is_streamed=True)
    parts = [call.query["partNumber"] for call in proxy.calls if call.operation == "UploadPart"]
    assert parts == ["1", "2", "2"]
    await store.commit(longer)
    assert await read_blob(store, "key", longer.offset) == b"small" + make_content(6 * MIB)


async def test_tiny_chunks_elsewhere_cost_two(store: S3BlobStore, replicas: Replicas, proxy: S3Proxy) -> None:
    """Another replica has to fetch the tail first."""
    stores = [store, replicas.connect(), replicas.connect()]
    upload = UploadState("key", 0)
    for number in range(12):
        upload = await stores[number % 3].append(upload, pieces(make_content(1000, str(number))))
    assert proxy.count() == Counter({"PutObject": 12, "GetObject": 11})
    await stores[0].abort(upload)


async def test_a_pull_costs_nothing_or_two(store: S3BlobStore, proxy: S3Proxy) -> None:
    """Redirected, the client asks the store and we do not; streamed, the size is checked and the bytes are fetched."""
    content = make_content(100_000)
    await store_blob(store, "key", content)
    proxy.forget()
    assert await store.locate("key", len(content)) is not None
    assert proxy.count() == Counter()
    assert await read_blob(store, "key", len(content)) == content
    assert proxy.count() == Counter({"HeadObject": 1, "GetObject": 1})


async def test_abort_needs_no_listing(store: S3BlobStore, replicas: Replicas, proxy: S3Proxy) -> None:
    """It goes by the id that the session's row has, on any replica."""
    upload = await store.append(UploadState("key", 0), pieces(make_content(6 * MIB)), is_streamed=True)
    proxy.forget()
    await replicas.connect().abort(UploadState("key", 0, progress=upload.progress))
    assert proxy.count() == Counter({"AbortMultipartUpload": 1, "DeleteObject": 1})


async def test_the_store_is_probed_by_one_request(store: S3BlobStore, proxy: S3Proxy) -> None:
    """As often as a load balancer asks."""
    await store.probe()
    assert proxy.count() == Counter({"HeadObject": 1})
