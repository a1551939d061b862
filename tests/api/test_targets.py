"""Names, tags and digests in paths: what is one, what is none, and that every endpoint agrees about it."""

import pytest

from tests.api.content import ABSENT, Repository, digest_of, image
from tests.api.running import RunningServer
from tests.api.watching import WatchedServer


@pytest.fixture(scope="session")
def server(watched: WatchedServer) -> WatchedServer:
    """Each refusal is held against the oracle."""
    return watched


LONGEST_NAME = "a" * 127 + "/" + "b" * 127

NAMES = [
    "a", "0", "a/b", "a.b_c__d-e---f/0", "a/" * 100 + "z", LONGEST_NAME,
    # named like endpoints or like directories
    "manifests", "blobs", "uploads", "tags", "v2", "token", "healthz", "con", "blobs/uploads", "x/blobs/uploads",
    "a/manifests/b", "a/blobs", "a/referrers/b", "tags/list", "list/tags/list", "manifests/tags/list",
    "x/blobs/uploads/blobs/uploads",
]  # fmt: skip


@pytest.mark.input(30, 32)
@pytest.mark.parametrize("name", NAMES, ids=lambda name: name[:30])
def test_names_of_repositories(server: RunningServer, name: str) -> None:
    """Every name of the grammar works at every endpoint, also one that looks like an endpoint."""
    repository = Repository(server, name)
    blob = repository.push_blob()
    location = repository.start()
    assert server.call("PATCH", location, body=b"chunk").status == 202
    assert server.call("GET", location)["Range"] == "0-4"
    assert server.call("DELETE", location).status == 204
    content = image(blob, [blob])
    repository.push_manifest(content, "v1")
    assert repository.call("GET", f"blobs/{digest_of(blob)}").body == blob
    assert repository.call("GET", "manifests/v1").body == content
    assert repository.call("GET", "tags/list").json == {"name": name, "tags": ["v1"]}
    assert repository.status(f"referrers/{digest_of(content)}") == 200


@pytest.mark.input(33)
def test_names_are_not_in_the_store(server: RunningServer) -> None:
    """Blobs and uploads are kept under keys of their own, whatever the repository is called."""
    repository = Repository(server, "in-no-path/con")
    repository.push_image("v1")
    assert server.call("PATCH", repository.start(), body=b"chunk").status == 202
    found = [*server.keys_stored(), *server.uploads_left(), *(path.name for path in server.folder.rglob("*"))]
    assert found
    assert not [name for name in found if "in-no-path" in name]


NO_NAMES = [
    "A", "a/B", "a//b", "a/./b", "a/../b", "..", ".", "a/..", "-a", "a-", "a_", "a..b", "a___b", "a._b", "_catalog/x",
    "%2e%2e", "a%2Fb", "a%2fb", "a%5Cb", "a%00b", "a%0a", "a%0d%0ax:y", "a%20", "%20a", "a%09", "%E2%80%8Da",
    "%C3%9Cn%C3%AFcode", "%D0%B0", "%EF%BD%81", "a%E2%80%AEb", "%F0%9F%90%B3", "%ff", "%c0%ae", "%25", "a%2525b",
    "a:5000/b", "a@b", "a;b", "a,b", "a*b", "a+b", "a~b", "lost+found", ".git", "a%", "a%zz", "a" * 256, "a" * 4096,
    "a/" * 128 + "b", "a-" * 126 + "a!", "-" * 255, "a\\b", "'%20OR%201=1--",
]  # fmt: skip
ENDPOINTS = [
    ("GET", "tags/list"), ("GET", "manifests/v1"), ("HEAD", "manifests/v1"), ("PUT", "manifests/v1"),
    ("DELETE", "manifests/v1"), ("GET", f"blobs/{ABSENT}"), ("DELETE", f"blobs/{ABSENT}"),
    ("GET", f"referrers/{ABSENT}"), ("POST", "blobs/uploads/"), ("PATCH", "blobs/uploads/session"),
]  # fmt: skip


@pytest.mark.input(1, 2, 3, 26, 27, 29, 30, 31, 33, 35)
@pytest.mark.parametrize("name", NO_NAMES, ids=lambda name: name[:30])
def test_names_outside_the_grammar(server: RunningServer, name: str) -> None:
    """Every endpoint refuses such a name in the same way, before it looks at anything else."""
    for method, path in ENDPOINTS:
        reply = server.call(method, f"/v2/{name}/{path}")
        assert reply.status == 400, (method, path)
        assert reply.code in {"NAME_INVALID", ""}


@pytest.mark.input(9, 31)
@pytest.mark.parametrize("length", [8_300, 60_000])
def test_a_path_that_is_too_long(server: RunningServer, length: int) -> None:
    """A path of more than 8 KiB is 414, whatever it says."""
    assert server.call("GET", f"/v2/{'a' * length}/tags/list").status == 414


TAGS = ["1", "_", "v1.0-rc.1_x", "latest", "V1", "sha256-" + "a" * 64, "a" * 128, "__proto__", "null"]


@pytest.mark.input(38, 45)
@pytest.mark.parametrize("tag", TAGS, ids=lambda tag: tag[:20])
def test_tags(repository: Repository, tag: str) -> None:
    """Every tag of the grammar can be pushed, pulled, listed and deleted."""
    content = repository.push_image(tag)
    assert repository.call("GET", f"manifests/{tag}").body == content
    assert repository.tags() == [tag]
    assert repository.call("DELETE", f"manifests/{tag}").status == 202
    assert repository.tags() == []


NO_TAGS = [
    "", ".x", "-x", "a" * 129,
    "a@b", "a%20b", "%C3%A9", "a%0a", "%2e%2e", "a!", "a+b", "a,b", "%EF%BD%81", "*", "a;b", "'",
]  # fmt: skip


@pytest.mark.input(37)
@pytest.mark.parametrize("tag", NO_TAGS, ids=lambda tag: tag[:20])
def test_tags_outside_the_grammar(repository: Repository, tag: str) -> None:
    """Nobody can have pushed such a tag, so reading it is 404; writing it is 400, and makes no repository."""
    content = image(repository.push_blob(), [])
    assert repository.call("GET", f"manifests/{tag}").status in {400, 404}
    assert repository.call("HEAD", f"manifests/{tag}").status in {400, 404}
    assert repository.put(tag, content).status == 400
    assert repository.call("DELETE", f"manifests/{tag}").status == 400
    assert repository.put(f"{digest_of(content)}?tag={tag}", content).status == 400
    assert repository.status(f"manifests/{digest_of(content)}") == 404


@pytest.mark.input(37)
def test_a_tag_that_cannot_be_is_unknown(repository: Repository) -> None:
    """The official suite asks for this one: 404, not 400."""
    reply = repository.call("GET", "manifests/.INVALID_MANIFEST_NAME")
    assert (reply.status, reply.code) == (404, "MANIFEST_UNKNOWN")


HEX = "0123456789abcdef" * 4
NO_DIGESTS = [
    "sha256:", "sha256:baddigeststring", f"sha256:{HEX[1:]}", f"sha256:{HEX}0", f"sha256:{HEX.upper()}",
    f"SHA256:{HEX}", f"sha256:{HEX[:-1]}g", f"sha512:{HEX}", f"md5:{HEX[:32]}", "sha256:../../etc", "a+b:c=d",
    f"sha256::{HEX}", f"sha384:{HEX}{HEX[:32]}", f":{HEX}", "sha256:" + "0" * 8_000, "a" * 1_024 + f":{HEX}",
    f"sha256:{HEX}%20", f"sha256:{HEX}%0a", "sha256:%D9%A0" + HEX[1:],
]  # fmt: skip


@pytest.mark.input(38, 39, 41, 42)
@pytest.mark.parametrize("digest", NO_DIGESTS, ids=lambda digest: digest[:30])
def test_digests_outside_the_grammar(repository: Repository, digest: str) -> None:
    """Every endpoint that takes a digest refuses such a one, and nothing is stored."""
    content = image(repository.push_blob(), [])
    replies = [
        repository.call("GET", f"blobs/{digest}"),
        repository.call("HEAD", f"blobs/{digest}"),
        repository.call("DELETE", f"blobs/{digest}"),
        repository.put(digest, content),
        repository.call("GET", f"manifests/{digest}"),
        repository.call("DELETE", f"manifests/{digest}"),
        repository.call("GET", f"referrers/{digest}"),
        repository.call("POST", f"blobs/uploads/?digest={digest}", body=b"content"),
        repository.call("POST", f"blobs/uploads/?mount={digest}"),
        repository.server.call("PUT", f"{repository.start()}?digest={digest}", body=b"content"),
    ]
    assert {reply.status for reply in replies} <= {400, 404}
    assert {reply.code for reply in replies} <= {"DIGEST_INVALID", "NAME_INVALID", "UNSUPPORTED", ""}
    assert repository.tags() == []


@pytest.mark.input(42)
def test_an_error_repeats_little_of_the_request(server: RunningServer) -> None:
    """A long invalid text in a request does not make a long answer."""
    for path in (f"{'A' * 250}/tags/list", f"a/blobs/{'b' * 4_000}", f"a/manifests/{'c' * 4_000}?tag={'d' * 4_000}"):
        reply = server.call("DELETE" if "manifests" in path else "GET", f"/v2/{path}")
        assert reply.status in {400, 404}
        assert len(reply.body) < 1_000
