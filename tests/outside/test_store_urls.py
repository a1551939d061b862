"""URLs by which clients GET blobs from the store itself, and which end (F34)."""

from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import urllib3

from storage.s3 import store as s3_store
from storage.s3.client import S3Tuning
from storage.s3.place import S3Place
from tests.api.content import digest_of
from tests.api.running import running
from tests.outside.client import Customer
from tests.outside.conftest import QUIET, in_bucket
from tests.servers.s3_proxy import S3Proxy
from tests.waiting import wait_until

SECONDS = 4  # that a URL is valid here; what is given out again has half of them left
ELSEWHERE = ("Host", "localhost:5000")  # another name than the store's, so that the client may be sent there


@pytest.mark.fault("F34")
def test_f34_a_url_that_has_expired(
    tmp_path: Path, place: S3Place, store: S3Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store refuses it, whoever asks the registry again gets another one, and none is given out that soon ends."""
    monkeypatch.setattr(s3_store, "S3Tuning", partial(S3Tuning, url_seconds=SECONDS))
    settings = in_bucket(place, store.endpoint) | {"s3_redirects": "on"}
    with running(tmp_path, **QUIET, **settings) as server, urllib3.PoolManager() as pool:
        customer = Customer(server)
        content = customer.store()
        store.forget()

        def locate() -> str:
            reply = customer.ask("GET", f"blobs/{digest_of(content)}", ELSEWHERE)
            assert reply.status == 307
            return reply["Location"]

        def is_refused(url: str) -> bool:
            status = pool.request("GET", url).status
            assert status in (200, 403)
            assert pool.request("GET", locate()).data == content, "whatever the registry says now is good"
            return status == 403

        first = locate()
        assert pool.request("GET", first).data == content
        wait_until(lambda: is_refused(first), "the URL has expired")
        second = locate()
        assert second != first
        assert urlsplit(second).path == urlsplit(first).path
        assert {call.status for call in store.calls if call.operation == "GetObject"} == {200, 403}
