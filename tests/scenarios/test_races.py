"""Requests that meet: each race is brought about at its worst moment, by holding one side there."""

import asyncio
import errno
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from registry.errors import ChunkOutOfOrder, ManifestBlobUnknown, Unavailable, UploadUnknown
from registry.oci.names import RepositoryName, Tag
from registry.uploads import Chunk
from tests.metadata.held_writer import WAIT, HeldWriter
from tests.places import Place
from tests.scenarios.client import SOMEBODY, Client, open_registry, pieces
from tests.scenarios.images import make_blob, make_image
from tests.stored import open_stored, read_rows

pytestmark = pytest.mark.anyio

A = RepositoryName("a")
BLOB = make_blob("the same content for everyone")
IMAGE = make_image(BLOB)


class Meeting:
    """Content that waits, begun and claimed, until `go_on`."""

    def __init__(self, number: int) -> None:
        self._missing = number
        self._all_here, self._may_go = asyncio.Event(), asyncio.Event()

    async def content(self) -> AsyncIterator[bytes]:
        self._missing -= 1
        if not self._missing:
            self._all_here.set()
        await self._may_go.wait()
        yield BLOB.content

    async def all_here(self) -> None:
        await asyncio.wait_for(self._all_here.wait(), WAIT)

    def go_on(self) -> None:
        self._may_go.set()


@pytest.mark.fault("F41")
@pytest.mark.parametrize("number", [2, 8])
async def test_same_blob_from_many_at_once(tmp_path: Path, place: Place, number: int) -> None:
    """Pushes of one content that all see no copy yet all succeed, and one copy stays."""
    committed, all_committed = [], asyncio.Event()

    def reach(point: str) -> None:
        if point == "commit.done":
            committed.append(point)
            if len(committed) == number:
                all_committed.set()

    registry = await open_registry(tmp_path, place, reach=reach)
    meeting = Meeting(number)
    pushes = asyncio.gather(
        *(
            registry.uploads.push(RepositoryName(f"r{n}"), BLOB.digest, Chunk(meeting.content()), SOMEBODY)
            for n in range(number)
        )
    )
    await meeting.all_here()
    held = HeldWriter(registry.database)
    await held.begun()
    meeting.go_on()
    await asyncio.wait_for(all_committed.wait(), WAIT)
    held.release()
    await pushes
    client = Client(registry)
    for n in range(number):
        assert await client.read_blob(f"r{n}", BLOB) == BLOB.content
    assert await client.check() == []
    assert len([key async for key in registry.store.keys()]) == 1  # noqa: SIM118
    registry.close()


async def test_second_copy_of_a_known_blob_is_not_kept(client: Client) -> None:
    """A blob that is stored already is not stored again."""
    await client.push_blob("a", BLOB)
    await client.push_blob("b", BLOB, 5)
    stored = open_stored(client.registry.config)
    assert (len(stored.blobs()), stored.uploads()) == (1, [])


@pytest.mark.parametrize("damage", [b"", b"short"])
async def test_damaged_blob_is_repaired_by_a_push(client: Client, damage: bytes) -> None:
    """A blob whose bytes are damaged is unknown to readers; the next push brings it back, in every repository."""
    await client.push_blob("a", BLOB)
    await client.mount("b", BLOB, "a")
    stored = open_stored(client.registry.config)
    (damaged,) = stored.blobs()
    stored.write(damaged, damage)
    assert [line.split()[0] for line in await client.check()] == ["truncated"]
    await client.push_blob("b", BLOB)
    for name in ("a", "b"):
        assert await client.read_blob(name, BLOB) == BLOB.content
    assert await client.check() == []
    assert damaged not in stored.blobs()


async def test_two_writers_on_one_session(client: Client) -> None:
    """Of two requests that append to one session, one wins, the other hears where the session stands."""
    session_id, meeting = await client.start("a"), Meeting(1)
    first = asyncio.create_task(append(client, session_id, Chunk(meeting.content(), 0)))
    await meeting.all_here()
    for attempt in (
        client.append("a", session_id, b"other content", 0),
        append(client, session_id, Chunk(pieces(b"other content"))),
        client.complete("a", session_id, b"", BLOB.digest),
        client.cancel("a", session_id),
    ):
        with pytest.raises(ChunkOutOfOrder) as raised:
            await attempt
        assert raised.value.offset == 0
    meeting.go_on()
    await first
    await client.complete("a", session_id, b"", BLOB.digest)
    assert await client.read_blob("a", BLOB) == BLOB.content


async def test_request_that_is_cut_off_lets_the_next_in(client: Client) -> None:
    """A request that ends in the middle leaves the session where it was, free for the next request at once."""
    session_id, meeting = await client.start("a"), Meeting(1)
    first = asyncio.create_task(append(client, session_id, Chunk(meeting.content())))
    await meeting.all_here()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await client.append("a", session_id, BLOB.content, 0)
    await client.complete("a", session_id, b"", BLOB.digest)


@pytest.mark.parametrize("times", [1, 3])
async def test_push_that_is_cut_off_while_it_is_recorded(tmp_path: Path, place: Place, times: int) -> None:
    """A push that is cancelled while its row is being written is whole or not there; never a row without its bytes."""
    is_committed = asyncio.Event()
    registry = await open_registry(
        tmp_path, place, reach=lambda point: is_committed.set() if point == "commit.done" else None
    )
    meeting = Meeting(1)
    push = asyncio.create_task(registry.uploads.push(A, BLOB.digest, Chunk(meeting.content()), SOMEBODY))
    await meeting.all_here()
    held = HeldWriter(registry.database)
    await held.begun()
    meeting.go_on()
    await asyncio.wait_for(is_committed.wait(), WAIT)
    for _ in range(times):
        push.cancel()
        for _ in range(20):
            await asyncio.sleep(0)
    held.release()
    with pytest.raises(asyncio.CancelledError):
        await push
    await registry.database.write(lambda _: None)
    client = Client(registry)
    assert await client.check() == []
    await client.push_blob("a", BLOB)
    assert await client.read_blob("a", BLOB) == BLOB.content
    registry.close()


async def test_session_whose_row_failed_takes_other_content(tmp_path: Path, place: Place) -> None:
    """A PUT whose blob was stored and not recorded leaves the session; what it gets next is what its digest names.

    Or the session has ended, and the client begins a new one: an object that is made is never written to again.
    """
    failures = ["commit.done"]

    def fail_once(point: str) -> None:
        if point in failures:
            failures.remove(point)
            raise OSError(errno.EIO, "the disk of the database")

    registry = await open_registry(tmp_path, place, reach=fail_once)
    client, other = Client(registry), make_blob("x" * len(BLOB.content))
    assert len(other.content) == len(BLOB.content)
    session_id = await client.start("a")
    with pytest.raises(Unavailable):
        await client.complete("a", session_id, BLOB.content, BLOB.digest)
    try:
        await client.complete("a", session_id, other.content, other.digest)
    except UploadUnknown:
        assert place.store == "s3"
        await client.push_blob("a", other)
    assert await client.read_blob("a", other) == other.content
    await client.push_blob("b", other)
    assert await client.read_blob("b", other) == other.content
    reviewed = {row[0] for row in read_rows(registry.config, "SELECT key FROM review WHERE kind = 'upload'")}
    assert {line.split()[-1] for line in await client.check()} <= (reviewed if place.store == "s3" else set())
    registry.close()


@pytest.mark.input(36)
async def test_repository_deleted_under_an_upload(client: Client) -> None:
    """An upload that is running while its repository is deleted is unknown at its end; nothing of it stays."""
    await client.push_blob("a", make_blob("makes the repository"))
    session_id, meeting = await client.start("a"), Meeting(1)
    work = client.registry.uploads.complete(A, session_id, Chunk(meeting.content()), BLOB.digest, SOMEBODY)
    running = asyncio.create_task(work)
    await meeting.all_here()
    await client.delete_repository("a")
    meeting.go_on()
    with pytest.raises(UploadUnknown):
        await running
    assert await client.registry.repositories.list_names("", 10) == []
    # An object store may have made a blob of it before it heard of the end: then the collector looks at that at once.
    now = client.registry.clock()
    due = f"SELECT key FROM review WHERE kind = 'upload' AND due_at <= {now}"
    reviewed = {row[0] for row in read_rows(client.registry.config, due)}
    assert {line.split()[-1] for line in await client.check()} <= reviewed


async def append(client: Client, session_id: str, chunk: Chunk) -> None:
    await client.registry.uploads.append(A, session_id, chunk, SOMEBODY)


@pytest.mark.parametrize("is_first", [True, False])
async def test_delete_of_a_blob_against_a_push_that_names_it(client: Client, is_first: bool) -> None:
    """Whichever comes first wins: the manifest is refused, or the delete is; never a manifest without its blob."""
    await client.push_blob("a", BLOB)
    held = HeldWriter(client.registry.database)
    await held.begun()
    works = [client.delete_blob("a", BLOB), client.push_manifest("a", IMAGE, "latest")]
    tasks = [asyncio.ensure_future(work) for work in (works if is_first else reversed(works))]
    for _ in range(20):
        await asyncio.sleep(0)
    held.release()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    deleted, pushed = answers if is_first else reversed(answers)
    if client.registry.database.is_shared:  # nobody queues behind the writer that is held
        is_first = deleted is None
    if is_first:
        assert deleted is None
        assert isinstance(pushed, ManifestBlobUnknown)
    else:
        assert "part of" in str(deleted)
        assert pushed == IMAGE.digest


@pytest.mark.fault("F42")
async def test_tag_that_is_moved_while_it_is_read(client: Client) -> None:
    """A reader sees the manifest before the move or the one after it, whole, and at no moment none."""
    await client.push_blob("a", BLOB)
    images = [make_image(BLOB, annotations={"n": str(number)}) for number in range(2)]
    await client.push_manifest("a", images[0], "latest")
    known = {image.content for image in images}

    async def move() -> None:
        for number in range(40):
            await client.push_manifest("a", images[number % 2], "latest")

    moving = asyncio.create_task(move())
    seen = set()
    while not moving.done():
        found = await client.registry.manifests.get(A, Tag("latest"))
        seen.add(found.content)
        await asyncio.sleep(0)
    await moving
    assert seen <= known
    assert seen
