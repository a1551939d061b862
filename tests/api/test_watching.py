"""The oracle itself: it sees what it is there to see."""

import pytest

from tests.api.content import Repository
from tests.api.watching import CANARY, WatchedServer
from tests.api.wire import Call, Reply

HEADERS = (
    ("Docker-Distribution-API-Version", "registry/2.0"), ("X-Content-Type-Options", "nosniff"), ("X-Request-ID", "x"),
    ("Content-Type", "application/json"),
)  # fmt: skip


def test_a_refusal_that_stores_is_seen(watched: WatchedServer) -> None:
    """A session, a blob, a chunk, a tag, a delete: none of them passes for a refusal."""
    repository = Repository(watched)
    content = repository.push_image("v1")
    location = repository.start()
    for deed in (
        repository.start,
        repository.push_blob,
        lambda: watched.call("PATCH", location, body=b"chunk"),
        lambda: repository.push_manifest(content, "v2"),
        lambda: repository.call("DELETE", "manifests/v1"),
    ):
        with pytest.raises(AssertionError), watched.refusing():
            deed()


def test_what_may_end_with_a_refusal(watched: WatchedServer) -> None:
    """A session, and nothing else."""
    location = Repository(watched).start()
    with watched.refusing():
        assert watched.call("DELETE", location).status == 204


def test_what_was_not_asked_for_is_seen(watched: WatchedServer) -> None:
    """The name of another repository in an answer, unless the client has named it."""
    body = f'{{"errors": [{{"code": "DENIED", "message": "see {CANARY}/app"}}]}}'.encode()
    reply = Reply(403, HEADERS, body)
    watched._keep_private(Call("GET", f"/v2/{CANARY}/app/tags/list"), reply)
    with pytest.raises(AssertionError):
        watched._keep_private(Call("GET", "/v2/other/app/tags/list"), reply)


def test_the_catalog_is_there_to_be_seen(watched: WatchedServer) -> None:
    """And has the repository that no other answer may name."""
    assert f"{CANARY}/app" in watched.call("GET", "/v2/_catalog").json["repositories"]
