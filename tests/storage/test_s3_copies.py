"""Copies inside of the S3 server: objects of others become blobs, and no byte of them passes here."""

from collections import Counter
from dataclasses import replace

import pytest

from storage.blobstore import StoreUnavailable, UploadState
from storage.digest import Digest
from storage.s3.place import S3Object
from storage.s3.store import S3BlobStore
from tests.servers.s3_proxy import SLOW_DOWN, Answer, Deed, Lose, S3Proxy
from tests.storage.conftest import Replicas
from tests.storage.content import MIB, make_content, read_blob
from tests.storage.s3_content import connect, find_uploads, list_objects

pytestmark = pytest.mark.anyio

SMALL, LARGE = make_content(3 * MIB), make_content(13 * MIB)
DENIED, UNKNOWN = Answer(403, "AccessDenied"), Answer(501, "NotImplemented")


@pytest.fixture
async def store(replicas: Replicas, proxy: S3Proxy) -> S3BlobStore:
    """Bound and empty; it copies at most 5 MiB with one request, and its requests are counted from now on."""
    opened = replicas.connect(most_copied=5 * MIB)
    await opened.bind("one", is_populated=False)
    proxy.forget()
    return opened


def put(store: S3BlobStore, content: bytes) -> S3Object:
    """An object of somebody else in the same bucket."""
    place = store._objects.place
    name = f"{place.prefix}-other/content with a space"
    etag = connect(place.endpoint, place.region).put_object(Bucket=place.bucket, Key=name, Body=content)["ETag"]
    return S3Object(place.bucket, name, len(content), etag.strip('"'))


def left(store: S3BlobStore) -> set[str]:
    """What there is besides the marker."""
    return {name for name in list_objects(store._objects.place) if name != ".entrepot"}


@pytest.mark.parametrize(
    ("content", "requests"),
    [
        (SMALL, {"CopyObject": 1}),
        (
            LARGE,
            {"CreateMultipartUpload": 1, "UploadPartCopy": 2, "HeadObject": 1, "CompleteMultipartUpload": 1},
        ),
    ],
)
async def test_the_server_copies(store: S3BlobStore, proxy: S3Proxy, content: bytes, requests: dict[str, int]) -> None:
    """A small object with one request, a larger one in parts; what is stored then is byte for byte the same."""
    source = put(store, content)
    proxy.forget()
    assert await store.copies.make(source, "key")
    assert proxy.count() == Counter(requests)
    assert await store.digest_stored("key", "sha256") == Digest.of(content)
    assert await read_blob(store, "key", len(content)) == content
    assert find_uploads(store._objects.place) == set()


@pytest.mark.parametrize("content", [SMALL, LARGE])
async def test_copies_have_the_terms_of_the_store(replicas: Replicas, proxy: S3Proxy, content: bytes) -> None:
    """Storage class and encryption are asked for as for any blob, whatever the source has."""
    replicas.place = replace(replicas.place, storage_class="STANDARD_IA", encryption="AES256")
    store = replicas.connect(most_copied=5 * MIB)
    source = put(store, content)
    proxy.break_(UNKNOWN)  # what it is asked for counts; not each server can do it
    assert not await store.copies.make(source, "key")
    asked = next(call for call in proxy.calls if call.operation in ("CopyObject", "CreateMultipartUpload"))
    assert asked.headers["x-amz-storage-class"] == "STANDARD_IA"
    assert asked.headers["x-amz-server-side-encryption"] == "AES256"


@pytest.mark.parametrize("content", [SMALL, LARGE])
async def test_tags_stay_where_they_are(store: S3BlobStore, content: bytes) -> None:
    """A rule of the store's bucket that lets objects expire by a tag does not meet blobs by the tags of a source."""
    source, place = put(store, content), store._objects.place
    client = connect(place.endpoint, place.region)
    client.put_object_tagging(
        Bucket=source.bucket, Key=source.name, Tagging={"TagSet": [{"Key": "keep", "Value": "one-day"}]}
    )
    assert await store.copies.make(source, "key")
    assert client.get_object_tagging(Bucket=place.bucket, Key=place.blob("key"))["TagSet"] == []


@pytest.mark.parametrize(("content", "operation"), [(SMALL, "CopyObject"), (LARGE, "UploadPartCopy")])
@pytest.mark.parametrize("refusal", [DENIED, UNKNOWN])
async def test_a_refusal_is_remembered(
    store: S3BlobStore, proxy: S3Proxy, content: bytes, operation: str, refusal: Deed
) -> None:
    """A server that does not copy is not asked again, and nothing is left of the try."""
    source = put(store, content)
    proxy.break_(refusal, operation)
    assert not await store.copies.make(source, "key")
    assert not store.copies.is_possible
    proxy.forget()
    assert not await store.copies.make(source, "other")
    assert proxy.count() == Counter()
    assert left(store) == set()
    assert find_uploads(store._objects.place) == set()


@pytest.mark.parametrize("content", [SMALL, LARGE])
async def test_another_object_is_not_copied(store: S3BlobStore, content: bytes) -> None:
    """What was replaced or removed since it was looked at is refused; the next one may be copied all the same."""
    source = put(store, content)
    put(store, content[::-1])
    assert not await store.copies.make(source, "key")
    assert not await store.copies.make(replace(source, name=f"{source.name}-gone"), "key")
    assert left(store) == set()
    assert find_uploads(store._objects.place) == set()
    assert await store.copies.make(put(store, content), "key")


async def test_an_empty_object_is_not_copied(store: S3BlobStore, proxy: S3Proxy) -> None:
    """Nothing is asked of the server: there is nothing to save."""
    source = put(store, b"")
    proxy.forget()
    assert not await store.copies.make(source, "key")
    assert store.copies.is_possible
    assert proxy.count() == Counter()


@pytest.mark.parametrize(
    ("content", "operation"),
    [(SMALL, "CopyObject"), (LARGE, "UploadPartCopy"), (LARGE, "CompleteMultipartUpload")],
)
async def test_lost_answers(store: S3BlobStore, proxy: S3Proxy, content: bytes, operation: str) -> None:
    """What was done although nobody heard of it is done again, or found done."""
    source = put(store, content)
    proxy.break_(Lose(), operation, times=1)
    assert await store.copies.make(source, "key")
    assert await store.digest_stored("key", "sha256") == Digest.of(content)
    assert find_uploads(store._objects.place) == set()


@pytest.mark.parametrize(("content", "operation"), [(SMALL, "CopyObject"), (LARGE, "UploadPartCopy")])
async def test_an_outage_is_no_refusal(store: S3BlobStore, proxy: S3Proxy, content: bytes, operation: str) -> None:
    """A server that is overloaded is not asked for more by other means; an abort takes away what there is."""
    source = put(store, content)
    proxy.break_(SLOW_DOWN, operation)
    with pytest.raises(StoreUnavailable):
        await store.copies.make(source, "key")
    assert store.copies.is_possible
    proxy.heal()
    await store.abort(UploadState("key", 0))
    assert left(store) == set()
    assert find_uploads(store._objects.place) == set()


async def test_folders_are_listed_in_pages(store: S3BlobStore) -> None:
    """Each once, however many pages there are, and neither objects nor what is deeper."""
    place = store._objects.place
    client = connect(place.endpoint, place.region)
    for name in ("a/x", "a/y", "b/c/d", "e/f", "g/h", "object"):
        client.put_object(Bucket=place.bucket, Key=f"{place.root}pages/{name}", Body=b"")
    pages = [page async for page in store._objects.list_folders(f"{place.root}pages/", 2)]
    assert [name for page in pages for name in page] == ["a", "b", "e", "g"]
    assert len(pages) > 1
