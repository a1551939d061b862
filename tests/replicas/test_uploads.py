"""An upload that one server begins goes on at another and ends at a third: nothing of it is in a process."""

import itertools
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kill.client import Answer
from tests.kill.content import digest_of, make_content
from tests.places import make_config
from tests.replicas.cluster import Cluster, call, running_cluster, shared_place
from tests.stored import read_rows
from tests.waiting import wait_until

MIB = 1 << 20
OCTETS = {"Content-Type": "application/octet-stream"}
UPLOADS = "/v2/acme/app/blobs/uploads/"
# The sizes of the chunks that a client sends, and whether it says where each belongs.
PATTERNS = {
    "docker": ((3 * MIB,), False),
    "chunks": ((MIB, MIB, MIB), True),
    "odd": ((5 * MIB + 1, 1, 6 * MIB), True),
    "tiny": ((1000,) * 30, True),
    "pieces": ((100_000,) * 6, False),
    "put": ((), False),
    "nothing": ((0,), False),
}


class Session:
    """An upload whose every request goes to the next server."""

    def __init__(self, cluster: Cluster, first: int = 0, query: str = "") -> None:
        self._ports = itertools.islice(itertools.cycle(cluster.ports), first, None)
        self.location = self.send("POST", UPLOADS + query, status=202).headers["location"]

    def send(self, method: str, path: str, content: bytes = b"", *, status: int, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = call(next(self._ports), method, path, content, OCTETS | named)
        assert answer.status == status, (method, path, answer)
        return answer

    def patch(self, content: bytes, first: int | None) -> None:
        place = {} if first is None else {"Content_Range": f"{first}-{first + len(content) - 1}"}
        self.send("PATCH", self.location, content, status=202, **place)

    def close(self, digest: str, content: bytes = b"") -> None:
        mark = "&" if "?" in self.location else "?"
        self.send("PUT", f"{self.location}{mark}digest={digest}", content, status=201)


def cut(content: bytes, sizes: tuple[int, ...]) -> Iterator[tuple[int, bytes]]:
    first = 0
    for size in sizes:
        yield first, content[first : first + size]
        first += size


@pytest.mark.fault("F46")
@pytest.mark.parametrize("first", range(2))
@pytest.mark.parametrize("pattern", PATTERNS)
def test_each_request_may_go_to_another_server(cluster: Cluster, pattern: str, first: int) -> None:
    """However a client cuts its blob, it is stored whole, and every server serves it."""
    sizes, says_where = PATTERNS[pattern]
    content = make_content(f"{pattern} {first}", sum(sizes) or 2 * MIB)
    digest = digest_of(content if sizes != (0,) else b"")
    session = Session(cluster, first)
    for place, chunk in cut(content, sizes):
        session.patch(chunk, place if says_where else None)
    session.close(digest, b"" if sizes else content)
    for port in cluster.ports:
        answer = call(port, "GET", f"/v2/acme/app/blobs/{digest}")
        assert (answer.status, digest_of(answer.content)) == (200, digest)


@pytest.mark.input(77)
@pytest.mark.fault("F46")
def test_every_server_knows_where_an_upload_stands(cluster: Cluster) -> None:
    """A status that is asked of another server is of the last acknowledged chunk."""
    content = make_content("status", 300_000)
    session = Session(cluster)
    for first, chunk in cut(content, (100_000,) * 3):
        session.patch(chunk, first)
        for _ in cluster.ports:
            answer = session.send("GET", session.location, status=204)
            assert answer.headers["range"] == f"0-{first + len(chunk) - 1}"
    session.close(digest_of(content))


def test_a_chunk_that_was_sent_already_is_refused_elsewhere_too(cluster: Cluster) -> None:
    """A client whose answer was lost tries again with another server, which tells it where the upload stands."""
    session = Session(cluster)
    session.patch(b"a" * 1000, 0)
    answer = session.send("PATCH", session.location, b"a" * 1000, status=416, Content_Range="0-999")
    assert answer.headers["range"] == "0-999"
    session.patch(b"b" * 1000, 1000)
    session.close(digest_of(b"a" * 1000 + b"b" * 1000))


def test_another_algorithm_works_across_servers(cluster: Cluster) -> None:
    """Also where the hash that runs along is not the one that the digest needs."""
    content = make_content("sha512", 200_000)
    for query in ("", "?digest-algorithm=sha512"):
        session = Session(cluster, query=query)
        session.patch(content[:90_000], 0)
        session.patch(content[90_000:], 90_000)
        session.close(digest_of(content, "sha512"))


def test_an_upload_is_cancelled_from_anywhere(cluster: Cluster) -> None:
    """The servers that had it know it no more."""
    session = Session(cluster)
    session.patch(b"some", 0)
    session.send("DELETE", session.location, status=204)
    for _ in cluster.ports:
        session.send("GET", session.location, status=404)


@pytest.mark.fault("F41")
def test_the_same_blob_from_many_at_once_is_stored_once(cluster: Cluster) -> None:
    """All are told 201, whichever server they asked."""
    content = make_content("same", 2 * MIB)
    digest = digest_of(content)
    sessions = [Session(cluster, number) for number in range(9)]
    barrier, faults = threading.Barrier(len(sessions)), []

    def push(session: Session) -> None:
        try:
            barrier.wait()
            session.patch(content[:MIB], None)
            session.close(digest, content[MIB:])
        except BaseException as problem:  # noqa: BLE001 - told by the test's own thread
            faults.append(problem)

    threads = [threading.Thread(target=push, args=(session,)) for session in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    for port in cluster.ports:
        assert digest_of(call(port, "GET", f"/v2/acme/app/blobs/{digest}").content) == digest


@pytest.mark.fault("F46")
def test_an_upload_outlives_the_server_that_was_writing_it(tmp_path: Path) -> None:
    """The next one knows what was acknowledged, and goes on from there; of the chunk under way nothing is left."""
    content = make_content("outlives", 3 * MIB)
    with running_cluster(tmp_path, 2) as cluster:
        dying, second = cluster.servers
        location = call(dying.port, "POST", UPLOADS).headers["location"]
        first = call(dying.port, "PATCH", location, content[:MIB], OCTETS | {"Content-Range": f"0-{MIB - 1}"})
        assert first.status == 202
        with socket.create_connection(("127.0.0.1", dying.port)) as torn:
            head = f"PATCH {location} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {OCTETS['Content-Type']}\r\n"
            torn.sendall(f"{head}Content-Length: {2 * MIB}\r\n\r\n".encode())
            torn.sendall(content[MIB : 2 * MIB])
            wait_until(lambda: is_written(cluster), "the chunk is being written")
            dying.kill()
        status = call(second.port, "GET", location)
        assert (status.status, status.headers["range"]) == (204, f"0-{MIB - 1}")
        headers = OCTETS | {"Content-Range": f"{MIB}-{3 * MIB - 1}"}
        assert call(second.port, "PATCH", location, content[MIB:], headers).status == 202
        closed = call(second.port, "PUT", f"{location}?digest={digest_of(content)}")
        assert closed.status == 201
        assert call(second.port, "GET", closed.headers["location"]).content == content


def is_written(cluster: Cluster) -> bool:
    """Whether a server has an upload in its hands."""
    config = make_config(cluster.folder / "registry", shared_place())
    return bool(read_rows(config, "SELECT 1 FROM upload WHERE writer IS NOT NULL"))
