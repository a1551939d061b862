"""What an object store may do without a fault of its own (F30 to F32, F38): leave, lose, and show late."""

import asyncio
from pathlib import Path

import pytest

from registry.app import Registry
from registry.garbage import Windows
from storage.s3.client import make_boto
from storage.s3.place import S3Place
from tests import places
from tests.api.content import digest_of, fresh_blob
from tests.api.wire import SECONDS
from tests.cli.running import Server
from tests.outside.client import LARGE, Customer, ask
from tests.outside.conftest import Shop, in_bucket
from tests.servers.s3_proxy import Answer, S3Proxy
from tests.stored import read_rows
from tests.waiting import wait_until

_AT_ONCE = Windows(undelete_days=0, lease=0, settle=0, quiet=0)
LISTINGS = {"ListObjectsV2", "ListMultipartUploads", "ListParts", "CopyObject", "UploadPartCopy"}
_ROUND = 20  # steps of the auditor: more than one round of so few rows and keys takes


@pytest.mark.fault("F30")
def test_f30_parts_that_a_killed_server_left_behind(shop: Shop) -> None:
    """The collector finds them by their key when the session has ended; uploads that are open keep theirs."""
    begun = fresh_blob(LARGE)
    ended, live = (shop.customer.ask("POST", "blobs/uploads/")["Location"] for _ in "12")
    for session in (ended, live):
        assert ask(shop.server, "PATCH", session, body=begun).status == 202
        leave_parts(shop, session)  # begun once more, and killed before the row said so
    assert ask(shop.server, "DELETE", ended).status == 204
    assert len(shop.server.uploads_left()) == 2
    asyncio.run(collect(shop))
    assert shop.server.uploads_left() == [find_key(shop, live)]
    assert ask(shop.server, "PUT", f"{live}?digest={digest_of(begun)}").status == 201
    assert shop.customer.has(begun)


def find_key(shop: Shop, session: str) -> str:
    config = places.make_config(shop.server.folder, **in_bucket(shop.place, shop.store.endpoint))
    [(key,)] = read_rows(config, "SELECT storage_key FROM upload WHERE id = ?", session.rpartition("/")[2])
    return str(key)


def leave_parts(shop: Shop, session: str) -> None:
    api = make_boto(shop.place, shop.place.endpoint, 1)
    bucket, name = shop.place.bucket, shop.place.blob(find_key(shop, session))
    multipart = api.create_multipart_upload(Bucket=bucket, Key=name)["UploadId"]
    api.upload_part(Bucket=bucket, Key=name, UploadId=multipart, PartNumber=1, Body=b"of nobody")
    api.close()


async def collect(shop: Shop) -> None:
    registry = open_registry(shop, _AT_ONCE)
    try:
        await registry.garbage.collect(lambda _: None, ignores_rest=True, waits=False)
    finally:
        registry.close()


@pytest.mark.fault("F33")
def test_f33_a_server_waits_for_a_store_that_is_not_up_yet(tmp_path: Path, place: S3Place, store: S3Proxy) -> None:
    """Started together with its store it says what it waits for, and serves when that is there."""
    log, settings = tmp_path / "log", {"ENTREPOT_STORAGE": f"s3://{place.bucket}/{place.prefix}"}
    store.refuse()
    server = Server(tmp_path / "data", log, ENTREPOT_S3_ENDPOINT=store.endpoint, **settings)
    try:
        wait_until(lambda: '"event": "waiting"' in log.read_text(), "it says that it waits")
        store.heal()
        wait_until(lambda: '"event": "listening"' in log.read_text(), "it serves")
    finally:
        server.program.terminate()
        assert server.program.wait(SECONDS) == 0, log.read_text()


@pytest.mark.fault("F32")
def test_f32_no_request_lists_anything(shop: Shop) -> None:
    """Pushes in all forms, mounts, pulls and removals rely on nothing that a store may show late, or never."""
    customer, other = shop.customer, Customer(shop.server)
    content = customer.store()
    customer.push_image("v1")
    session = customer.ask("POST", "blobs/uploads/")["Location"]
    begun = fresh_blob(LARGE)
    assert ask(shop.server, "PATCH", session, ("Content-Range", f"0-{LARGE - 1}"), body=begun).status == 202
    assert ask(shop.server, "PUT", f"{session}?digest={digest_of(begun)}").status == 201
    assert ask(shop.server, "DELETE", customer.ask("POST", "blobs/uploads/")["Location"]).status == 204
    mount = f"blobs/uploads/?mount={digest_of(content)}&from={customer.repository.name}"
    assert other.ask("POST", mount).status == 201
    assert all(map(customer.has, (content, begun)))
    assert other.has(content)
    assert other.ask("DELETE", f"blobs/{digest_of(content)}").status == 202
    assert not LISTINGS & set(shop.store.count())


@pytest.mark.fault("F32")
@places.only_on("sqlite", "where servers share a database they refuse such a store")
def test_f32_a_store_that_knows_no_conditions(shop: Shop) -> None:
    """Where If-None-Match is not implemented, a push needs it not."""
    shop.store.break_(Answer(501, "NotImplemented"), "CompleteMultipartUpload", times=1)
    assert shop.customer.has(shop.customer.store())
    assert shop.customer.has(shop.customer.store())


@pytest.mark.fault("F38")
def test_f38_rows_without_bytes(shop: Shop) -> None:
    """A bucket that is older than the database: 404 for what it lacks, the rest is served, a new push repairs it."""
    lost, kept = shop.customer.store(), shop.customer.store()
    [key] = [key for key in shop.server.keys_stored() if shop.server.stored.read(key) == lost]
    shop.server.stored.remove(key)
    for method in ("GET", "HEAD"):
        reply = shop.customer.ask(method, f"blobs/{digest_of(lost)}")
        assert (reply.status, reply.code) == (404, "BLOB_UNKNOWN" if method == "GET" else "")
    assert shop.customer.has(kept)
    found = asyncio.run(check(shop))
    assert found == [("missing", digest_of(lost))]
    assert shop.customer.has(shop.customer.store(lost))
    assert asyncio.run(check(shop)) == []


@pytest.mark.fault("F38")
def test_f38_a_short_object_is_never_a_whole_blob(shop: Shop) -> None:
    """An object with fewer bytes than were pushed is one that is missing."""
    content = shop.customer.store()
    [key] = shop.server.keys_stored()
    shop.server.stored.write(key, content[:-1])
    assert shop.customer.ask("GET", f"blobs/{digest_of(content)}").status == 404
    assert shop.customer.has(shop.customer.store(content))


@pytest.mark.fault("F38")
def test_f38_bytes_without_rows(shop: Shop) -> None:
    """A database that is older than the bucket: what it does not know is told, and nobody takes it away."""
    content, stray = shop.customer.store(), "0123456789abcdef0123456789abcdef"
    shop.server.stored.write(stray, b"of yesterday")
    assert ("unknown", "") in asyncio.run(check(shop))
    told = asyncio.run(audit(shop))
    assert any(stray in each for each in told)
    assert stray in shop.server.keys_stored()
    assert shop.customer.has(content)


async def check(shop: Shop) -> list[tuple[str, str]]:
    """What `entrepot check` finds: problem and digest."""
    registry = open_registry(shop)
    try:
        return [(each.problem, each.digest) async for each in registry.check.run(lambda: None)]
    finally:
        registry.close()


async def audit(shop: Shop) -> list[str]:
    """What the auditor tells in a round or more."""
    registry = open_registry(shop)
    try:
        return [each for _ in range(_ROUND) for each in await registry.drift.step()]
    finally:
        registry.close()


def open_registry(shop: Shop, windows: Windows | None = None) -> Registry:
    config = places.make_config(shop.server.folder, **in_bucket(shop.place, shop.store.endpoint))
    return Registry(config, windows=windows)
