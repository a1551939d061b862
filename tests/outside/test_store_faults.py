"""The object store fails, call by call (F25 to F29 of the table of faults): clients hear what is true, and go on."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from registry.app import Registry
from storage.blobstore import StoreUnavailable
from tests import places
from tests.api.content import digest_of, fresh_blob
from tests.outside.client import LARGE, Customer, ask, assert_unavailable
from tests.outside.conftest import Shop, in_bucket
from tests.servers.s3_proxy import BROKEN, SLOW_DOWN, Answer, Cut, Deed, Lose, OtherTag, Refuse

PUSH = ("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload")
NO_BUCKET = Answer(404, "NoSuchBucket")
_ATTEMPTS = 4  # of one call
_SPARE = 20  # retries of all calls together, before the budget is used up


@pytest.mark.fault("F25")
@pytest.mark.parametrize("deed", [SLOW_DOWN, BROKEN, Refuse()], ids=str)
@pytest.mark.parametrize("operation", PUSH)
def test_f25_a_push_survives_each_call_that_fails_once(shop: Shop, operation: str, deed: Deed) -> None:
    """Whichever call it is, it is made again, and the client hears of nothing."""
    fault = shop.store.break_(deed, operation, times=1)
    content = shop.customer.store()
    assert fault.done == 1
    shop.store.heal()
    assert shop.customer.has(content)
    assert shop.server.uploads_left() == []
    assert len(shop.server.keys_stored()) == 1


@pytest.mark.fault("F25")
@pytest.mark.parametrize("deed", [SLOW_DOWN, BROKEN, Refuse()], ids=str)
def test_f25_a_pull_survives_a_call_that_fails_once(shop: Shop, deed: Deed) -> None:
    """A GET and a HEAD are answered as if nothing had been."""
    content = shop.customer.store()
    for method, operation in (("HEAD", "HeadObject"), ("GET", "GetObject")):
        shop.store.break_(deed, operation, times=1)
        assert shop.customer.ask(method, f"blobs/{digest_of(content)}").status == 200
        shop.store.heal()


@pytest.mark.fault("F25")
def test_f25_every_tenth_call_is_slowed_down(shop: Shop) -> None:
    """A store that refuses a tenth of the calls costs retries, and no client notices."""
    fault = shop.store.break_(SLOW_DOWN, every=10)
    contents = [shop.customer.store() for _ in range(15)]
    assert all(map(shop.customer.has, contents))
    assert fault.done >= 5


@pytest.mark.fault("F25")
def test_f25_an_outage_is_told_and_makes_no_storm(shop: Shop) -> None:
    """Everything that needs the store is 503 with Retry-After, few calls are made, and it ends with the outage."""
    customer, other, content, begun = shop.customer, Customer(shop.server), shop.customer.store(), fresh_blob(LARGE)
    manifest = customer.push_image("v1")
    session = customer.ask("POST", "blobs/uploads/")["Location"]
    assert ask(shop.server, "PATCH", session, body=begun).status == 202
    shop.store.break_(SLOW_DOWN)
    shop.store.forget()
    digest, rounds = digest_of(content), 5
    for _ in range(rounds):
        replies = [
            customer.push(fresh_blob(LARGE)),
            ask(shop.server, "PATCH", session, body=fresh_blob(6 << 20)),
            ask(shop.server, "PUT", f"{session}?digest={digest_of(begun)}"),
            customer.ask("GET", f"blobs/{digest}"),
            customer.ask("HEAD", f"blobs/{digest}"),
            other.ask("POST", f"blobs/uploads/?mount={digest}&from={customer.repository.name}"),
            ask(shop.server, "GET", "/readyz"),
        ]
        for reply in replies:
            assert_unavailable(reply)
    assert len(shop.store.calls) <= 2 * rounds * len(replies) + _SPARE
    assert ask(shop.server, "GET", "/healthz").status == 200
    assert customer.ask("GET", "manifests/v1").body == manifest
    assert customer.ask("GET", "tags/list").json["tags"] == ["v1"]
    shop.store.heal()
    assert ask(shop.server, "GET", "/readyz").status == 200
    assert ask(shop.server, "PUT", f"{session}?digest={digest_of(begun)}").status == 201
    assert all(map(customer.has, (content, begun, customer.store())))


@pytest.mark.fault("F25")
def test_f25_the_rest_is_served_while_the_store_says_slow_down(shop: Shop) -> None:
    """A client that may not push hears that it may not, and one that asks for what is not there hears that."""
    shop.store.break_(SLOW_DOWN)
    assert shop.customer.ask("GET", f"blobs/{digest_of(b'absent')}").status == 404
    assert shop.customer.ask("POST", "blobs/uploads/?digest=sha256:x").status == 400


@pytest.mark.fault("F26")
@pytest.mark.parametrize("operation", [*PUSH, "HeadObject"])
def test_f26_an_answer_that_is_lost_is_no_failure(shop: Shop, operation: str) -> None:
    """The store has done it, and nobody heard: it is asked again, and what is there counts."""
    content = shop.customer.store()
    fault = shop.store.break_(Lose(), operation, times=1)
    if operation == "HeadObject":
        assert shop.customer.ask("HEAD", f"blobs/{digest_of(content)}").status == 200
    else:
        content = shop.customer.store()
    assert fault.done == 1
    shop.store.heal()
    assert shop.customer.has(content)


@pytest.mark.fault("F26")
def test_f26_a_part_is_sent_again_under_its_number(shop: Shop) -> None:
    """A part whose answer was lost takes the place of the first one."""
    shop.store.break_(Lose(), "UploadPart", times=1)
    shop.customer.store()
    parts = [call.query["partNumber"] for call in shop.store.calls if call.operation == "UploadPart"]
    assert parts == ["1", "1"]


@pytest.mark.fault("F26")
def test_f26_a_complete_whose_answer_was_lost_is_looked_for(shop: Shop) -> None:
    """The second Complete says NoSuchUpload, as AWS does: the object that is there is the answer."""
    shop.store.break_(Lose(), "CompleteMultipartUpload", times=1)
    shop.store.break_(Answer(404, "NoSuchUpload"), "CompleteMultipartUpload", times=1)
    content = shop.customer.store()
    shop.store.heal()
    assert shop.customer.has(content)


@pytest.mark.fault("F26")
def test_f26_an_upload_that_is_really_gone_is_no_blob(shop: Shop) -> None:
    """NoSuchUpload without an object: the client is told to begin again, and can."""
    shop.store.break_(Answer(404, "NoSuchUpload"), "CompleteMultipartUpload")
    content = fresh_blob(LARGE)
    reply = shop.customer.push(content)
    assert (reply.status, reply.code) == (404, "BLOB_UPLOAD_UNKNOWN")
    shop.store.heal()
    assert shop.customer.ask("HEAD", f"blobs/{digest_of(content)}").status == 404
    assert shop.customer.has(shop.customer.store(content))


@pytest.mark.fault("F26")
@pytest.mark.parametrize("operation", ["AbortMultipartUpload", "DeleteObject"])
def test_f26_a_removal_whose_answer_was_lost_is_done(shop: Shop, operation: str) -> None:
    """To remove what is gone is no error."""
    session = shop.customer.ask("POST", "blobs/uploads/")["Location"]
    assert ask(shop.server, "PATCH", session, ("Content-Range", "0-99"), body=fresh_blob(100)).status == 202
    shop.store.break_(Lose(), operation, times=1)
    assert ask(shop.server, "DELETE", session).status == 204
    shop.store.heal()
    assert shop.server.uploads_left() == []


@pytest.mark.fault("F27")
def test_f27_a_complete_that_fails_in_its_body_is_a_failure(shop: Shop) -> None:
    """200 with an error in the body is tried again, and at last 503; no row names what is not there."""
    fault = shop.store.break_(Answer(200, "InternalError"), "CompleteMultipartUpload", times=1)
    assert shop.customer.has(shop.customer.store())
    assert fault.done == 1
    shop.store.break_(Answer(200, "InternalError"), "CompleteMultipartUpload")
    content = fresh_blob(LARGE)
    assert_unavailable(shop.customer.push(content))
    shop.store.heal()
    assert shop.customer.ask("HEAD", f"blobs/{digest_of(content)}").status == 404
    assert shop.customer.has(shop.customer.store(content))


@pytest.mark.fault("F27")
def test_f27_another_etag_is_not_believed(shop: Shop) -> None:
    """A Complete that answers for another object: the bytes are read back, and they decide."""
    shop.store.break_(OtherTag(), "CompleteMultipartUpload", times=1)
    content = shop.customer.store()
    assert shop.customer.has(content)


@pytest.mark.fault("F28")
@pytest.mark.parametrize("cut", [Cut(0.9), Cut(0.9, is_reset=False), Cut(0)], ids=str)
def test_f28_a_pull_that_breaks_off_is_seen_to(shop: Shop, cut: Cut) -> None:
    """The client gets all bytes, or a transfer that is visibly broken: never a short one that seems whole."""
    content = shop.customer.store(fresh_blob(3 << 20))
    shop.store.break_(cut, "GetObject")
    pulled = shop.customer.pull(content)
    assert pulled.is_whole == (pulled.content == content)
    assert content.startswith(pulled.content) or pulled.status == 503
    shop.store.heal()
    assert shop.customer.has(content)


@pytest.mark.fault("F28")
def test_f28_a_range_goes_on_where_a_pull_broke_off(shop: Shop) -> None:
    """As clients do it."""
    content = shop.customer.store(fresh_blob(3 << 20))
    shop.store.break_(Cut(0.5), "GetObject")
    first = shop.customer.pull(content).content
    shop.store.heal()
    rest = shop.customer.pull(content, ("Range", f"bytes={len(first)}-"))
    assert (rest.status, first + rest.content) == (206, content)


async def scrub(folder: Path, settings: dict[str, Any]) -> None:
    registry = Registry(places.make_config(folder, **settings))
    try:
        assert [each async for each in registry.scrub.run(lambda _: None)] == []
    finally:
        registry.close()


@pytest.mark.fault("F28")
def test_f28_a_scrub_does_not_take_a_bad_line_for_damage(shop: Shop) -> None:
    """Bytes that did not come say nothing about those that are stored."""
    content = shop.customer.store()
    shop.store.break_(Cut(0.9), "GetObject")
    with pytest.raises(StoreUnavailable):
        asyncio.run(scrub(shop.server.folder, in_bucket(shop.place, shop.store.endpoint)))
    shop.store.heal()
    assert shop.customer.has(content)


@pytest.mark.fault("F29")
@pytest.mark.parametrize(
    ("deed", "said"),
    [
        (Answer(400, "ExpiredToken"), "expired"),
        (Answer(403, "RequestTimeTooSkewed"), "clock"),
        (Answer(403, "InvalidAccessKeyId"), "access key"),
        (Answer(403, "AccessDenied"), "denies"),
    ],
    ids=str,
)
def test_f29_refused_credentials_are_told_and_nothing_breaks(shop: Shop, deed: Deed, said: str) -> None:
    """503 for clients, the reason for the operator, no retry without a prospect, and on it goes afterwards."""
    content = shop.customer.store()
    shop.store.break_(deed)
    shop.store.forget()
    with capture_logs() as entries:
        pushed = shop.customer.push(fresh_blob(LARGE))
    assert_unavailable(pushed)
    assert said not in pushed.errors[0]["message"]
    assert any(said in str(entry) for entry in entries)
    assert_unavailable(shop.customer.ask("GET", f"blobs/{digest_of(content)}"))
    assert_unavailable(ask(shop.server, "GET", "/readyz"))
    assert len(shop.store.calls) <= 4 * _ATTEMPTS
    shop.store.heal()
    assert shop.customer.has(content)
    assert shop.customer.has(shop.customer.store())


@pytest.mark.fault("F29")
def test_f29_credentials_that_expire_during_a_push(shop: Shop) -> None:
    """Those that are renewed in time cost a retry."""
    fault = shop.store.break_(Answer(400, "ExpiredToken"), "UploadPart", times=1)
    assert shop.customer.has(shop.customer.store())
    assert fault.done == 1


@pytest.mark.fault("F31")
def test_f31_a_bucket_that_is_gone_is_no_damage(shop: Shop) -> None:
    """503: clients are not told that blobs are missing, so they do not push them into nothing, and none is marked."""
    content = shop.customer.store()
    shop.store.break_(NO_BUCKET)
    assert_unavailable(shop.customer.ask("GET", f"blobs/{digest_of(content)}"))
    assert_unavailable(shop.customer.push(fresh_blob(LARGE)))
    shop.store.heal()
    assert shop.customer.has(content)
