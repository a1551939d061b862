"""Blobs whose bytes the store has lost or changed, and what clients are told of them."""

import contextlib
import http.client

import pytest

from tests.api.content import Repository, digest_of, fresh_blob
from tests.api.wire import Reply

SIZE = 300_000


def damage(repository: Repository, form: str) -> bytes:
    """Push a blob and change its length in the store; returns what was pushed."""
    content = fresh_blob(SIZE)
    before = set(repository.server.keys_stored())
    repository.push_blob(content)
    (key,) = set(repository.server.keys_stored()) - before
    if form == "gone":
        repository.server.stored.remove(key)
    else:
        repository.server.stored.write(key, {"empty": b"", "short": content[:-1], "long": content + b"x"}[form])
    return content


def pull(repository: Repository, content: bytes, value: str) -> Reply | None:
    """None when the answer breaks off before its end, which every client sees."""
    headers = [("Range", value)] if value else []
    with contextlib.suppress(http.client.IncompleteRead, http.client.RemoteDisconnected):
        return repository.call("GET", f"blobs/{digest_of(content)}", *headers)
    return None


@pytest.mark.input(55)
@pytest.mark.parametrize("form", ["gone", "empty", "short", "long"])
def test_a_blob_of_another_length(repository: Repository, form: str) -> None:
    """No answer seems whole that is not; the next push of the blob repairs it."""
    content = damage(repository, form)
    for value, wanted in (("", content), ("bytes=-10", content[-10:]), (f"bytes=0-{SIZE - 1}", content)):
        reply = pull(repository, content, value)
        assert reply is None or reply.body == wanted or (reply.status, reply.code) == (404, "BLOB_UNKNOWN")
    assert repository.call("HEAD", f"blobs/{digest_of(content)}").status in {200, 404}
    repository.push_blob(content)
    assert repository.call("GET", f"blobs/{digest_of(content)}").body == content
