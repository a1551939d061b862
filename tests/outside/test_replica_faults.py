"""The object store fails in the middle of an upload that wanders from server to server (F25 to F27)."""

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from tests.api.content import digest_of, fresh_blob
from tests.api.running import RunningServer, running
from tests.outside.client import Customer, ask
from tests.outside.conftest import QUIET, in_bucket
from tests.servers.postgres import fresh_database
from tests.servers.s3_proxy import BROKEN, SLOW_DOWN, Answer, Cut, Deed, Lose, Refuse, S3Proxy
from tests.servers.seaweed import SeaweedServer, fresh_place

PART = 5 << 20  # bytes: the least that a part may have unless it is the last one
# How a client cuts its blob: each piece goes to the next server.
SIZES = (PART + 100, 3000, PART + 7, 100)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two servers of one registry, and what stands before their store."""

    servers: tuple[RunningServer, RunningServer]
    store: S3Proxy


@pytest.fixture(scope="module")
def _pair(seaweed: SeaweedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    place, url, folder = fresh_place(seaweed), fresh_database(), tmp_path_factory.mktemp("pair")
    with S3Proxy(urlsplit(place.endpoint).port or 0) as store:
        settings = {"database": url, **QUIET, **in_bucket(place, store.endpoint)}
        with running(folder / "one", **settings) as one, running(folder / "two", **settings) as two:
            yield Pair((one, two), store)


@pytest.fixture
def pair(_pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    monkeypatch.setattr("storage.s3.retries._LONGEST", 0.02)
    _pair.store.forget()
    yield _pair
    _pair.store.heal()


def upload(pair: Pair, content: bytes) -> int:
    """The status of the last request; each one that is refused for now is made again once the store is well.

    The second piece comes with its Content-Range.
    """
    customer = Customer(pair.servers[0])
    session = customer.ask("POST", "blobs/uploads/")["Location"]
    first = 0
    for number, size in enumerate(SIZES):
        server = pair.servers[number % 2]
        headers = [("Content-Range", f"{first}-{first + size - 1}")] if number == 1 else []
        status = ask(server, "PATCH", session, *headers, body=content[first : first + size]).status
        if status == 503:
            pair.store.heal()
            status = ask(server, "PATCH", session, *headers, body=content[first : first + size]).status
        assert status == 202, number
        first += size
    path = f"{session}?digest={digest_of(content)}"
    status = ask(pair.servers[1], "PUT", path).status
    if status == 503:
        pair.store.heal()
        status = ask(pair.servers[1], "PUT", path).status
    pair.store.heal()
    customer.repository.server = pair.servers[0]
    assert customer.has(content)
    return status


CALLS = [
    "CreateMultipartUpload",
    "UploadPart",
    "CompleteMultipartUpload",
    "PutObject",
    "GetObject",
    "DeleteObject",
]


@pytest.mark.fault("F26")
@pytest.mark.parametrize("deed", [SLOW_DOWN, BROKEN, Lose(), Refuse()], ids=str)
@pytest.mark.parametrize("operation", CALLS)
def test_f26_a_wandering_upload_survives_each_call_that_fails_once(pair: Pair, operation: str, deed: Deed) -> None:
    """Whichever call it is, and whether it was done or not: every byte is in its place."""
    fault = pair.store.break_(deed, operation, times=1)
    assert upload(pair, fresh_blob(sum(SIZES))) == 201
    assert fault.done == 1, pair.store.count()


@pytest.mark.fault("F25")
@pytest.mark.parametrize("operation", CALLS)
def test_f25_a_wandering_upload_goes_on_after_an_outage(pair: Pair, operation: str) -> None:
    """The request that met the outage is 503, and succeeds when it is made again."""
    fault = pair.store.break_(SLOW_DOWN, operation)
    assert upload(pair, fresh_blob(sum(SIZES))) == 201
    assert fault.done >= 1


@pytest.mark.fault("F27")
def test_f27_an_error_in_the_body_of_a_complete(pair: Pair) -> None:
    """200 with an error: the call is made again."""
    fault = pair.store.break_(Answer(200, "InternalError"), "CompleteMultipartUpload", times=1)
    assert upload(pair, fresh_blob(sum(SIZES))) == 201
    assert fault.done == 1


@pytest.mark.fault("F28")
def test_f28_a_tail_that_comes_cut(pair: Pair) -> None:
    """What was stored of an upload is read whole, or not at all."""
    pair.store.break_(Cut(0.5), "GetObject", times=1)
    assert upload(pair, fresh_blob(sum(SIZES))) == 201
