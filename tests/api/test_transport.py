"""Bytes that are no HTTP, or HTTP that two readers could read differently, and bodies that nobody asked for."""

import pytest

from tests.api.conftest import Serve
from tests.api.content import OCI_MANIFEST, Repository, digest_of, fresh_blob
from tests.api.running import RunningServer
from tests.api.watching import WatchedServer
from tests.api.wire import Call, Reply, chunked, head, keep_laws

HOST = b"Host: localhost\r\n"


@pytest.fixture(scope="session")
def server(watched: WatchedServer) -> WatchedServer:
    """Each refusal is held against the oracle."""
    return watched


def exchange(server: RunningServer, sent: bytes) -> Reply:
    with server.connect() as connection:
        connection.write(sent)
        return connection.read(sent.split(b" ")[0].decode("latin-1"))


def assert_refused(server: WatchedServer, sent: bytes) -> None:
    """400, the end of the connection, and nothing stored."""
    with server.refusing(), server.connect() as connection:
        connection.write(sent)
        assert connection.read("PATCH").status == 400
        assert connection.read_to_end() == b""


NO_HTTP = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "random": bytes(range(256)) * 4,
    "an unknown method": b"FOOBAR /v2/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "a small method": b"get /v2/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "CONNECT": b"CONNECT localhost:80 HTTP/1.1\r\n" + HOST + b"\r\n",
    "no path": b"GET  HTTP/1.1\r\n" + HOST + b"\r\n",
    "a path without slash": b"GET v2 HTTP/1.1\r\n" + HOST + b"\r\n",
    "raw UTF-8": "GET /v2/é HTTP/1.1\r\n".encode() + HOST + b"\r\n",
    "raw bytes in the query": b"GET /v2/?\xff HTTP/1.1\r\n" + HOST + b"\r\n",
    "NUL in a header": b"GET /v2/ HTTP/1.1\r\n" + HOST + b"X: a\0b\r\n\r\n",
    "a space before the colon": b"GET /v2/ HTTP/1.1\r\n" + HOST + b"Content-Length : 3\r\n\r\n",
    "a header without a colon": b"GET /v2/ HTTP/1.1\r\n" + HOST + b"nonsense\r\n\r\n",
    "HTTP/0.9": b"GET /v2/\r\n\r\n",
    "HTTP/9": b"GET /v2/ HTTP/9.9\r\n" + HOST + b"\r\n",
}


@pytest.mark.input(9, 17, 21)
@pytest.mark.parametrize("sent", NO_HTTP.values(), ids=NO_HTTP)
def test_what_is_no_http(server: WatchedServer, sent: bytes) -> None:
    """400 and the end of the connection; the next client is served."""
    with server.refusing(), server.connect() as connection:
        connection.write(sent)
        received = connection.read_to_end()
    assert received.startswith(b"HTTP/1.1 400 ")
    assert server.call("GET", "/v2/").status == 200


TARGETS = [
    (b"OPTIONS *", {404, 405}), (b"GET *", {400, 404}), (b"GET http://evil.example/v2/no/such/tags/list", {400, 404}),
    (b"GET //v2//a", {400, 404}), (b"GET //evil.example/v2/", {400, 404}), (b"GET /v2/a#b", {400, 404}),
    (b"GET /v2\\a", {400, 404}), (b"GET /v2//a/manifests/x", {400, 404}), (b"GET /v2/a//b/tags/list", {400}),
    (b"GET /v2/../admin", {400, 404}), (b"GET /v2/%2e%2e/admin", {400, 404}), (b"GET /..;/metrics", {404}),
    (b"GET /v2/x/../../etc/passwd", {400, 404}), (b"GET /v2/%00", {400}), (b"GET /v2/%", {400, 404}),
    (b"GET /v2/;/tags/list", {400}), (b"GET /v2/no/such/tags/list?" + b"a&" * 4_000, {404}),
]  # fmt: skip


@pytest.mark.input(2, 3, 5, 7, 8)
@pytest.mark.parametrize(("line", "statuses"), TARGETS, ids=[line[:40].decode() for line, _ in TARGETS])
def test_strange_targets(server: WatchedServer, line: bytes, statuses: set[int]) -> None:
    """A target that is no endpoint is 404 or 400 in the specification's words, and never a redirect."""
    with server.refusing():
        reply = exchange(server, line + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    keep_laws("GET", reply)
    assert reply.status in statuses
    assert "Location" not in reply


LENGTHS = [
    b"Content-Length: 3\r\nContent-Length: 4", b"Content-Length: 3\r\nContent-Length: 3", b"Content-Length: -1",
    b"Content-Length: +3", b"Content-Length: 0x3", b"Content-Length: 3, 3", b"Content-Length:",
    b"Content-Length: 99999999999999999999999", b"Content-Length: 3\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nContent-Length: 3", b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: chunked, gzip", b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: identity",
    b"Transfer-Encoding: chunked, chunked", b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
]  # fmt: skip


@pytest.mark.input(13, 14)
@pytest.mark.parametrize("length", LENGTHS, ids=[length.decode() for length in LENGTHS])
def test_lengths_that_readers_disagree_about(server: WatchedServer, repository: Repository, length: bytes) -> None:
    """What could be read as two requests, or in a coding that we do not undo, is refused; the chunk is not stored."""
    location = repository.start()
    sent = f"PATCH {location} HTTP/1.1\r\n".encode() + HOST + length + b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    assert_refused(server, sent)
    assert server.call("GET", location)["Range"] == "0-0"


CHUNKS = [
    b"-5\r\nabcde\r\n",
    b"0x3\r\nabc\r\n",
    b"1" * 17 + b"\r\nabc",
    b"3\r\nabc0\r\n\r\n",
    b"\r\n",
    b"g\r\n",
    b" 3\r\nabc\r\n",
]


@pytest.mark.input(15)
@pytest.mark.parametrize("chunk", CHUNKS)
def test_chunks_that_cannot_be_read(server: WatchedServer, repository: Repository, chunk: bytes) -> None:
    """A broken chunk ends the connection with 400, and what came before it in the request is not stored."""
    location = repository.start()
    sent = f"PATCH {location} HTTP/1.1\r\n".encode() + HOST + b"Transfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n" + chunk
    assert_refused(server, sent + b"0\r\n\r\n")
    assert server.call("GET", location)["Range"] == "0-0"


DEEDS = [
    "DELETE manifests/v1", "DELETE manifests/{manifest}", "DELETE blobs/{blob}", "DELETE blobs/uploads/{session}",
    "POST blobs/uploads/", "POST blobs/uploads/?mount={elsewhere}", "POST blobs/uploads/?mount={blob}",
]  # fmt: skip


@pytest.mark.input(15, 19)
@pytest.mark.parametrize("chunk", [b"-1\r\nx\r\n", b"2\r\nabcd\r\n"])
@pytest.mark.parametrize("deed", DEEDS)
def test_deeds_whose_body_cannot_be_read(
    server: WatchedServer, repository: Repository, deed: str, chunk: bytes
) -> None:
    """They are not done, though they need no body: another reader could take it for another request."""
    names = {
        "manifest": digest_of(repository.push_image("v1")),
        "blob": digest_of(repository.push_blob()),
        "elsewhere": digest_of(Repository(server).push_blob()),
        "session": repository.start().rpartition("/")[2],
    }
    method, _, path = deed.format(**names).partition(" ")
    line = f"{method} /v2/{repository.name}/{path} HTTP/1.1\r\n".encode()
    assert_refused(server, line + HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n" + chunk)
    assert server.call("GET", f"/v2/{repository.name}/blobs/uploads/{names['session']}").status == 204


@pytest.mark.input(15)
def test_chunks_that_can(repository: Repository) -> None:
    """Extensions and trailers are ignored; many small chunks are one body."""
    location = repository.start()
    start = f"PATCH {location} HTTP/1.1\r\n".encode() + HOST + b"Transfer-Encoding: Chunked\r\n\r\n"
    sent = start + b"3;name=value\r\nabc\r\n" + b"1\r\nx\r\n" * 5_000 + b"0\r\nTrailer: ignored\r\n\r\n"
    assert exchange(repository.server, sent).status == 202
    assert repository.server.call("GET", location)["Range"] == "0-5002"


@pytest.mark.input(19)
def test_two_requests_that_disguise_as_one(server: RunningServer) -> None:
    """A body is never read as the next request."""
    smuggled = b"GET /v2/_catalog HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with server.connect() as connection:
        connection.write(b"GET /v2/ HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(smuggled) + smuggled)
        connection.write(b"GET /healthz HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n")
        received = connection.read_to_end()
    assert received.count(b"HTTP/1.1 200 OK") == 2
    assert b"repositories" not in received


@pytest.mark.input(20)
def test_pipelining(repository: Repository) -> None:
    """A hundred requests in one packet get their hundred answers, in order."""
    tags = [f"t{number}" for number in range(99)]
    paths = [f"/v2/{repository.name}/manifests/{tag}" for tag in tags]
    requests = [f"GET {path} HTTP/1.1\r\n".encode() + HOST + b"\r\n" for path in paths]
    with repository.server.connect() as connection:
        connection.write(b"".join(requests) + b"GET /v2/ HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n")
        received = connection.read_to_end().decode()
    places = [received.index(f'"reference": "{tag}"') for tag in tags]
    assert places == sorted(places)
    assert received.count("HTTP/1.1 404 ") == 99
    assert received.endswith("{}")


def test_http_1_0(serve: Serve) -> None:
    """An old client, or nginx, is served where strangers are, and the connection ends after the answer."""
    for server, status in ((serve(anonymous="push"), b"200"), (serve(), b"403")):
        with server.connect() as connection:
            connection.write(b"GET /v2/ HTTP/1.0\r\n" + HOST + b"\r\n")
            assert connection.read_to_end().startswith(b"HTTP/1.1 " + status)


def test_a_kept_connection(repository: Repository) -> None:
    """One connection carries pushes, pulls, errors with bodies, and goes on."""
    content = fresh_blob(200_000)
    digest = digest_of(content)
    calls = [
        (Call("POST", f"/v2/{repository.name}/blobs/uploads/?digest={digest}", body=content), 201),
        (Call("GET", f"/v2/{repository.name}/blobs/{digest}"), 200),
        (Call("PUT", f"/v2/{repository.name}/manifests/-x", [("Content-Type", OCI_MANIFEST)], content), 400),
        (Call("PATCH", f"/v2/{repository.name}/blobs/uploads/none", body=(content, content)), 404),
        (Call("HEAD", f"/v2/{repository.name}/blobs/{digest}"), 200),
        (Call("POST", "/v2/NO/blobs/uploads/", body=(content,)), 400),
        (Call("GET", "/no/such/route", body=content), 404),
        (Call("GET", "/v2/"), 200),
    ]
    with repository.server.connect() as connection:
        for call, status in calls:
            body = call.body if isinstance(call.body, bytes) else b"".join(chunked(call.body))
            connection.write(head(call, repository.server.port) + body)
            reply = connection.read(call.method)
            keep_laws(call.method, reply)
            assert reply.status == status


@pytest.mark.input(18)
def test_expect_continue(repository: Repository) -> None:
    """Who asks first is told to go on when the body is wanted, and is refused without it when not."""
    content = fresh_blob()
    expect = ("Expect", "100-continue")
    for path, status in ((repository.start(), 202), (f"/v2/{repository.name}/blobs/uploads/none", 404)):
        call = Call("PATCH", path, [expect, ("Content-Length", str(len(content)))])
        with repository.server.connect() as connection:
            connection.write(head(call, repository.server.port))
            if status == 202:
                assert connection.receive(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
                connection.write(content)
            reply = connection.read("PATCH")
        assert reply.status == status
        assert status == 202 or reply["Connection"] == "close"


@pytest.mark.input(18)
@pytest.mark.parametrize("expectation", ["200-ok", "100-continue, 200-ok", "", "100-continue;q=1"])
def test_an_expectation_that_cannot_be_met(repository: Repository, expectation: str) -> None:
    """417 before the body, which nobody waits for."""
    call = Call("PATCH", repository.start(), [("Expect", expectation), ("Content-Length", "100")])
    with repository.server.connect() as connection:
        connection.write(head(call, repository.server.port))
        reply = connection.read("PATCH")
    keep_laws("PATCH", reply)
    assert (reply.status, reply.code, reply["Connection"]) == (417, "UNSUPPORTED", "close")


@pytest.mark.input(19)
def test_a_large_body_that_nobody_wants(server: RunningServer) -> None:
    """A short one is read and forgotten; a long one ends the connection, after the client has got its answer."""
    size = 64 << 20
    call = Call("GET", "/no/such/route", [("Content-Length", str(size))])
    with server.connect() as connection:
        connection.write(head(call, server.port) + bytes(6 << 20))
        reply = connection.read("GET")
        assert (reply.status, reply["Connection"]) == (404, "close")
        assert connection.read_to_end() == b""
    assert server.call("GET", "/v2/").status == 200
