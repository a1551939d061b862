"""What only the S3 driver has, beside uploads: names, URLs, the marker, reads that break off, terms of new objects."""

import json
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest
import urllib3

from storage.blobstore import BlobMissing, ByteRange, ForeignStore, StoreUnavailable, UploadState
from storage.digest import Digest
from storage.s3.place import S3Place
from storage.s3.store import S3BlobStore
from tests.servers.s3_proxy import Answer, Cut, S3Proxy
from tests.storage.conftest import Replicas
from tests.storage.content import MIB, list_keys, make_content, pieces, read_blob, store_blob
from tests.storage.s3_content import connect, list_objects

pytestmark = pytest.mark.anyio

HOUR = 3_600_000  # milliseconds


class Dial:
    """A clock that stands still until it is turned."""

    def __init__(self) -> None:
        self.now = 1_800_000_000_000

    def __call__(self) -> int:
        return self.now


def put(place: S3Place, name: str, content: bytes) -> None:
    connect(place.endpoint, place.region).put_object(Bucket=place.bucket, Key=f"{place.root}{name}", Body=content)


async def test_layout(replicas: Replicas) -> None:
    """A blob is `data/KK/KEY`, a tail `tails/KEY.N`, the marker `.entrepot`, and there is nothing else."""
    store = replicas.connect()
    await store.bind("one", is_populated=False)
    await store_blob(store, "abcd", b"blob")
    await store.append(UploadState("efgh", 0), pieces(b"upload"))
    assert list_objects(replicas.place) == {".entrepot": 32, "data/ab/abcd": 4, "tails/efgh.0": 6}


@pytest.mark.parametrize("prefix", ["", "a", "a/b/", "/a/"])
def test_names_in_a_prefix(prefix: str) -> None:
    """A prefix ends where the names begin, however it is written; without one there is no empty folder."""
    place = S3Place("bucket", prefix)
    root = f"{prefix.strip('/')}/" if prefix else ""
    assert (place.blob("abcd"), place.tail("abcd", 1)) == (f"{root}data/ab/abcd", f"{root}tails/abcd.1")
    assert place.marker == f"{root}.entrepot"


@pytest.mark.parametrize(
    ("encryption", "expected"),
    [
        ("", {}),
        ("AES256", {"ServerSideEncryption": "AES256"}),
        ("aws:kms", {"ServerSideEncryption": "aws:kms"}),
        (
            "aws:kms:arn:aws:kms:eu-1:1:key/2",
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "arn:aws:kms:eu-1:1:key/2"},
        ),
    ],
)
def test_terms_of_new_objects(encryption: str, expected: dict[str, str]) -> None:
    """Encryption and storage class go with each object that is begun."""
    assert S3Place("bucket", encryption=encryption).terms() == expected
    with_class = S3Place("bucket", encryption=encryption, storage_class="STANDARD_IA")
    assert with_class.terms() == expected | {"StorageClass": "STANDARD_IA"}


async def test_terms_are_sent(replicas: Replicas, proxy: S3Proxy) -> None:
    """With the creation of a multipart upload, with tails and with the marker; not every store knows these terms."""
    replicas.place = replace(replicas.place, storage_class="STANDARD_IA", encryption="AES256")
    store = replicas.connect()
    for operation in ("PutObject", "CreateMultipartUpload"):
        proxy.break_(Answer(400, "InvalidStorageClass"), operation)
    with pytest.raises(StoreUnavailable):
        await store.bind("one", is_populated=False)
    for is_streamed in (False, True):
        with pytest.raises(StoreUnavailable):
            await store.append(UploadState("key", 0), pieces(b"abc"), is_streamed=is_streamed)
    made = [call for call in proxy.calls if call.operation in ("CreateMultipartUpload", "PutObject")]
    assert {call.key.removeprefix(replicas.place.root) for call in made} == {".entrepot", "tails/key.0", "data/ke/key"}
    for call in made:
        assert call.headers["x-amz-storage-class"] == "STANDARD_IA"
        assert call.headers["x-amz-server-side-encryption"] == "AES256"


async def test_located_blob_is_served_by_the_store(replicas: Replicas) -> None:
    """Anybody with the URL GETs the blob, and ranges of it, for an hour."""
    store, content = replicas.connect(), make_content(100_000)
    await store_blob(store, "key", content)
    url = await store.locate("key", len(content))
    assert url
    with urllib3.PoolManager() as pool:
        assert pool.request("GET", url).data == content
        part = pool.request("GET", url, headers={"Range": "bytes=5-9"})
        assert (part.status, part.data) == (206, content[5:10])
        assert pool.request("GET", url.partition("?")[0]).status == 403
    assert parse_qs(urlsplit(url).query)["X-Amz-Expires"] == ["3600"]


async def test_the_same_url_is_given_out_while_half_of_its_time_is_left(place: S3Place) -> None:
    """So that what is between can keep the blob; and no client gets one that is about to end."""
    clock = Dial()
    store = S3BlobStore(place, clock=clock)
    first = await store.locate("key", MIB)
    assert await store.locate("other", MIB) != first
    clock.now += HOUR // 2
    assert await store.locate("key", MIB) == first
    clock.now += 1
    # It is dated by boto3's own clock, whose seconds may not have changed: that it was signed anew shows in the time.
    await store.locate("key", MIB)
    assert store._urls._kept["key"][1] == clock.now + HOUR
    store.close()


async def test_what_is_not_located(place: S3Place) -> None:
    """Small blobs, and all of them when redirects are off."""
    for is_on, size, is_located in ((True, 64 << 10, False), (True, (64 << 10) + 1, True), (False, MIB, False)):
        store = S3BlobStore(replace(place, redirects=is_on))
        assert (await store.locate("key", size) is not None) == is_located
        store.close()


async def test_public_endpoint_is_the_one_in_urls(place: S3Place) -> None:
    """Clients may reach the store by another name than we do."""
    store = S3BlobStore(replace(place, public_endpoint="https://blobs.example.test:9443"))
    url = await store.locate("key", MIB)
    assert url
    assert url.startswith(f"https://blobs.example.test:9443/{place.bucket}/{place.prefix}/data/ke/key?")
    store.close()


@pytest.mark.parametrize("cut", [Cut(0.5), Cut(0.5, is_reset=False), Cut(0)], ids=str)
async def test_a_read_that_breaks_off_is_an_error(replicas: Replicas, proxy: S3Proxy, cut: Cut) -> None:
    """Never a short content that seems whole; what came before is right."""
    store, content = replicas.connect(), make_content(3 * MIB)
    await store_blob(store, "key", content)
    proxy.break_(cut, "GetObject")
    with pytest.raises((OSError, BlobMissing)):
        await read_blob(store, "key", len(content))
    with pytest.raises((OSError, BlobMissing)):
        await store.digest_stored("key", "sha256")
    proxy.heal()
    assert await store.digest_stored("key", "sha256") == Digest.of(content)


async def test_object_that_lost_its_end_is_missing(replicas: Replicas) -> None:
    """A size other than the row's is no blob, also when it changes after it was opened."""
    store = replicas.connect()
    await store_blob(store, "key", b"0123456789")
    blob = await store.open("key", 10)
    put(replicas.place, "data/ke/key", b"012345678")
    with pytest.raises(BlobMissing):
        await store.open("key", 10)
    with pytest.raises(BlobMissing):
        assert [piece async for piece in blob.read(ByteRange(0, 9))]


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"7", b"\0"])
async def test_damaged_marker_is_refused(replicas: Replicas, text: bytes) -> None:
    """A marker that cannot be read is somebody's: the store is refused and the marker stays as it is."""
    put(replicas.place, ".entrepot", text)
    with pytest.raises(ForeignStore, match="damaged"):
        await replicas.connect().bind("one", is_populated=False)
    assert list_objects(replicas.place) == {".entrepot": len(text)}


async def test_other_format_is_refused(replicas: Replicas) -> None:
    """A store of a later format is refused, not written to."""
    put(replicas.place, ".entrepot", json.dumps({"instance": "one", "format": 2}).encode())
    with pytest.raises(ForeignStore, match="format 2"):
        await replicas.connect().bind("one", is_populated=False)


async def test_unmarked_objects_are_refused(replicas: Replicas) -> None:
    """What is below the prefix belongs to somebody: an empty database does not take it over."""
    put(replicas.place, "anything", b"of somebody's")
    with pytest.raises(ForeignStore, match="no marker"):
        await replicas.connect().bind("one", is_populated=False)
    assert set(list_objects(replicas.place)) == {"anything"}


async def test_two_registries_meet_at_an_empty_place(replicas: Replicas, proxy: S3Proxy) -> None:
    """One has marked it between the other's look and its write: the other is refused."""
    await replicas.connect().bind("one", is_populated=False)
    proxy.break_(Answer(404, "NoSuchKey"), "GetObject", times=1)
    proxy.break_(Answer(404, "NoSuchKey"), "ListObjectsV2", times=1)
    with pytest.raises((ForeignStore, StoreUnavailable)):
        await replicas.connect().bind("two", is_populated=False)
    await replicas.connect().verify("one")


async def test_servers_of_one_registry_meet_at_an_empty_place(replicas: Replicas, proxy: S3Proxy) -> None:
    """What one of them has stored since another one looked for the marker is nobody else's."""
    first = replicas.connect()
    await first.bind("one", is_populated=False)
    await store_blob(first, "key", b"abc")
    proxy.break_(Answer(404, "NoSuchKey"), "GetObject", times=1)
    await replicas.connect().bind("one", is_populated=False)
    proxy.break_(Answer(404, "NoSuchKey"), "GetObject", times=1)
    with pytest.raises(ForeignStore, match="another registry"):
        await replicas.connect().bind("two", is_populated=False)


async def test_probe_sees_a_lost_marker(replicas: Replicas) -> None:
    """A bucket that was emptied, or exchanged, is not ready."""
    with pytest.raises(StoreUnavailable, match="gone"):
        await replicas.connect().probe()


async def test_stray_objects_are_unknown_keys(replicas: Replicas) -> None:
    """An object where no key belongs is listed by its name."""
    store = replicas.connect()
    await store_blob(store, "key", b"abc")
    for name in ("data/stray", "data/xx/key", "data/ke/key/deeper"):
        put(replicas.place, name, b"stray")
    assert await list_keys(store) == {"key", "stray", "xx/key", "ke/key/deeper"}
