"""Deletes: true at once, complete, undone by pushing again, and refused for what is in use."""

import pytest

from tests.api.content import ABSENT, Repository, describe, digest_of, image, index
from tests.api.watching import WatchedServer
from tests.api.wire import Reply


@pytest.fixture(scope="session")
def server(watched: WatchedServer) -> WatchedServer:
    """Each refusal is held against the oracle."""
    return watched


def delete_blob(repository: Repository, content: bytes) -> Reply:
    return repository.call("DELETE", f"blobs/{digest_of(content)}")


def delete_manifest(repository: Repository, content: bytes) -> Reply:
    return repository.call("DELETE", f"manifests/{digest_of(content)}")


def assert_in_use(reply: Reply, *parents: bytes) -> None:
    """405 names the manifests that are in the way, in its message and for programs."""
    assert (reply.status, reply.code) == (405, "UNSUPPORTED")
    digests = {digest_of(parent) for parent in parents}
    assert set(reply.errors[0]["detail"]["manifests"]) == digests
    assert all(digest in reply.errors[0]["message"] for digest in digests)


@pytest.mark.input(123)
def test_delete_a_tag(repository: Repository) -> None:
    """Only the tag goes: the manifest and its other tags stay."""
    content = repository.push_image("v1")
    repository.push_manifest(content, "v2")
    assert repository.call("DELETE", "manifests/v1").status == 202
    assert [repository.status(f"manifests/{reference}") for reference in ("v1", "v2", digest_of(content))] == [
        404,
        200,
        200,
    ]
    assert repository.tags() == ["v2"]
    assert repository.call("DELETE", "manifests/v1").status == 404


@pytest.mark.input(125)
def test_delete_a_manifest(repository: Repository) -> None:
    """The manifest goes with all its tags; its blobs stay."""
    layer = repository.push_blob()
    content = image(layer, [layer])
    for tag in ("v1", "v2"):
        repository.push_manifest(content, tag)
    other = repository.push_image("v3")
    assert delete_manifest(repository, content).status == 202
    for reference in ("v1", "v2", digest_of(content)):
        for method in ("GET", "HEAD"):
            assert repository.call(method, f"manifests/{reference}").status == 404
    assert repository.tags() == ["v3"]
    assert repository.call("GET", f"manifests/{digest_of(other)}").body == other
    assert repository.status(f"blobs/{digest_of(layer)}") == 200
    assert delete_manifest(repository, content).code == "MANIFEST_UNKNOWN"


@pytest.mark.input(125)
def test_delete_a_blob(repository: Repository) -> None:
    """The blob is gone at once, also the empty one."""
    for content in (repository.push_blob(), repository.push_blob(b"")):
        assert delete_blob(repository, content).status == 202
        for method in ("GET", "HEAD"):
            assert repository.call(method, f"blobs/{digest_of(content)}").status == 404
        assert delete_blob(repository, content).code == "BLOB_UNKNOWN"


UNKNOWN = [
    (f"blobs/{ABSENT}", 404, "BLOB_UNKNOWN"),
    (f"manifests/{ABSENT}", 404, "MANIFEST_UNKNOWN"),
    ("manifests/no-such-tag", 404, "MANIFEST_UNKNOWN"),
    ("manifests/-no-tag", 400, "MANIFEST_INVALID"),
    ("manifests/sha256:no-digest", 400, "DIGEST_INVALID"),
    ("blobs/sha256:no-digest", 400, "DIGEST_INVALID"),
    ("blobs/v1", 400, "DIGEST_INVALID"),
]


@pytest.mark.input(57, 123, 125)
@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize(("path", "status", "code"), UNKNOWN)
def test_delete_what_is_not_there(repository: Repository, path: str, status: int, code: str, exists: bool) -> None:
    """An unknown object is 404, in a repository that exists and in one that does not."""
    if exists:
        repository.push_blob()
    reply = repository.call("DELETE", path)
    assert (reply.status, reply.code) == (status, code)


def test_delete_in_one_repository(repository: Repository) -> None:
    """Other repositories keep what they have."""
    elsewhere = Repository(repository.server)
    content, blob = repository.push_image("v1"), repository.push_blob()
    elsewhere.push_blob(blob)
    assert delete_blob(repository, blob).status == 202
    assert elsewhere.call("GET", f"blobs/{digest_of(blob)}").body == blob
    assert delete_manifest(elsewhere, content).status == 404
    assert repository.status("manifests/v1") == 200


@pytest.mark.input(57)
def test_a_blob_in_use(repository: Repository) -> None:
    """What a visible manifest names cannot be deleted: config, layer, or child of an index that is a blob."""
    config, layer, child = (repository.push_blob() for _ in range(3))
    one, two = image(config, [layer]), image(config, [layer, config])
    parent = index([child])
    for content in (one, two, parent):
        repository.push_manifest(content)
    assert_in_use(delete_blob(repository, config), one, two)
    assert_in_use(delete_blob(repository, layer), one, two)
    assert_in_use(delete_blob(repository, child), parent)
    assert delete_manifest(repository, one).status == 202
    assert_in_use(delete_blob(repository, layer), two)
    assert delete_manifest(repository, two).status == 202
    assert delete_blob(repository, layer).status == 202
    assert delete_blob(repository, config).status == 202


def test_a_blob_in_use_elsewhere(repository: Repository) -> None:
    """Only manifests of the repository itself count."""
    elsewhere = Repository(repository.server)
    blob = elsewhere.push_blob()
    elsewhere.push_manifest(image(blob), "v1")
    repository.push_blob(blob)
    assert delete_blob(repository, blob).status == 202
    assert elsewhere.call("GET", f"blobs/{digest_of(blob)}").body == blob


def test_a_child_in_use(repository: Repository) -> None:
    """A child cannot be deleted before its visible parents; its tags can."""
    child = repository.push_image("child")
    inner = index([child])
    outer, other = index([inner, child]), index([child], annotations={"a": "b"})
    for parent in (inner, outer, other):
        repository.push_manifest(parent)
    assert repository.call("DELETE", "manifests/child").status == 202
    assert_in_use(delete_manifest(repository, child), inner, outer, other)
    assert_in_use(delete_manifest(repository, inner), outer)
    for parent in (outer, inner):
        assert delete_manifest(repository, parent).status == 202
    assert_in_use(delete_manifest(repository, child), other)
    assert delete_manifest(repository, other).status == 202
    assert delete_manifest(repository, child).status == 202


def test_a_refused_delete_changes_nothing(repository: Repository) -> None:
    """What is in use stays with its tags."""
    child = repository.push_image("child")
    repository.push_manifest(index([child]), "parent")
    assert delete_manifest(repository, child).status == 405
    assert repository.tags() == ["child", "parent"]
    assert repository.call("GET", "manifests/child").body == child


def test_a_subject_is_not_held(repository: Repository) -> None:
    """Neither does a referrer hold its subject, nor the subject its referrer."""
    subject = repository.push_image()
    referrer = image(repository.push_blob(), subject=describe(subject))
    repository.push_manifest(referrer)
    assert delete_manifest(repository, subject).status == 202
    assert delete_manifest(repository, referrer).status == 202


def test_push_again_after_delete(repository: Repository) -> None:
    """What was deleted comes back by a push, several times, with its tag, and is held again."""
    layer = repository.push_blob()
    child = image(layer, [layer])
    parent = index([child])
    for _ in range(3):
        repository.push_blob(layer)
        repository.push_manifest(child, "child")
        repository.push_manifest(parent, "parent")
        assert repository.call("GET", f"blobs/{digest_of(layer)}").body == layer
        assert repository.call("GET", "manifests/child").body == child
        assert repository.tags() == ["child", "parent"]
        assert_in_use(delete_blob(repository, layer), child)
        assert_in_use(delete_manifest(repository, child), parent)
        assert [delete_manifest(repository, one).status for one in (parent, child)] == [202, 202]
        assert delete_blob(repository, layer).status == 202
        assert repository.tags() == []


def test_a_deleted_blob_is_absent_for_manifests(repository: Repository) -> None:
    """After a delete a manifest that needs the blob is refused until it is pushed or mounted again."""
    elsewhere = Repository(repository.server)
    blob = elsewhere.push_blob(repository.push_blob())
    content = image(blob)
    assert delete_blob(repository, blob).status == 202
    assert repository.put("v1", content).code == "MANIFEST_BLOB_UNKNOWN"
    assert repository.call("POST", f"blobs/uploads/?mount={digest_of(blob)}&from={elsewhere.name}").status == 201
    assert repository.put("v1", content).status == 201


def test_a_deleted_child_is_absent_for_indexes(repository: Repository) -> None:
    """As for blobs."""
    child = repository.push_image("v1")
    assert delete_manifest(repository, child).status == 202
    assert repository.put("multi", index([child])).code == "MANIFEST_BLOB_UNKNOWN"
    repository.push_manifest(child)
    assert repository.put("multi", index([child])).status == 201


@pytest.mark.input(19)
def test_a_body_on_a_delete(repository: Repository) -> None:
    """A body that nobody asked for is ignored."""
    repository.push_image("v1")
    assert repository.call("DELETE", "manifests/v1", body=b"x" * 100_000).status == 202
    assert repository.call("GET", "tags/list", body=b"x" * 100_000).json["tags"] == []
