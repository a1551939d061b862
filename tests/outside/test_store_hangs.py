"""The object store takes calls and does not answer (F33): who waits is told in time, nobody else waits."""

import threading
from functools import partial
from pathlib import Path

import pytest

from storage.s3 import store as s3_store
from storage.s3.client import S3Tuning
from storage.s3.place import S3Place
from tests.api.content import digest_of
from tests.api.running import running
from tests.api.wire import Reply
from tests.outside.client import Customer, ask, assert_unavailable
from tests.outside.conftest import QUIET, in_bucket
from tests.servers.s3_proxy import Hang, S3Proxy

_MANY = 40  # more than the driver has threads


@pytest.mark.fault("F33")
def test_f33_a_store_that_hangs(
    tmp_path: Path, place: S3Place, store: S3Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All its threads wait, and manifests, tags and health are served meanwhile; afterwards blobs are, too."""
    monkeypatch.setattr(s3_store, "S3Tuning", partial(S3Tuning, silence=0.5))
    monkeypatch.setattr("storage.s3.retries._LONGEST", 0.02)
    with running(tmp_path, **QUIET, **in_bucket(place, store.endpoint)) as server:
        customer = Customer(server)
        manifest, content = customer.push_image("v1"), customer.store()
        store.break_(Hang())
        store.forget()
        replies: list[Reply] = []
        path = f"blobs/{digest_of(content)}"
        waiting = [threading.Thread(target=lambda: replies.append(customer.ask("HEAD", path))) for _ in range(_MANY)]
        for each in waiting:
            each.start()
        assert ask(server, "GET", "/healthz").status == 200
        assert customer.ask("GET", "manifests/v1").body == manifest
        assert customer.ask("GET", "tags/list").json["tags"] == ["v1"]
        for each in waiting:
            each.join()
        assert len(replies) == _MANY
        for reply in replies:
            assert_unavailable(reply)
        assert len(store.calls) <= 2 * _MANY  # those that hang are no calls yet, but none is made again and again
        store.heal()
        assert customer.has(content)
        assert customer.has(customer.store())
