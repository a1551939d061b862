"""Uploads that are refused, and what is left of them: nothing, or the session as it was."""

import pytest

from tests.api.conftest import Serve
from tests.api.content import ABSENT, Repository, digest_of, fresh_blob, image
from tests.api.watching import WatchedServer
from tests.api.wire import Call, head, written
from tests.waiting import wait_until

CONTENT = fresh_blob(3067)


@pytest.fixture(scope="session")
def server(watched: WatchedServer) -> WatchedServer:
    """Each refusal is held against the oracle."""
    return watched


@pytest.fixture
def location(repository: Repository) -> str:
    """A session that stands at byte 1024."""
    location = repository.start()
    reply = repository.server.call("PATCH", location, ("Content-Range", "0-1023"), body=CONTENT[:1024])
    assert reply.status == 202
    return location


def assert_stands(repository: Repository, location: str, offset: int) -> None:
    """The session is where it was, and can be finished."""
    status = repository.server.call("GET", location)
    assert (status.status, status["Range"], status["Location"]) == (204, f"0-{offset - 1}", location)
    path = f"{location}?digest={digest_of(CONTENT)}"
    assert repository.server.call("PUT", path, body=CONTENT[offset:]).status == 201
    assert repository.call("GET", f"blobs/{digest_of(CONTENT)}").body == CONTENT


OUT_OF_ORDER = [(2048, 3067), (1025, 2000), (0, 1024), (1023, 2000), (0, 3067)]


@pytest.mark.input(62, 71)
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize(("begin", "end"), OUT_OF_ORDER)
def test_chunks_out_of_order(repository: Repository, location: str, method: str, begin: int, end: int) -> None:
    """A chunk that begins elsewhere is 416 and says where the session stands; the official suite sends these."""
    query = f"?digest={digest_of(CONTENT)}" if method == "PUT" else ""
    value = f"{begin}-{end - 1}"
    reply = repository.server.call(method, location + query, ("Content-Range", value), body=CONTENT[begin:end])
    assert (reply.status, reply.code) == (416, "BLOB_UPLOAD_INVALID")
    assert (reply["Location"], reply["Range"]) == (location, "0-1023")
    assert_stands(repository, location, 1024)


@pytest.mark.input(62)
def test_a_first_chunk_that_is_not_the_first(repository: Repository) -> None:
    """On an empty session nothing but byte 0 begins."""
    location = repository.start()
    reply = repository.server.call("PATCH", location, ("Content-Range", "5-9"), body=b"56789")
    assert (reply.status, reply.code, reply["Range"]) == (416, "BLOB_UPLOAD_INVALID", "0-0")


BAD_RANGES = [
    "4-0", "-1-4", "0--1", "0-", "-4", "a-b", "0-99999999999999999999", "bytes", "bytes */5", "items 0-4/5",
    "\xd9\xa0-\xd9\xa4", "0-4,5-9", "0 - 4", "+0-4", "0x0-4", "1024-1028;x",
]  # fmt: skip


@pytest.mark.input(63)
@pytest.mark.parametrize("value", BAD_RANGES)
def test_a_content_range_that_is_none(repository: Repository, location: str, value: str) -> None:
    """What is no range is 400, never a guess."""
    reply = repository.server.call("PATCH", location, ("Content-Range", value), body=b"01234")
    assert (reply.status, reply.code) == (400, "BLOB_UPLOAD_INVALID")
    assert_stands(repository, location, 1024)


@pytest.mark.input(63)
def test_two_content_ranges(repository: Repository, location: str) -> None:
    """Two headers could mean two things."""
    headers = [("Content-Range", "1024-1028"), ("Content-Range", "1024-1028")]
    reply = repository.server.call("PATCH", location, *headers, body=b"01234")
    assert (reply.status, reply.code) == (400, "BLOB_UPLOAD_INVALID")
    assert_stands(repository, location, 1024)


@pytest.mark.parametrize("body", [b"0123456789", b"01", (b"0123456789",), (b"01",), ()], ids=repr)
def test_a_chunk_of_another_length(repository: Repository, location: str, body: bytes | tuple[bytes, ...]) -> None:
    """A chunk that is longer or shorter than its Content-Range is 400 and leaves nothing."""
    reply = repository.server.call("PATCH", location, ("Content-Range", "1024-1028"), body=body)
    if body == ():
        assert reply.status in {202, 400}
    else:
        assert (reply.status, reply.code) == (400, "SIZE_INVALID")
    assert_stands(repository, location, 1024)


WRONG = [("the whole", b"", CONTENT), ("closes chunks", CONTENT[:1024], CONTENT[1024:]), ("empty", CONTENT, b"")]


@pytest.mark.parametrize(("sent", "rest"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_put_of_another_digest(repository: Repository, sent: bytes, rest: bytes, algorithm: str) -> None:
    """Content of another digest is 400; the session ends and leaves no file."""
    before = repository.server.uploads_left()
    location = repository.start()
    repository.server.call("PATCH", location, body=sent)
    wrong = digest_of(b"other", algorithm)
    reply = repository.server.call("PUT", f"{location}?digest={wrong}", body=rest)
    assert (reply.status, reply.code) == (400, "DIGEST_INVALID")
    assert repository.status(f"blobs/{wrong}") == 404
    assert repository.server.call("GET", location).status == 404
    assert repository.server.uploads_left() == before


@pytest.mark.input(60)
def test_post_of_another_digest(repository: Repository) -> None:
    """end-4b with other content is 400, stores nothing and makes no repository."""
    files, uploads = repository.server.keys_stored(), repository.server.uploads_left()
    for body in (b"short", CONTENT + b"long", b""):
        reply = repository.call("POST", f"blobs/uploads/?digest={digest_of(CONTENT)}", body=body)
        assert (reply.status, reply.code) == (400, "DIGEST_INVALID")
    assert repository.status(f"blobs/{digest_of(CONTENT)}") == 404
    assert repository.status("tags/list") == 404
    assert (repository.server.keys_stored(), repository.server.uploads_left()) == (files, uploads)


QUERIES = ["", "?digest=", "?digest", "?digest=nonsense", f"?digest={ABSENT}&digest={digest_of(CONTENT)}"]


@pytest.mark.input(44)
@pytest.mark.parametrize("query", QUERIES)
def test_put_without_a_digest(repository: Repository, location: str, query: str) -> None:
    """A closing PUT names one digest; one that does not leaves the session as it is."""
    reply = repository.server.call("PUT", location + query, body=CONTENT[1024:])
    assert (reply.status, reply.code) == (400, "DIGEST_INVALID")
    assert_stands(repository, location, 1024)


@pytest.mark.input(44)
@pytest.mark.parametrize("query", [f"mount={ABSENT}&digest={ABSENT}", f"digest={ABSENT}&mount=", "digest=&mount="])
def test_a_mount_that_brings_a_blob(repository: Repository, query: str) -> None:
    """A POST either mounts or brings a blob."""
    reply = repository.call("POST", f"blobs/uploads/?{query}")
    assert (reply.status, reply.code) == (400, "UNSUPPORTED")


@pytest.mark.input(77)
def test_a_session_belongs_to_its_repository(repository: Repository, location: str) -> None:
    """A session's id opens nothing in another repository."""
    elsewhere = Repository(repository.server)
    session = location.rpartition("/")[2]
    for method in ("GET", "PATCH", "DELETE"):
        reply = elsewhere.call(method, f"blobs/uploads/{session}")
        assert (reply.status, reply.code) == (404, "BLOB_UPLOAD_UNKNOWN")
    reply = elsewhere.call("PUT", f"blobs/uploads/{session}?digest={digest_of(CONTENT[:1024])}")
    assert (reply.status, reply.code) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert_stands(repository, location, 1024)


SESSIONS = ["x", "..", "%2e%2e", "a" * 4_000, "-", "%F0%9F%90%B3", "'--", "0" * 32, ""]


@pytest.mark.input(77)
@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session[:20])
def test_sessions_that_never_were(repository: Repository, session: str) -> None:
    """An invented session is 404, or no path at all."""
    for method in ("GET", "PATCH", "DELETE"):
        reply = repository.call(method, f"blobs/uploads/{session}", body=b"content")
        assert reply.status in ({404} if session else {405})
    assert repository.status("tags/list") == 404


@pytest.mark.input(59)
def test_a_post_with_a_body_but_no_digest(repository: Repository) -> None:
    """The body is nobody's: it is forgotten, and the session begins empty."""
    reply = repository.call("POST", "blobs/uploads/", body=b"content")
    assert (reply.status, reply["Range"]) == (202, "0-0")
    path = f"{reply['Location']}?digest={digest_of(CONTENT)}"
    assert repository.server.call("PUT", path, body=CONTENT).status == 201


MOST = 2000


@pytest.mark.input(79)
@pytest.mark.parametrize("is_announced", [True, False])
@pytest.mark.parametrize("form", ["PATCH", "PUT", "POST"])
def test_a_blob_that_is_too_large(serve: Serve, form: str, is_announced: bool) -> None:
    """One byte too many is 413, however it comes; the session has ended, and nothing is left in the store."""
    server = serve(blob_bytes=MOST)
    repository = Repository(server)
    before = len(server.keys_stored())
    for size, status in ((MOST, 201), (MOST + 1, 413)):
        content = fresh_blob(size)
        query = f"?digest={digest_of(content)}"
        rest: bytes | tuple[bytes, ...] = content[1000:] if is_announced else (content[1000:1500], content[1500:])
        if form == "POST":
            whole = content if is_announced else (content[:1000], content[1000:])
            reply = repository.call("POST", f"blobs/uploads/{query}", body=whole)
        else:
            location = repository.start()
            server.call("PATCH", location, body=content[:1000])
            reply = server.call(form, location + (query if form == "PUT" else ""), body=rest)
            if form == "PATCH" and reply.status == 202:
                reply = server.call("PUT", location + query)
            assert server.call("GET", location).status == 404
        assert (reply.status, reply.code) == (status, "SIZE_INVALID" if status == 413 else "")
        assert repository.status(f"blobs/{digest_of(content)}") == (200 if status == 201 else 404)
    assert len(server.keys_stored()) == before + 1
    assert server.uploads_left() == []


def test_an_announced_size(serve: Serve) -> None:
    """Who waits for 100 Continue is told before anything is sent."""
    server = serve(blob_bytes=MOST)
    location = Repository(server).start()
    with server.connect() as connection:
        connection.write(head(Call("PATCH", location, (("Expect", "100-continue"), ("Content-Length", "2001"))), 5000))
        assert connection.read("PATCH").status == 413


def test_too_many_uploads(serve: Serve) -> None:
    """The next one is told to try again; status and cancel are not refused, and all goes on when one has ended."""
    server = serve(uploads_at_once=1)
    repository = Repository(server)
    first, second, third = repository.start(), repository.start(), repository.start()
    content = fresh_blob(10)
    assert server.call("PATCH", third, body=content).status == 202
    with server.connect() as connection:
        connection.write(head(Call("PATCH", first, (("Content-Length", "10"),)), server.port))
        wait_until(server.has_writer, "the first is being written")
        for call in (
            ("PATCH", second),
            ("PUT", f"{second}?digest={digest_of(content)}"),
            ("POST", f"/v2/{repository.name}/blobs/uploads/?digest={digest_of(content)}"),
        ):
            with server.connect() as other:
                other.write(written(Call(*call, (), content), server.port))
                reply = other.read(call[0])
            assert (reply.status, reply["Retry-After"]) == (503, "5")
        assert server.call("GET", second).status == 204
        assert server.call("PUT", f"{third}?digest={digest_of(content)}").status == 201  # all of it has come before
        connection.write(content)
        assert connection.read("PATCH").status == 202
    assert server.call("PUT", f"{second}?digest={digest_of(content)}", body=content).status == 201


def test_the_largest_manifest(serve: Serve) -> None:
    """It is a setting."""
    server = serve(manifest_bytes=4096)
    repository = Repository(server)
    config = repository.push_blob()
    for size, status in ((4096, 201), (4097, 413)):
        content = image(config, annotations={"a": ""})
        content = image(config, annotations={"a": "x" * (size - len(content))})
        reply = repository.put("v1", content)
        assert (len(content), reply.status) == (size, status)
    assert "4096 bytes" in reply.errors[0]["message"]
