"""Clients that stall, vanish or read slowly: they lose what they began, and nobody else loses anything."""

import contextlib
import socket
import time
from pathlib import Path

import pytest

from tests.api.conftest import Serve
from tests.api.content import OCI_MANIFEST, Repository, digest_of, fresh_blob, image
from tests.api.running import Gate, RunningServer, running
from tests.api.wire import Call, Connection, Reply, head, keep_laws, written
from tests.places import only_on
from tests.waiting import wait_until

IDLE_SECONDS = 0.3
CHUNKED = ("Transfer-Encoding", "chunked")


def send_half(connection: Connection, port: int, call: Call, half: bytes) -> None:
    """Send the head of a request and half of the body that it announces."""
    is_chunked = CHUNKED in call.headers
    connection.write(head(call, port) + (b"%x\r\n%b\r\n" % (len(half), half) if is_chunked else half))


def announce(method: str, path: str, length: int, *headers: tuple[str, str]) -> Call:
    return Call(method, path, [("Content-Length", str(length)), *headers])


def assert_usable(repository: Repository, location: str, content: bytes, offset: int) -> None:
    """The session stands at `offset` and takes the rest, as soon as the server knows that the last writer is gone."""
    status = repository.server.call("GET", location)
    assert (status.status, status["Range"]) == (204, f"0-{max(offset - 1, 0)}")
    replies: list[Reply] = []

    def accepts() -> bool:
        replies.append(repository.server.call("PATCH", location, body=content[offset:]))
        return replies[-1].status != 416

    wait_until(accepts, "the session takes the next chunk")
    assert replies[-1].status == 202
    assert repository.server.call("PUT", f"{location}?digest={digest_of(content)}").status == 201
    assert repository.call("GET", f"blobs/{digest_of(content)}").body == content


@pytest.fixture
def impatient(serve: Serve) -> Repository:
    """A repository on a server that does not wait for bodies."""
    return Repository(serve(body_idle_seconds=IDLE_SECONDS))


def assert_cut_off(server: RunningServer, call: Call) -> None:
    """Half a body and then nothing: 408, and the end of the connection."""
    with server.connect() as connection:
        send_half(connection, server.port, call, b"{" + b" " * 400)
        reply = connection.read(call.method)
        keep_laws(call.method, reply)
        assert (reply.status, reply.code, reply["Connection"]) == (408, "BLOB_UPLOAD_INVALID", "close")
        assert connection.read_to_end() == b""


@pytest.mark.input(18, 68)
@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_chunk_that_stalls(impatient: Repository, is_chunked: bool) -> None:
    """It is cut off, nothing of it is kept, and the session goes on."""
    content = fresh_blob(2000)
    location = impatient.start()
    assert impatient.server.call("PATCH", location, body=content[:1000]).status == 202
    call = Call("PATCH", location, [CHUNKED]) if is_chunked else announce("PATCH", location, 1000)
    assert_cut_off(impatient.server, call)
    assert_usable(impatient, location, content, 1000)


def test_a_closing_put_that_stalls(impatient: Repository) -> None:
    """The session is still open."""
    content = fresh_blob(2000)
    location = impatient.start()
    assert impatient.server.call("PATCH", location, body=content[:1000]).status == 202
    assert_cut_off(impatient.server, announce("PUT", f"{location}?digest={digest_of(content)}", 1000))
    assert_usable(impatient, location, content, 1000)


@pytest.mark.input(116)
def test_other_bodies_that_stall(impatient: Repository) -> None:
    """A blob in one request and a manifest leave nothing at all."""
    content = fresh_blob()
    before = impatient.server.uploads_left()
    path = f"/v2/{impatient.name}/blobs/uploads/?digest={digest_of(content)}"
    assert_cut_off(impatient.server, announce("POST", path, 1000))
    assert impatient.server.uploads_left() == before
    manifest = announce("PUT", f"/v2/{impatient.name}/manifests/v1", 1000, ("Content-Type", OCI_MANIFEST))
    assert_cut_off(impatient.server, manifest)
    assert impatient.status("tags/list") == 404


def test_a_slow_body_is_no_stalled_one(serve: Serve) -> None:
    """A client may take longer in all, as long as something comes."""
    repository = Repository(serve(body_idle_seconds=1))
    content = fresh_blob(1000)
    location = repository.start()
    with repository.server.connect() as connection:
        connection.write(head(announce("PATCH", location, 1000), repository.server.port))
        for begin in range(0, 1000, 200):
            time.sleep(0.25)  # the client's pace, which is what this is about
            connection.write(content[begin : begin + 200])
        assert connection.read("PATCH").status == 202
    assert_usable(repository, location, content, 1000)


@pytest.mark.input(68)
@pytest.mark.parametrize("vanish", ["reset", "close", "half-close"])
@pytest.mark.parametrize("form", ["Content-Length", "Content-Range", "chunked"])
def test_a_client_that_vanishes_in_a_chunk(repository: Repository, vanish: str, form: str) -> None:
    """The offset is what it was; a body without its end is no chunk, however it was sent."""
    content = fresh_blob(3 << 20)
    location = repository.start()
    assert repository.server.call("PATCH", location, body=content[:1000]).status == 202
    rest = len(content) - 1000
    calls = {
        "Content-Length": announce("PATCH", location, rest),
        "Content-Range": announce("PATCH", location, rest, ("Content-Range", f"1000-{len(content) - 1}")),
        "chunked": Call("PATCH", location, [CHUNKED]),
    }
    with repository.server.connect() as connection:
        send_half(connection, repository.server.port, calls[form], content[1000:2_000_000])
        if vanish == "reset":
            connection.abort()
        elif vanish == "half-close":
            connection.end_writing()
            assert connection.read_to_end() == b""
    assert_usable(repository, location, content, 1000)


def test_a_client_that_vanishes_in_a_blob_or_manifest(repository: Repository) -> None:
    """Of a blob in one request and of a manifest nothing is left."""
    before = repository.server.uploads_left()
    content = image(fresh_blob())
    calls = [
        announce("POST", f"/v2/{repository.name}/blobs/uploads/?digest={digest_of(content)}", len(content)),
        announce("PUT", f"/v2/{repository.name}/manifests/v1", len(content), ("Content-Type", OCI_MANIFEST)),
    ]
    for call in calls:
        with repository.server.connect() as connection:
            send_half(connection, repository.server.port, call, content[:-1])
            connection.abort()
    wait_until(lambda: repository.server.uploads_left() == before, "the torn upload is removed")
    assert repository.status("tags/list") == 404


@only_on("files", "a named moment of its own commit")
def test_a_client_that_does_not_wait_for_its_201(gated: Repository, gate: Gate) -> None:
    """It vanishes while the blob is committed, asks again, and hears 201."""
    content = fresh_blob()
    location = gated.start()
    path = f"{location}?digest={digest_of(content)}"
    with gate.hold("commit.synced") as arrived, gated.server.connect() as connection:
        connection.write(head(announce("PUT", path, len(content)), gated.server.port) + content)
        assert arrived.wait(10)
        connection.abort()
    replies: list[Reply] = []

    def is_answered() -> bool:
        replies.append(gated.server.call("PUT", path, body=content))
        return replies[-1].status != 416

    wait_until(is_answered, "the blob is stored")
    assert replies[-1].status == 201
    assert gated.call("GET", f"blobs/{digest_of(content)}").body == content
    assert (len(gated.server.keys_stored()), gated.server.uploads_left()) == (1, [])


def open_files(folder: Path) -> list[str]:
    """Blobs and uploads below `folder` that this process, and so the server in it, has open."""
    names = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            names.append(str(link.readlink()))
    return [name for name in names if name.startswith(str(folder / "blobs"))]


def test_manifests_that_are_never_finished(repository: Repository) -> None:
    """Clients that fill the memory for manifests: large ones are refused until they are gone, all else goes on."""
    port, most, large = repository.server.port, 64 << 20, b"{" + b" " * 4_000_000 + b"}"
    path = f"/v2/{repository.name}/manifests/v1"
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(repository.server.connect()) for _ in range(most // len(large) + 1)]
        for client in clients:
            client.write(head(announce("PUT", path, len(large)), port) + large[:-1])
        wait_until(lambda: any(client.is_answered() for client in clients), "one finds no room, the others have it all")
        assert status_of_push(port, path, large) == 503
        repository.push_image("small")
    wait_until(lambda: status_of_push(port, path, large) == 201, "the memory for manifests is free")


def status_of_push(port: int, path: str, content: bytes) -> int:
    with Connection(port) as connection:
        connection.write(written(Call("PUT", path, [("Content-Type", "a/b")], content), port))
        reply = connection.read()
    assert reply.status != 503 or reply["Retry-After"]
    return reply.status


@pytest.mark.input(78)
def test_a_session_that_was_left(tmp_path: Path) -> None:
    """A session lives for a week after its last chunk; then it is unknown."""
    week = 7 * 24 * 3_600_000
    now = [1_000]
    with running(tmp_path, clock=lambda: now[0]) as server:
        location = Repository(server).start()
        now[0] += week - 1
        assert server.call("PATCH", location, body=b"content").status == 202
        now[0] += week - 1
        assert server.call("GET", location)["Range"] == "0-6"
        now[0] += 1
        for method in ("GET", "PATCH", "DELETE"):
            assert server.call(method, location).status == 404


@only_on("files", "the files that the server has open")
def test_clients_that_vanish_in_a_download(repository: Repository) -> None:
    """Their files are closed, and the blob is as good as before."""
    content = repository.push_blob(fresh_blob(8 << 20))
    path = f"/v2/{repository.name}/blobs/{digest_of(content)}"
    for value in ("bytes=0-", "bytes=0-,", "bytes=0-0,5-"):
        with repository.server.connect() as connection:
            connection.write(head(Call("GET", path, [("Range", value)]), repository.server.port))
            assert connection.receive(1000).startswith(b"HTTP/1.1 20")
            connection.abort()
    wait_until(lambda: not open_files(repository.server.folder), "the blobs' files are closed")
    assert repository.server.call("GET", path).body == content


@pytest.mark.input(56)
@pytest.mark.fault("F44")
@only_on("files", "the files that the server has open")
def test_a_client_that_does_not_read(repository: Repository) -> None:
    """It holds up nobody else, and gets every byte when it reads at last, though the blob was deleted meanwhile."""
    content = repository.push_blob(fresh_blob(8 << 20))
    path = f"/v2/{repository.name}/blobs/{digest_of(content)}"
    with repository.server.connect() as connection:
        connection.write(head(Call("GET", path), repository.server.port))
        wait_until(lambda: bool(open_files(repository.server.folder)), "the blob's file is open")
        repository.push_image("v1")
        assert repository.server.call("DELETE", path).status == 202
        assert repository.server.call("GET", path).status == 404
        assert connection.read().body == content


def test_many_idle_connections(repository: Repository) -> None:
    """Two hundred clients that say nothing, and half a request line from each of a hundred more, disturb nobody."""
    connections = [socket.create_connection(("127.0.0.1", repository.server.port)) for _ in range(300)]
    try:
        for connection in connections[200:]:
            connection.sendall(b"GET /v2/ HT")
        repository.push_image("v1")
        assert repository.status("manifests/v1") == 200
    finally:
        for connection in connections:
            connection.close()


@pytest.mark.input(59)
def test_a_post_with_a_gigabyte_and_no_digest(repository: Repository) -> None:
    """The session is opened, the body is nobody's: some of it is read and forgotten, then the connection ends."""
    call = announce("POST", f"/v2/{repository.name}/blobs/uploads/", 1 << 30)
    before = repository.server.uploads_left()
    with repository.server.connect() as connection:
        connection.write(head(call, repository.server.port) + bytes(6 << 20))
        reply = connection.read("POST")
        assert (reply.status, reply["Range"], reply["Connection"]) == (202, "0-0", "close")
        assert connection.read_to_end() == b""
    assert repository.server.uploads_left() == before
    assert_usable(repository, reply["Location"], fresh_blob(), 0)


@pytest.mark.input(78)
def test_four_terabytes_that_are_only_announced(repository: Repository) -> None:
    """Nothing is reserved for what has not come."""
    size, location, folder = 4 * 10**12, repository.start(), repository.server.folder
    with repository.server.connect() as connection:
        call = announce("PATCH", location, size, ("Content-Range", f"0-{size - 1}"))
        send_half(connection, repository.server.port, call, bytes(1000))
        wait_until(repository.server.has_writer, "the chunk is being written")
        files = [path.stat() for path in folder.rglob("*") if path.is_file() and "uploads" in path.parts]
        assert sum(max(one.st_size, one.st_blocks * 512) for one in files) < (64 << 20)
        connection.abort()
    assert_usable(repository, location, fresh_blob(), 0)
