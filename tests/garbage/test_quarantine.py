"""A damaged blob, seen by clients: while the server runs, from the scrub that found it to the push that repairs it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.content import Repository, digest_of, fresh_blob, image
from tests.api.running import RunningServer, running
from tests.cli.running import program


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    with running(tmp_path, scrub_mib_per_second=0) as started:
        yield started


def flip_a_bit(server: RunningServer, content: bytes) -> None:
    (key,) = [key for key in server.stored.blobs() if server.stored.read(key) == content]
    server.stored.write(key, content[:-1] + bytes([content[-1] ^ 1]))


def test_a_damaged_blob_is_gone_for_clients(server: RunningServer) -> None:
    """After a scrub beside the server HEAD and GET are 404, a mount is a session, and the next push repairs it."""
    repository, other = Repository(server), Repository(server)
    content = repository.push_blob(fresh_blob(300_000))
    repository.push_image()
    path, digest = f"blobs/{digest_of(content)}", digest_of(content)
    flip_a_bit(server, content)
    assert program("scrub", ENTREPOT_DATA=str(server.folder)).status == 1
    for method in ("HEAD", "GET"):
        assert repository.call(method, path).status == 404
    refusal = repository.call("GET", path).json["errors"][0]
    assert (refusal["code"], refusal["detail"]) == ("BLOB_UNKNOWN", {"digest": digest})
    assert "push it again to repair it" in refusal["message"]
    assert repository.call("GET", path, ("Range", "bytes=0-9")).status == 404
    assert other.call("POST", f"blobs/uploads/?mount={digest}&from={repository.name}").status == 202
    config = repository.push_blob()
    refusal = repository.put("again", image(config, [content])).json["errors"][0]
    assert (refusal["code"], refusal["detail"]) == ("MANIFEST_BLOB_UNKNOWN", {"digest": digest})
    repository.push_blob(content)
    assert repository.call("GET", path).body == content
    assert other.call("POST", f"blobs/uploads/?mount={digest}&from={repository.name}").status == 201
    assert program("scrub", ENTREPOT_DATA=str(server.folder)).status == 0
