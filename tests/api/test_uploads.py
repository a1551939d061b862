"""Blobs pushed in every form of the specification and of its clients."""

import pytest

from tests.api.content import Repository, digest_of, fresh_blob
from tests.api.watching import WatchedServer
from tests.api.wire import Reply

ALGORITHMS = ["sha256", "sha512"]
SIZES = [0, 1, 1000, (1 << 20) + 1]


@pytest.fixture(scope="session")
def server(watched: WatchedServer) -> WatchedServer:
    """Each refusal is held against the oracle."""
    return watched


def finish(
    repository: Repository, location: str, content: bytes, *, rest: bytes = b"", algorithm: str = "sha256"
) -> Reply:
    """The closing PUT, with `rest` as the last chunk; the blob must be there afterwards, and the session gone."""
    digest = digest_of(content, algorithm)
    reply = repository.server.call("PUT", f"{location}?digest={digest}", body=rest)
    assert reply.status == 201, reply
    assert repository.server.call("GET", location).status == 404
    assert_stored(repository, reply, content, digest)
    return reply


def assert_stored(repository: Repository, created: Reply, content: bytes, digest: str) -> None:
    """A 201 says where the blob is, and there it is."""
    assert created["Location"] == f"/v2/{repository.name}/blobs/{digest}"
    assert created["Docker-Content-Digest"] == digest
    assert created["Content-Length"] == "0"
    pulled = repository.server.call("GET", created["Location"])
    assert (pulled.status, pulled.body) == (200, content)
    head = repository.server.call("HEAD", created["Location"])
    assert (head.status, head["Content-Length"]) == (200, str(len(content)))


def assert_session(reply: Reply, status: int, location: str, offset: int) -> None:
    """What every answer about a session says."""
    assert (reply.status, reply["Location"]) == (status, location)
    assert reply["Range"] == f"0-{max(offset - 1, 0)}"
    assert reply["Docker-Upload-UUID"] == location.rpartition("/")[2]
    assert reply.body == b""


@pytest.mark.input(72)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("size", SIZES)
def test_post_with_the_blob(repository: Repository, size: int, algorithm: str) -> None:
    """end-4b: one POST stores a blob."""
    content = fresh_blob(size)
    digest = digest_of(content, algorithm)
    reply = repository.call("POST", f"blobs/uploads/?digest={digest}", body=content)
    assert reply.status == 201
    assert_stored(repository, reply, content, digest)


@pytest.mark.input(72)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("size", SIZES)
def test_post_then_put(repository: Repository, size: int, algorithm: str) -> None:
    """end-4a, end-6: a session, and the whole blob in the closing PUT, whose digest nobody announced."""
    content = fresh_blob(size)
    finish(repository, repository.start(), content, rest=content, algorithm=algorithm)


@pytest.mark.parametrize("path", ["blobs/uploads/", "blobs/uploads"])
@pytest.mark.parametrize("media_type", ["application/octet-stream", "application/json", ""])
def test_the_first_post(repository: Repository, path: str, media_type: str) -> None:
    """Clients POST with and without the last slash, and with whatever Content-Type."""
    reply = repository.call("POST", path, ("Content-Type", media_type))
    assert_session(reply, 202, reply["Location"], 0)
    assert reply["Content-Length"] == "0"
    assert "OCI-Chunk-Min-Length" not in reply


@pytest.mark.input(61)
@pytest.mark.parametrize("closing", ALGORITHMS)
@pytest.mark.parametrize("announced", ALGORITHMS)
def test_digest_algorithm(repository: Repository, announced: str, closing: str) -> None:
    """end-4c: the announced algorithm is a hint; the closing digest decides."""
    content = fresh_blob(1000)
    location = repository.start(f"?digest-algorithm={announced}")
    assert repository.server.call("PATCH", location, body=content[:600]).status == 202
    finish(repository, location, content, rest=content[600:], algorithm=closing)


@pytest.mark.input(61)
@pytest.mark.parametrize("algorithm", ["md5", "sha384", "SHA256", "", "sha256%00"])
def test_an_unknown_digest_algorithm(repository: Repository, algorithm: str) -> None:
    """Only registered algorithms open a session."""
    reply = repository.call("POST", f"blobs/uploads/?digest-algorithm={algorithm}")
    assert (reply.status, reply.code) == (400, "DIGEST_INVALID")


@pytest.mark.input(63)
@pytest.mark.parametrize("form", ["{0}-{1}", "bytes {0}-{1}/{2}", "bytes {0}-{1}/*", "bytes={0}-{1}"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_chunks(repository: Repository, form: str, algorithm: str) -> None:
    """end-5 with Content-Range, in the specification's form and in those of RFC 9110."""
    content = fresh_blob(2500)
    location = repository.start()
    for begin in (0, 1000, 2000):
        chunk = content[begin : begin + 1000]
        value = form.format(begin, begin + len(chunk) - 1, len(content))
        reply = repository.server.call("PATCH", location, ("Content-Range", value), body=chunk)
        assert_session(reply, 202, location, begin + len(chunk))
        assert_session(repository.server.call("GET", location), 204, location, begin + len(chunk))
    finish(repository, location, content, algorithm=algorithm)


def test_the_last_chunk_in_the_put(repository: Repository) -> None:
    """end-6 may bring the last chunk, with its Content-Range."""
    content = fresh_blob(2500)
    location = repository.start()
    repository.server.call("PATCH", location, ("Content-Range", "0-999"), body=content[:1000])
    path = f"{location}?digest={digest_of(content)}"
    reply = repository.server.call("PUT", path, ("Content-Range", "1000-2499"), body=content[1000:])
    assert reply.status == 201
    assert_stored(repository, reply, content, digest_of(content))


@pytest.mark.input(65)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_stream(repository: Repository, algorithm: str) -> None:
    """end-5 in chunked transfer coding, without any length, as docker sends it."""
    content = fresh_blob(300_000)
    pieces = (content[:1], content[1:70_000], content[70_000:])
    location = repository.start()
    reply = repository.server.call("PATCH", location, body=pieces)
    assert_session(reply, 202, location, len(content))
    finish(repository, location, content, algorithm=algorithm)


def test_a_stream_in_the_put(repository: Repository) -> None:
    """end-6 in chunked transfer coding."""
    content = fresh_blob(5000)
    path = f"{repository.start()}?digest={digest_of(content)}"
    reply = repository.server.call("PUT", path, body=(content[:2000], content[2000:]))
    assert reply.status == 201
    assert_stored(repository, reply, content, digest_of(content))


@pytest.mark.input(65)
def test_streams_without_content_range_are_appended(repository: Repository) -> None:
    """Without Content-Range a chunk goes where the session stands."""
    content = fresh_blob(3000)
    location = repository.start()
    for begin in (0, 1000, 2000):
        assert repository.server.call("PATCH", location, body=(content[begin : begin + 1000],)).status == 202
    finish(repository, location, content)


@pytest.mark.input(66)
def test_an_empty_patch(repository: Repository) -> None:
    """An empty chunk changes nothing, and says `0-0` while the session is empty."""
    location = repository.start()
    assert_session(repository.server.call("PATCH", location), 202, location, 0)
    assert_session(repository.server.call("PATCH", location, body=()), 202, location, 0)
    finish(repository, location, b"")


@pytest.mark.parametrize("stray", ["2000-2000", "2000-1999", "0-1999", "bytes */2000", "nonsense"])
def test_an_empty_put_with_a_stray_content_range(repository: Repository, stray: str) -> None:
    """As regclient sends one: without a body there is no range to disagree about."""
    content = fresh_blob(2000)
    location = repository.start()
    repository.server.call("PATCH", location, body=content)
    path = f"{location}?digest={digest_of(content)}"
    assert repository.server.call("PUT", path, ("Content-Range", stray)).status == 201


@pytest.mark.input(75)
def test_status_of_a_new_session(repository: Repository) -> None:
    """end-13, also as HEAD."""
    location = repository.start()
    assert_session(repository.server.call("GET", location), 204, location, 0)
    assert_session(repository.server.call("HEAD", location), 204, location, 0)
    assert_session(repository.server.call("GET", f"{location}?digest=whatever"), 204, location, 0)


@pytest.mark.input(75)
def test_cancel(repository: Repository) -> None:
    """end-14: the session and its bytes go at once."""
    location = repository.start()
    before = repository.server.uploads_left()
    repository.server.call("PATCH", location, body=fresh_blob())
    assert len(repository.server.uploads_left()) == len(before) + 1
    assert repository.server.call("DELETE", location).status == 204
    assert repository.server.uploads_left() == before
    for method in ("GET", "HEAD", "PATCH", "DELETE"):
        reply = repository.server.call(method, location)
        assert (reply.status, reply.code) == (404, "" if method == "HEAD" else "BLOB_UPLOAD_UNKNOWN")


def test_cancel_before_any_byte(repository: Repository) -> None:
    """As kaniko probes with POST and DELETE, and docker cancels spare sessions."""
    assert repository.server.call("DELETE", repository.start()).status == 204
    assert repository.status("tags/list") == 404


@pytest.mark.input(74)
@pytest.mark.parametrize("with_body", [False, True])
def test_a_repeated_put(repository: Repository, with_body: bool) -> None:
    """Who lost the 201 asks again, and hears it again."""
    content = fresh_blob()
    location = repository.start()
    repository.server.call("PATCH", location, body=b"" if with_body else content)
    for _ in range(3):
        path = f"{location}?digest={digest_of(content)}"
        reply = repository.server.call("PUT", path, body=content if with_body else b"")
        assert reply.status == 201
        assert_stored(repository, reply, content, digest_of(content))


@pytest.mark.input(74)
def test_a_put_for_a_session_that_never_was(repository: Repository) -> None:
    """Without the blob there is no 201 to repeat."""
    content = repository.push_blob()
    other = digest_of(fresh_blob())
    reply = repository.call("PUT", f"blobs/uploads/no-such-session?digest={other}")
    assert (reply.status, reply.code) == (404, "BLOB_UPLOAD_UNKNOWN")
    elsewhere = Repository(repository.server)
    reply = elsewhere.call("PUT", f"blobs/uploads/no-such-session?digest={digest_of(content)}")
    assert (reply.status, reply.code) == (404, "BLOB_UPLOAD_UNKNOWN")


@pytest.mark.input(73)
def test_the_same_blob_again(repository: Repository) -> None:
    """A blob that is there is pushed again: 201, one file, no upload left."""
    content = repository.push_blob()
    keys, uploads = repository.server.keys_stored(), repository.server.uploads_left()
    repository.push_blob(content)
    location = repository.start()
    repository.server.call("PATCH", location, body=content)
    finish(repository, location, content)
    Repository(repository.server).push_blob(content)
    assert repository.server.keys_stored() == keys
    assert repository.server.uploads_left() == uploads


@pytest.mark.input(43)
def test_both_digests_of_a_blob(repository: Repository) -> None:
    """The same bytes under both algorithms are two blobs; neither digest finds what was not pushed under it."""
    content = repository.push_blob()
    assert repository.status(f"blobs/{digest_of(content, 'sha512')}") == 404
    repository.push_blob(content, "sha512")
    for algorithm in ALGORITHMS:
        assert repository.call("GET", f"blobs/{digest_of(content, algorithm)}").body == content


def test_query_parameters_as_clients_write_them(repository: Repository) -> None:
    """Escaped or not, repeated or alone, a digest is the same digest."""
    content = fresh_blob()
    digest = digest_of(content)
    for query in (digest, digest.replace(":", "%3A"), f"{digest}&digest={digest}", f"{digest}&account=me"):
        assert repository.call("POST", f"blobs/uploads/?digest={query}", body=content).status == 201
    location = repository.start()
    assert repository.server.call("PUT", f"{location}?_state=x&digest={digest}", body=content).status == 201


CHUNK_TYPES = ["application/json", "text/html", "", "multipart/form-data; boundary=x", "*/*", "a" * 1_000]


@pytest.mark.input(67)
@pytest.mark.parametrize("media_type", CHUNK_TYPES, ids=lambda one: one[:20])
def test_the_content_type_of_a_chunk(repository: Repository, media_type: str) -> None:
    """What it says of itself is not looked at: a chunk is bytes."""
    content = b'{"n": ' + fresh_blob(500).hex().encode()
    location = repository.start()
    header = ("Content-Type", media_type)
    assert repository.server.call("PATCH", location, header, body=content[:300]).status == 202
    path = f"{location}?digest={digest_of(content)}"
    assert repository.server.call("PUT", path, header, body=content[300:]).status == 201
    assert repository.call("GET", f"blobs/{digest_of(content)}").body == content


@pytest.mark.input(81)
def test_chunks_of_one_byte(repository: Repository) -> None:
    """Small chunks are chunks: the blob is what came, and is stored once."""
    content = fresh_blob(150)
    location, before = repository.start(), repository.server.keys_stored()
    for place in range(len(content)):
        chunk = content[place : place + 1]
        reply = repository.server.call("PATCH", location, ("Content-Range", f"{place}-{place}"), body=chunk)
        assert_session(reply, 202, location, place + 1)
    finish(repository, location, content)
    assert len(repository.server.keys_stored()) == len(before) + 1
