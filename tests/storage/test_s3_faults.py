"""The store answers with errors, not at all, or with something else: what comes out, and what is left behind."""

import asyncio
import errno
import os
import threading
from dataclasses import replace

import pytest

from storage.blobstore import BlobMissing, ForeignStore, StoreFull, StoreUnavailable, UploadMissing, UploadState
from storage.digest import Digest
from storage.s3.place import S3Place
from storage.s3.store import S3BlobStore
from tests.servers.s3_proxy import BROKEN, SLOW_DOWN, Answer, Deed, Hang, Lose, OtherTag, Refuse, S3Proxy
from tests.storage.conftest import Replicas
from tests.storage.content import MIB, make_content, pieces, read_blob, store_blob
from tests.storage.s3_content import list_multiparts, list_objects

pytestmark = pytest.mark.anyio

CONTENT = make_content(14 * MIB)
CALLS = ("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload")


async def push(store: S3BlobStore, content: bytes = CONTENT) -> UploadState:
    upload = await store.append(UploadState("key", 0), pieces(content), is_last=True, is_streamed=True)
    assert await store.digest(upload, "sha256") == Digest.of(content)
    await store.commit(upload)
    return upload


@pytest.mark.parametrize("deed", [SLOW_DOWN, BROKEN, Refuse(), Lose()], ids=str)
@pytest.mark.parametrize("operation", CALLS)
async def test_a_call_that_fails_once_is_made_again(
    replicas: Replicas, proxy: S3Proxy, operation: str, deed: Deed
) -> None:
    """Whether the store had done it or not."""
    store = replicas.connect()
    fault = proxy.break_(deed, operation, times=1)
    await push(store)
    assert fault.done == 1
    assert await read_blob(store, "key", len(CONTENT)) == CONTENT


@pytest.mark.parametrize("operation", CALLS)
async def test_an_outage_ends_in_an_error(replicas: Replicas, proxy: S3Proxy, operation: str) -> None:
    """After few attempts; and when it is over, the same upload goes on."""
    store = replicas.connect()
    fault = proxy.break_(SLOW_DOWN, operation)
    with pytest.raises(StoreUnavailable):
        await push(store)
    assert fault.done <= 4 * 3  # attempts, of three parts at once
    proxy.heal()
    await push(store)
    assert await read_blob(store, "key", len(CONTENT)) == CONTENT


async def test_an_outage_is_no_storm(replicas: Replicas, proxy: S3Proxy) -> None:
    """The budget of retries is one for all: in the end each call is made once."""
    store = replicas.connect()
    proxy.break_(SLOW_DOWN)
    for _ in range(10):
        await asyncio.gather(*(store.size(f"{number}") for number in range(10)), return_exceptions=True)
    assert len(proxy.calls) <= 100 + 20
    proxy.heal()
    assert await store.size("absent") is None


async def test_a_store_that_nobody_reaches(place: S3Place, replicas: Replicas, proxy: S3Proxy) -> None:
    """The name of the trouble is in the error, for whoever reads it."""
    store = replicas.connect()
    proxy.refuse()
    with pytest.raises(StoreUnavailable, match="does not answer"):
        await store.size("key")
    del place


async def test_complete_that_says_nosuchupload_is_looked_into(replicas: Replicas, proxy: S3Proxy) -> None:
    """The answer to the first Complete was lost, the second one says that the upload is gone: the object counts."""
    store = replicas.connect()
    proxy.break_(Lose(), "CompleteMultipartUpload", times=1)
    proxy.break_(Answer(404, "NoSuchUpload"), "CompleteMultipartUpload", times=1)
    await push(store)
    assert await read_blob(store, "key", len(CONTENT)) == CONTENT


@pytest.mark.parametrize("code", ["NoSuchUpload", "InvalidPart", "EntityTooSmall", "PreconditionFailed"])
async def test_complete_that_finds_no_object(replicas: Replicas, proxy: S3Proxy, code: str) -> None:
    """The client is told to begin again."""
    store = replicas.connect()
    proxy.break_(Answer(404, code), "CompleteMultipartUpload", times=1)
    with pytest.raises(UploadMissing):
        await push(store)
    assert await store.size("key") is None


async def test_error_in_the_body_of_200_is_an_error(replicas: Replicas, proxy: S3Proxy) -> None:
    """It is tried again, and when it does not end, the commit has failed."""
    store = replicas.connect()
    fault = proxy.break_(Answer(200, "InternalError"), "CompleteMultipartUpload")
    with pytest.raises(StoreUnavailable):
        await push(store)
    assert fault.done == 4
    proxy.heal()
    assert await store.size("key") is None


async def test_part_with_another_etag_is_not_ours(replicas: Replicas, proxy: S3Proxy) -> None:
    """The store knows no part of that name: the client begins again."""
    store = replicas.connect()
    proxy.break_(OtherTag(), "UploadPart", times=1)
    with pytest.raises(UploadMissing):
        await push(store)
    assert await store.size("key") is None


async def test_other_etag_is_read_back(replicas: Replicas, proxy: S3Proxy) -> None:
    """It proves nothing, so the object's bytes do."""
    store = replicas.connect()
    proxy.break_(Lose(), "CompleteMultipartUpload", times=1)
    proxy.break_(Answer(404, "NoSuchUpload"), "CompleteMultipartUpload", times=1)
    fault = proxy.break_(OtherTag(), "HeadObject", times=1)
    await push(store)
    assert fault.done == 1
    assert proxy.count()["GetObject"] == 1
    assert await read_blob(store, "key", len(CONTENT)) == CONTENT


async def test_store_that_knows_no_conditions(replicas: Replicas, proxy: S3Proxy) -> None:
    """It is asked once, and then as it likes to be."""
    store = replicas.connect()
    proxy.break_(Answer(501, "NotImplemented"), "CompleteMultipartUpload", times=1)
    await push(store)
    assert await read_blob(store, "key", len(CONTENT)) == CONTENT
    await store_blob(store, "other", b"abc")
    asked = [call.headers for call in proxy.calls if call.operation == "CompleteMultipartUpload"]
    assert ["if-none-match" in headers for headers in asked] == [True, False, False]


async def test_several_servers_need_conditions(replicas: Replicas, proxy: S3Proxy) -> None:
    """A late completion would replace what another server has recorded: a store without them is refused."""
    replicas.place = replace(replicas.place, is_shared=True)
    store = replicas.connect()
    await store.bind("one", is_populated=False)
    await store.bind("one", is_populated=True)
    assert not list_multiparts(replicas.place)
    upload = await store.append(UploadState("key", 0), pieces(CONTENT), is_last=True, is_streamed=True)
    proxy.break_(Answer(501, "NotImplemented"), "CompleteMultipartUpload")
    with pytest.raises(StoreUnavailable):
        await store.commit(upload)
    with pytest.raises(ForeignStore, match="If-None-Match"):
        await store.bind("one", is_populated=True)
    await store.abort(upload)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(403, "AccessDenied"), "denies access"),
        (Answer(403, "InvalidAccessKeyId"), "does not know the access key"),
        (Answer(403, "SignatureDoesNotMatch"), "secret key"),
        (Answer(403, "RequestTimeTooSkewed"), "clock of this machine"),
        (Answer(400, "ExpiredToken"), "expired"),
        (Answer(404, "NoSuchBucket"), "bucket does not exist"),
        (Answer(301, "PermanentRedirect"), "ENTREPOT_S3_REGION"),
    ],
    ids=str,
)
async def test_what_an_operator_must_change_is_said(
    replicas: Replicas, proxy: S3Proxy, answer: Answer, said: str
) -> None:
    """In the error's own text."""
    store = replicas.connect()
    proxy.break_(answer)
    with pytest.raises(StoreUnavailable, match=said):
        await push(store)


async def test_missing_bucket_is_no_missing_blob(replicas: Replicas, proxy: S3Proxy) -> None:
    """HEAD does not tell them apart, so a second look is taken: nobody may take all blobs for lost."""
    store = replicas.connect()
    proxy.break_(Answer(404, "NoSuchBucket"))
    with pytest.raises(StoreUnavailable, match="bucket does not exist"):
        await store.size("key")
    with pytest.raises(StoreUnavailable, match="bucket does not exist"):
        await store.open("key", 1)
    with pytest.raises(StoreUnavailable, match="bucket does not exist"):
        await store.digest_stored("key", "sha256")


@pytest.mark.parametrize("answer", [Answer(507, "InsufficientStorage"), Answer(403, "QuotaExceeded")], ids=str)
async def test_full_store_says_so(replicas: Replicas, proxy: S3Proxy, answer: Answer) -> None:
    """A quota is no outage: nothing is tried again, nothing is left behind, and what is there is served."""
    store = replicas.connect()
    await store_blob(store, "there", b"abc")
    fault = proxy.break_(answer, "UploadPart")
    with pytest.raises(StoreFull):
        await push(store)
    assert fault.done <= 3
    assert list_multiparts(replicas.place) == {}
    assert await read_blob(store, "there", 3) == b"abc"


async def test_without_credentials(replicas: Replicas, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator is told what to set."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    with pytest.raises(StoreUnavailable, match="AWS_ACCESS_KEY_ID"):
        await replicas.connect().size("key")


async def test_nobody_waits_for_a_thread_for_ever(replicas: Replicas) -> None:
    """When all threads are taken for longer than a caller's patience, it hears so; later ones are served again."""
    store = replicas.connect(threads=1, patience=0.05)
    may_end, begun = threading.Event(), threading.Event()

    def occupy() -> None:
        begun.set()
        assert may_end.wait(30)

    occupation = asyncio.create_task(store._client.run(occupy))
    while not begun.is_set():  # noqa: ASYNC110 - a thread has no event of the loop
        await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable, match="waiting already") as refused:
        await store.size("key")
    assert refused.value.errno == errno.EBUSY
    may_end.set()
    await occupation
    assert await store.size("key") is None


async def test_a_store_that_hangs_is_not_waited_for(replicas: Replicas, proxy: S3Proxy) -> None:
    """It is silent for too long: that is an outage as well."""
    store = replicas.connect(silence=0.2, attempts=2)
    fault = proxy.break_(Hang(), "HeadObject")
    with pytest.raises(StoreUnavailable, match="does not answer"):
        await store.size("key")
    assert fault.done == 2


@pytest.mark.parametrize("operation", CALLS)
async def test_failed_upload_holds_no_memory(replicas: Replicas, proxy: S3Proxy, operation: str) -> None:
    """Wherever it failed: what it took of the budget is there for others."""
    store = replicas.connect()
    proxy.break_(Answer(403, "AccessDenied"), operation)
    with pytest.raises(StoreUnavailable):
        await push(store)
    assert store._means.budget.held == 0


@pytest.mark.parametrize("progress", ["5f21ea4d", "123", "{}", '{"multipart":1}'])
async def test_foreign_progress_is_a_lost_upload(replicas: Replicas, progress: str) -> None:
    """As a session that was open when the blobs were moved here: the client begins again, and it can be ended."""
    store, upload = replicas.connect(), UploadState("key", 3, progress=progress)
    for work in (store.append(upload, pieces(b"more")), store.digest(upload, "sha256"), store.commit(upload)):
        with pytest.raises(UploadMissing):
            await work
    await store.abort(upload)


async def test_closed_store_answers(replicas: Replicas) -> None:
    """What is asked after the end is an error, not a wait."""
    store = replicas.connect()
    await store_blob(store, "key", b"abc")
    store.close()
    for work in (store.size("key"), push(store), store.open("key", 3)):
        with pytest.raises(StoreUnavailable, match="ends"):
            await work


async def test_failed_abort_does_not_hide_why(replicas: Replicas, proxy: S3Proxy) -> None:
    """The error of the append comes out, with a note; and the next abort of that key finds what was left."""
    store = replicas.connect()
    proxy.break_(Answer(403, "AccessDenied"), "UploadPart")
    denied = proxy.break_(Answer(403, "AccessDenied"), "AbortMultipartUpload")
    with pytest.raises(StoreUnavailable) as refused:
        await push(store)
    assert "could not be aborted" in refused.value.__notes__[0]
    assert denied.done == 1
    proxy.heal()
    await store.abort(UploadState("key", 0))
    assert list_multiparts(replicas.place) == {}
    assert list_objects(replicas.place) == {}


async def test_lost_blob_is_missing(replicas: Replicas) -> None:
    """An object that somebody removed from the bucket."""
    store = replicas.connect()
    upload = await push(store)
    blob = await store.open("key", upload.offset)
    await replicas.connect().delete("key")
    with pytest.raises(BlobMissing):
        await read_blob(store, "key", upload.offset)
    await blob.close()
    with pytest.raises(BlobMissing):
        await store.digest_stored("key", "sha256")
