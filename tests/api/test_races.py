"""Requests that meet, each at a moment that the test decides, or all at once."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.api.content import Repository, digest_of, fresh_blob, image, index
from tests.api.running import Gate, RunningServer
from tests.api.wire import SECONDS, Reply
from tests.places import only_on

CROWD = 16


def all_at_once(*calls: Callable[[], Reply]) -> list[Reply]:
    """Make the calls in threads that start together; their answers are in the order of the calls."""
    barrier = threading.Barrier(len(calls))

    def start(call: Callable[[], Reply]) -> Reply:
        barrier.wait(SECONDS)
        return call()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(start, calls))


def statuses(replies: list[Reply]) -> list[int]:
    return sorted(reply.status for reply in replies)


@pytest.mark.fault("F41")
@pytest.mark.parametrize("size", [100, 3 << 20])
def test_many_push_the_same_blob(server: RunningServer, size: int) -> None:
    """Sixteen clients, half of them in other repositories: all hear 201, one file is stored, no upload is left."""
    content = fresh_blob(size)
    path = f"blobs/uploads/?digest={digest_of(content)}"
    repositories = [Repository(server) for _ in range(CROWD // 2)] * 2
    files, uploads = server.keys_stored(), server.uploads_left()
    replies = all_at_once(*(lambda one=one: one.call("POST", path, body=content) for one in repositories))
    assert statuses(replies) == [201] * CROWD
    assert len(server.keys_stored()) == len(files) + 1
    assert server.uploads_left() == uploads
    for repository in repositories:
        assert repository.call("GET", f"blobs/{digest_of(content)}").body == content


@only_on("files", "a named moment of its own commit")
def test_one_push_overtakes_the_other(gated: Repository, gate: Gate) -> None:
    """A has synced its copy and waits; B pushes the same blob to its end: both 201, one file, whole."""
    content = fresh_blob()
    path = f"blobs/uploads/?digest={digest_of(content)}"
    with ThreadPoolExecutor(1) as threads:
        with gate.hold("commit.synced") as arrived:
            slow = threads.submit(gated.call, "POST", path, body=content)
            assert arrived.wait(SECONDS)
            assert gated.call("POST", path, body=content).status == 201
        assert slow.result().status == 201
    assert len(gated.server.keys_stored()) == 1
    assert gated.server.uploads_left() == []
    assert gated.call("GET", f"blobs/{digest_of(content)}").body == content


@pytest.mark.input(69)
@only_on("files", "a named moment of its own commit")
def test_two_writers_on_one_session(gated: Repository, gate: Gate) -> None:
    """While A writes, B is told 416 and where the session stands; A's bytes are what is stored."""
    mine, other = fresh_blob(1000), fresh_blob(1000)
    location = gated.start()
    with ThreadPoolExecutor(1) as threads:
        with gate.hold("append.created") as arrived:
            first = threads.submit(gated.server.call, "PATCH", location, body=mine)
            assert arrived.wait(SECONDS)
            for headers in ([], [("Content-Range", "0-999")]):
                refused = gated.server.call("PATCH", location, *headers, body=other)
                assert (refused.status, refused.code) == (416, "BLOB_UPLOAD_INVALID")
                assert (refused["Location"], refused["Range"]) == (location, "0-0")
        assert first.result().status == 202
    assert gated.server.call("PUT", f"{location}?digest={digest_of(mine)}").status == 201
    assert gated.call("GET", f"blobs/{digest_of(mine)}").body == mine


@pytest.mark.input(69)
def test_many_writers_on_one_session(repository: Repository) -> None:
    """Eight send a first chunk: one is accepted, and the session has its bytes and no others."""
    server, location = repository.server, repository.start()
    chunks = [fresh_blob(50_000) for _ in range(8)]
    headers = ("Content-Range", "0-49999")
    replies = all_at_once(*(lambda one=one: server.call("PATCH", location, headers, body=one) for one in chunks))
    assert statuses(replies) == [202, *[416] * 7]
    (winner,) = (chunk for chunk, reply in zip(chunks, replies, strict=True) if reply.status == 202)
    assert server.call("PUT", f"{location}?digest={digest_of(winner)}").status == 201


@pytest.mark.input(69)
@only_on("files", "a named moment of its own commit")
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_closing_while_a_chunk_comes(gated: Repository, gate: Gate, method: str) -> None:
    """A session is neither closed nor cancelled under a chunk that is being written."""
    content = fresh_blob(1000)
    location = gated.start()
    closing = f"{location}?digest={digest_of(content)}"
    with ThreadPoolExecutor(1) as threads:
        with gate.hold("append.created") as arrived:
            chunk = threads.submit(gated.server.call, "PATCH", location, body=content)
            assert arrived.wait(SECONDS)
            refused = gated.server.call(method, closing)
            assert (refused.status, refused.code) == (416, "BLOB_UPLOAD_INVALID")
        assert chunk.result().status == 202
    assert gated.server.call("PUT", closing).status == 201
    assert gated.call("GET", f"blobs/{digest_of(content)}").body == content


@pytest.mark.input(69)
@only_on("files", "a named moment of its own commit")
@pytest.mark.parametrize("point", ["commit.synced", "commit.renamed"])
def test_a_chunk_while_the_session_closes(gated: Repository, gate: Gate, point: str) -> None:
    """After the digest was checked no byte is appended; a repeated PUT hears 416 now and 201 later."""
    content, late = fresh_blob(1000), fresh_blob(50)
    location = gated.start()
    assert gated.server.call("PATCH", location, body=content).status == 202
    closing = f"{location}?digest={digest_of(content)}"
    with ThreadPoolExecutor(1) as threads:
        with gate.hold(point) as arrived:
            put = threads.submit(gated.server.call, "PUT", closing)
            assert arrived.wait(SECONDS)
            for method, path in (("PATCH", location), ("PUT", closing), ("DELETE", location)):
                assert gated.server.call(method, path, body=late).status == 416
        assert put.result().status == 201
    assert gated.server.call("PATCH", location, body=late).status == 404
    assert gated.server.call("PUT", closing).status == 201
    assert gated.call("GET", f"blobs/{digest_of(content)}").body == content
    assert gated.server.uploads_left() == []


@pytest.mark.input(69)
def test_put_many_times_at_once(repository: Repository) -> None:
    """One PUT closes the session; the others hear 416 while it does and 201 afterwards, never anything else."""
    server, content, location = repository.server, fresh_blob(50_000), repository.start()
    assert server.call("PATCH", location, body=content).status == 202
    path = f"{location}?digest={digest_of(content)}"
    replies = all_at_once(*[lambda: server.call("PUT", path)] * 8)
    assert 201 in statuses(replies)
    assert set(statuses(replies)) <= {201, 416}
    assert server.call("PUT", path).status == 201
    assert repository.call("GET", f"blobs/{digest_of(content)}").body == content


@pytest.mark.fault("F42")
def test_a_tag_is_read_while_it_moves(gated: Repository, gate: Gate) -> None:
    """Until the move is committed readers see what was, at once; after it what is."""
    old, new = gated.push_image("v1"), image(gated.push_blob())
    with ThreadPoolExecutor(1) as threads:
        with gate.hold("transaction.applied") as arrived:
            move = threads.submit(gated.put, "v1", new)
            assert arrived.wait(SECONDS)
            assert gated.call("GET", "manifests/v1").body == old
            assert gated.status(f"manifests/{digest_of(new)}") == 404
        assert move.result().status == 201
    assert gated.call("GET", "manifests/v1").body == new


def test_a_tag_is_read_while_it_moves_all_the_time(repository: Repository) -> None:
    """A reader sees one of the manifests, with its own digest, and never that there is none."""
    contents = [repository.push_image("v1") for _ in range(2)]
    is_over = threading.Event()

    def move() -> None:
        for turn in range(60):
            repository.push_manifest(contents[turn % 2], "v1")
        is_over.set()

    def read() -> int:
        count = 0
        while not is_over.is_set():
            reply = repository.call("GET", "manifests/v1")
            assert reply.status == 200
            assert reply.body in contents
            assert reply["Docker-Content-Digest"] == digest_of(reply.body)
            count += 1
        return count

    with ThreadPoolExecutor(3) as threads:
        readers = [threads.submit(read) for _ in range(2)]
        move()
        assert all(reader.result() for reader in readers)


@pytest.mark.input(120)
def test_one_tag_for_many(repository: Repository) -> None:
    """Eight move one tag at once: all 201, and it points to one of theirs."""
    contents = [image(repository.push_blob()) for _ in range(8)]
    replies = all_at_once(*(lambda one=one: repository.put("v1", one) for one in contents))
    assert statuses(replies) == [201] * 8
    assert repository.call("GET", "manifests/v1").body in contents
    assert repository.tags() == ["v1"]


def test_only_one_makes_a_tag(repository: Repository) -> None:
    """Of eight that want to make a tag with `If-None-Match: *` one succeeds."""
    contents = [image(repository.push_blob()) for _ in range(8)]
    wanted = ("If-None-Match", "*")
    replies = all_at_once(*(lambda one=one: repository.put("v1", one, None, wanted) for one in contents))
    assert statuses(replies) == [201, *[412] * 7]
    (winner,) = (one for one, reply in zip(contents, replies, strict=True) if reply.status == 201)
    assert repository.call("GET", "manifests/v1").body == winner


def test_no_update_is_lost(repository: Repository) -> None:
    """Four clients add to a list under a tag with If-Match: in the end everything is in it."""
    children = [[repository.push_image() for _ in range(3)] for _ in range(4)]
    repository.push_manifest(index([]), "list")

    def add(mine: list[bytes]) -> None:
        for child in mine:
            while True:
                current = repository.call("GET", "manifests/list")
                known = [one["digest"] for one in current.json["manifests"]]
                update = index([*(found[digest] for digest in known), child])
                reply = repository.put("list", update, None, ("If-Match", current["ETag"]))
                if reply.status == 201:
                    break
                assert reply.status == 412

    found = {digest_of(child): child for mine in children for child in mine}
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(add, children))
    listed = repository.call("GET", "manifests/list").json["manifests"]
    assert sorted(one["digest"] for one in listed) == sorted(found)


@pytest.mark.parametrize("turn", range(8))
def test_a_manifest_and_the_delete_of_its_blob(repository: Repository, turn: int) -> None:
    """Either the manifest is stored and the blob is in use, or the blob is gone and the manifest refused."""
    content = image(repository.push_blob(), [blob := repository.push_blob()])
    calls: list[Callable[[], Reply]] = [
        lambda: repository.put("v1", content),
        lambda: repository.call("DELETE", f"blobs/{digest_of(blob)}"),
    ]
    put, delete = all_at_once(*calls) if turn % 2 else reversed(all_at_once(*reversed(calls)))
    assert (put.status, delete.status) in {(201, 405), (404, 202)}
    assert repository.status("manifests/v1") == repository.status(f"blobs/{digest_of(blob)}")


@pytest.mark.parametrize("turn", range(8))
def test_an_index_and_the_delete_of_its_child(repository: Repository, turn: int) -> None:
    """The same for an index and its child."""
    child = repository.push_image()
    calls: list[Callable[[], Reply]] = [
        lambda: repository.put("multi", index([child])),
        lambda: repository.call("DELETE", f"manifests/{digest_of(child)}"),
    ]
    put, delete = all_at_once(*calls) if turn % 2 else reversed(all_at_once(*reversed(calls)))
    assert (put.status, delete.status) in {(201, 405), (404, 202)}
    assert repository.status("manifests/multi") == repository.status(f"manifests/{digest_of(child)}")


@pytest.mark.parametrize("turn", range(4))
def test_a_push_a_mount_and_a_delete(repository: Repository, turn: int) -> None:
    """Whatever their order: the repository that heard 201 last has the blob, whole."""
    elsewhere = Repository(repository.server)
    content = repository.push_blob(fresh_blob(5_000 + turn))
    digest = digest_of(content)
    push, mount, delete = all_at_once(
        lambda: repository.call("POST", f"blobs/uploads/?digest={digest}", body=content),
        lambda: elsewhere.call("POST", f"blobs/uploads/?mount={digest}&from={repository.name}"),
        lambda: repository.call("DELETE", f"blobs/{digest}"),
    )
    assert (push.status, delete.status) == (201, 202)
    assert mount.status in {201, 202}
    assert elsewhere.status(f"blobs/{digest}") == (200 if mount.status == 201 else 404)
    for one in (repository, elsewhere):
        reply = one.call("GET", f"blobs/{digest}")
        assert reply.status == 404 or reply.body == content
    repository.push_blob(content)
    assert repository.call("GET", f"blobs/{digest}").body == content
