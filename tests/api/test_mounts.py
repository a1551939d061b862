"""Blobs mounted from other repositories (end-11), in every spelling that clients use."""

from urllib.parse import quote

import pytest

from tests.api.content import ABSENT, Repository, digest_of, fresh_blob
from tests.api.watching import WatchedServer
from tests.api.wire import Reply


@pytest.fixture(scope="session")
def server(watched: WatchedServer) -> WatchedServer:
    """Each refusal is held against the oracle."""
    return watched


@pytest.fixture
def source(repository: Repository) -> Repository:
    return Repository(repository.server)


def mount(repository: Repository, query: str) -> Reply:
    return repository.call("POST", f"blobs/uploads/?{query}")


def assert_mounted(repository: Repository, reply: Reply, content: bytes, algorithm: str = "sha256") -> None:
    digest = digest_of(content, algorithm)
    assert reply.status == 201
    assert reply["Location"] == f"/v2/{repository.name}/blobs/{digest}"
    assert reply["Docker-Content-Digest"] == digest
    assert repository.call("GET", f"blobs/{digest}").body == content


def assert_usable_session(repository: Repository, reply: Reply, content: bytes) -> None:
    """The 202 of a mount is a session: clients go on with it."""
    assert (reply.status, reply["Range"]) == (202, "0-0")
    assert repository.server.call("PATCH", reply["Location"], body=(content[:7],)).status == 202
    path = f"{reply['Location']}?digest={digest_of(content)}"
    assert repository.server.call("PUT", path, body=content[7:]).status == 201
    assert repository.call("GET", f"blobs/{digest_of(content)}").body == content


SPELLINGS = [
    "mount={digest}&from={name}",
    "mount={escaped_digest}&from={escaped_name}",
    "from={name}&mount={digest}",
    "from={name}&mount={digest}&origin=registry.example",
    "mount={digest}&from={name}&from={name}",
    "mount={digest}",
    "mount={escaped_digest}&account=me",
]


@pytest.mark.input(83, 84)
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_mount(repository: Repository, source: Repository, spelling: str, algorithm: str) -> None:
    """A blob of another repository is mounted without a byte of it, raw or escaped, with `from` or without."""
    content = source.push_blob(algorithm=algorithm)
    digest = digest_of(content, algorithm)
    files = repository.server.keys_stored()
    query = spelling.format(
        digest=digest, name=source.name, escaped_digest=quote(digest, safe=""), escaped_name=quote(source.name, safe="")
    )
    assert_mounted(repository, mount(repository, query), content, algorithm)
    assert repository.server.keys_stored() == files


@pytest.mark.parametrize("path", ["blobs/uploads/", "blobs/uploads"])
def test_mount_with_and_without_the_slash(repository: Repository, source: Repository, path: str) -> None:
    """As at the first POST."""
    content = source.push_blob()
    reply = repository.call("POST", f"{path}?mount={digest_of(content)}&from={source.name}")
    assert_mounted(repository, reply, content)


@pytest.mark.input(84)
def test_mount_what_is_there(repository: Repository) -> None:
    """From the repository itself, or again: 201."""
    content = repository.push_blob()
    for query in (f"mount={digest_of(content)}&from={repository.name}", f"mount={digest_of(content)}"):
        assert_mounted(repository, mount(repository, query), content)


def test_a_mounted_blob_stays(repository: Repository, source: Repository) -> None:
    """Deleting the blob where it came from takes nothing from the repository that mounted it, and the reverse."""
    content = source.push_blob()
    path = f"blobs/{digest_of(content)}"
    mount(repository, f"mount={digest_of(content)}&from={source.name}")
    assert source.call("DELETE", path).status == 202
    assert source.status(path) == 404
    assert repository.call("GET", path).body == content
    assert_mounted(source, mount(source, f"mount={digest_of(content)}"), content)
    assert repository.call("DELETE", path).status == 202
    assert source.call("GET", path).body == content


@pytest.mark.input(83)
@pytest.mark.parametrize("origin", ["", "&from=no/such", "&from={source}"])
def test_nothing_to_mount(repository: Repository, source: Repository, origin: str) -> None:
    """A blob that is nowhere, or not in `from`: 202, and the blob can be uploaded."""
    content = fresh_blob()
    reply = mount(repository, f"mount={digest_of(content)}{origin.format(source=source.name)}")
    assert_usable_session(repository, reply, content)


def test_from_a_repository_without_the_blob(repository: Repository, source: Repository) -> None:
    """`from` is where to look, although the blob is elsewhere."""
    content = source.push_blob()
    other = Repository(repository.server)
    other.push_blob()
    assert_usable_session(repository, mount(repository, f"mount={digest_of(content)}&from={other.name}"), content)


def test_what_is_deleted_cannot_be_mounted(repository: Repository, source: Repository) -> None:
    """A deleted blob is in no repository, although its bytes may still be there."""
    content = source.push_blob()
    assert source.call("DELETE", f"blobs/{digest_of(content)}").status == 202
    for query in (f"mount={digest_of(content)}&from={source.name}", f"mount={digest_of(content)}"):
        assert mount(repository, query).status == 202
    assert repository.status("tags/list") == 404


@pytest.mark.input(87)
def test_what_is_not_finished_cannot_be_mounted(repository: Repository, source: Repository) -> None:
    """An upload session is no blob."""
    content = fresh_blob()
    location = source.start()
    assert source.server.call("PATCH", location, body=content).status == 202
    assert mount(repository, f"mount={digest_of(content)}&from={source.name}").status == 202


@pytest.mark.input(86)
def test_a_manifest_is_no_blob_to_mount(repository: Repository, source: Repository) -> None:
    """A manifest's digest is not found."""
    digest = digest_of(source.push_image("v1"))
    assert mount(repository, f"mount={digest}&from={source.name}").status == 202
    assert repository.status(f"blobs/{digest}") == 404


@pytest.mark.input(85)
@pytest.mark.parametrize("query", ["mount=", "mount", "mount=nonsense", f"mount={ABSENT}&mount={ABSENT[:-1]}1"])
def test_no_digest_to_mount(repository: Repository, query: str) -> None:
    """A mount names one digest."""
    reply = mount(repository, query)
    assert (reply.status, reply.code) == (400, "DIGEST_INVALID")


@pytest.mark.input(84)
@pytest.mark.parametrize("name", ["A/B", "%00", "a//b", "../x", "", "a" * 300])
def test_no_name_to_mount_from(repository: Repository, name: str) -> None:
    """`from` is a repository's name."""
    reply = mount(repository, f"mount={ABSENT}&from={name}")
    assert (reply.status, reply.code) == (400, "NAME_INVALID")
