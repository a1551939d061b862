"""One of two servers is cut off from the object store that the other one still reaches (F48)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from storage.s3.place import S3Place
from tests.api.content import digest_of, fresh_blob
from tests.api.running import running
from tests.outside.client import LARGE, Customer, ask, assert_unavailable
from tests.outside.conftest import QUIET, in_bucket
from tests.servers.postgres import fresh_database
from tests.servers.s3_proxy import S3Proxy


@dataclass(frozen=True, slots=True)
class Parted:
    """Customers of two servers of one registry; only `near` asks the bucket by way of `store`."""

    near: Customer
    far: Customer
    store: S3Proxy


@pytest.fixture
def parted(tmp_path: Path, place: S3Place, store: S3Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Parted]:
    monkeypatch.setattr("storage.s3.retries._LONGEST", 0.02)
    settings = {"database": fresh_database(), **QUIET}
    with (
        running(tmp_path / "near", **settings, **in_bucket(place, store.endpoint)) as near,
        running(tmp_path / "far", **settings, **in_bucket(place, place.endpoint or "")) as far,
    ):
        customers = Customer(near), Customer(far)
        customers[1].repository.name = customers[0].repository.name
        yield Parted(*customers, store)


@pytest.mark.fault("F48")
def test_f48_a_server_that_is_cut_off_from_the_store(parted: Parted) -> None:
    """It answers 503 for bytes, and the truth for all that the database knows; the other one serves everything."""
    near, far, store = parted.near, parted.far, parted.store
    manifest, content = near.push_image("v1"), near.store()
    store.refuse()
    for method, rest in (("GET", f"blobs/{digest_of(content)}"), ("HEAD", f"blobs/{digest_of(content)}")):
        assert_unavailable(near.ask(method, rest))
    assert_unavailable(near.push(fresh_blob(LARGE)))
    assert_unavailable(ask(near.server, "GET", "/readyz"))
    assert near.ask("GET", "manifests/v1").body == manifest
    assert far.has(content)
    assert far.has(far.store())
    moved = far.push_image("v1")
    assert near.ask("GET", "manifests/v1").body == moved
    assert far.ask("DELETE", f"manifests/{digest_of(manifest)}").status == 202
    assert near.ask("GET", f"manifests/{digest_of(manifest)}").status == 404
    assert near.ask("GET", f"blobs/{digest_of(fresh_blob())}").status == 404
    assert ask(far.server, "GET", "/readyz").status == 200
    store.heal()
    assert ask(near.server, "GET", "/readyz").status == 200
    assert near.has(content)
    assert far.has(near.store())
