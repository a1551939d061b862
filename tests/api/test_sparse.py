"""Manifests whose content is not there: refused, allowed for children of an index, or allowed (decision 15)."""

from pathlib import Path

import pytest

from tests.api.conftest import Serve
from tests.api.content import (
    OCI_INDEX,
    OCI_MANIFEST,
    Repository,
    describe,
    digest_of,
    fresh_blob,
    image,
    index,
    to_json,
)
from tests.api.running import running
from tests.api.wire import Reply

MODES = ["refuse", "index", "accept"]


@pytest.fixture
def sparse(serve: Serve, mode: str) -> Repository:
    return Repository(serve(sparse_manifests=mode))


def delete(repository: Repository, kind: str, content: bytes) -> Reply:
    return repository.call("DELETE", f"{kind}/{digest_of(content)}")


@pytest.mark.parametrize(("mode", "status"), [("refuse", 404), ("index", 404), ("accept", 201)])
def test_an_image_without_its_blobs(sparse: Repository, status: int) -> None:
    """Only `accept` takes an image whose layer or config is absent; then it can be pulled."""
    present, absent = sparse.push_blob(), fresh_blob()
    for content in (image(present, [present, absent]), image(absent, [])):
        assert sparse.put("v1", content).status == status
        assert sparse.status("manifests/v1") == (200 if status == 201 else 404)


@pytest.mark.parametrize(("mode", "status"), [("refuse", 404), ("index", 201), ("accept", 201)])
def test_an_index_without_a_child(sparse: Repository, status: int) -> None:
    """`index` and `accept` take an index with one platform of several; nested ones too."""
    child, absent = sparse.push_image(), image(fresh_blob())
    parent = index([child, absent])
    outer = to_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [describe(parent, OCI_INDEX)]})
    assert sparse.put("multi", parent).status == status
    assert sparse.put("outer", outer).status == status
    assert sparse.status(f"manifests/{digest_of(absent)}") == 404


@pytest.mark.parametrize("mode", ["refuse", "index"])
def test_the_error_names_only_what_is_needed(sparse: Repository, mode: str) -> None:
    """In each mode the client hears what it must push."""
    one, two = fresh_blob(), fresh_blob()
    reply = sparse.put("v1", image(one, [two]))
    assert [error["detail"]["digest"] for error in reply.errors] == [digest_of(one), digest_of(two)]
    assert sparse.put("multi", index([one])).status == {"refuse": 404, "index": 201}[mode]


@pytest.mark.parametrize("mode", MODES)
def test_subjects_and_foreign_layers_may_be_absent(sparse: Repository) -> None:
    """In every mode."""
    content = to_json(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": describe(sparse.push_blob()),
            "layers": [describe(fresh_blob(), "application/vnd.oci.image.layer.nondistributable.v1.tar")],
            "subject": describe(fresh_blob()),
        }
    )
    assert sparse.put("v1", content).status == 201


@pytest.mark.parametrize("mode", ["index", "accept"])
def test_children_that_come_later(sparse: Repository) -> None:
    """An absent child is joined when it arrives; these modes let it go again."""
    child = image(sparse.push_blob())
    parent = index([child])
    sparse.push_manifest(parent, "multi")
    sparse.push_manifest(child)
    assert sparse.call("GET", f"manifests/{digest_of(child)}").body == child
    assert delete(sparse, "manifests", child).status == 202
    assert sparse.call("GET", "manifests/multi").body == parent
    sparse.push_manifest(child, "child")
    assert sparse.call("GET", "manifests/child").body == child


@pytest.mark.parametrize("mode", ["index"])
def test_blobs_are_held_as_long_as_they_are_promised(sparse: Repository) -> None:
    """`index` promises complete images: their blobs are in use, also when an image came after its index."""
    layer = sparse.push_blob()
    content = image(layer, [layer])
    sparse.push_manifest(index([content]), "multi")
    sparse.push_manifest(content)
    assert delete(sparse, "blobs", layer).status == 405
    assert delete(sparse, "manifests", content).status == 202
    assert delete(sparse, "blobs", layer).status == 202


@pytest.mark.input(57)
@pytest.mark.parametrize("mode", ["accept"])
def test_accept_lets_everything_go(sparse: Repository) -> None:
    """`accept` promises nothing: blobs and children are deleted although manifests name them."""
    layer = sparse.push_blob()
    content = image(layer, [layer])
    parent = index([content])
    sparse.push_manifest(content)
    sparse.push_manifest(parent, "multi")
    assert delete(sparse, "blobs", layer).status == 202
    assert delete(sparse, "manifests", content).status == 202
    assert sparse.call("GET", "manifests/multi").body == parent
    sparse.push_manifest(content, "back")
    sparse.push_blob(layer)
    assert sparse.call("GET", f"blobs/{digest_of(layer)}").body == layer


@pytest.mark.parametrize("arrival", ["push", "mount"])
def test_blobs_that_come_later(tmp_path: Path, arrival: str) -> None:
    """Absent blobs are joined when they are pushed or mounted: a stricter server on the same database holds them."""
    layer = fresh_blob()
    content = image(layer, [layer])
    with running(tmp_path, sparse_manifests="accept") as server:
        sparse, elsewhere = Repository(server), Repository(server)
        sparse.push_manifest(content, "v1")
        if arrival == "push":
            sparse.push_blob(layer)
        else:
            elsewhere.push_blob(layer)
            assert sparse.call("POST", f"blobs/uploads/?mount={digest_of(layer)}").status == 201
    with running(tmp_path) as server:
        strict = Repository(server, sparse.name)
        assert delete(strict, "blobs", layer).status == 405
        assert delete(strict, "manifests", content).status == 202
        assert delete(strict, "blobs", layer).status == 202
