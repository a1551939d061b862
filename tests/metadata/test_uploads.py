"""Rows of upload sessions: one writer at a time, at the offset that is recorded."""

from dataclasses import replace
from functools import partial

import pytest

from registry.errors import ChunkOutOfOrder, UploadUnknown
from registry.metadata import uploads
from registry.metadata.database import Database
from registry.metadata.uploads import UploadSession
from registry.oci.names import RepositoryName
from storage.blobstore import UploadState
from tests.metadata.rows import rows

pytestmark = pytest.mark.anyio

A, B = RepositoryName("a"), RepositoryName("b")
SESSION = UploadSession("session", A, "owner", UploadState("key", 0), expires_at=10_000)
NOW = 100


@pytest.fixture
async def session(database: Database) -> UploadSession:
    await database.write(partial(uploads.insert, session=SESSION, now=NOW))
    return SESSION


async def claim(database: Database, writer: str, first_byte: int | None = None) -> UploadSession:
    found = await database.read(lambda tx: uploads.get(tx, A, "session", "owner", NOW))
    return await database.write(lambda tx: uploads.claim(tx, found, first_byte, writer))


async def advance(database: Database, claimed: UploadSession, offset: int) -> None:
    moved = replace(claimed, state=replace(claimed.state, offset=offset), expires_at=20_000)
    await database.write(partial(uploads.advance, session=moved))


async def test_session_is_its_owners(database: Database, session: UploadSession) -> None:
    """A session is found by its id, in its repository, by its owner, until it expires; else it is unknown."""

    def get(
        repository: RepositoryName = A, session_id: str = "session", owner: str = "owner", now: int = NOW
    ) -> object:
        return database.read(lambda tx: uploads.get(tx, repository, session_id, owner, now))

    assert await database.read(lambda tx: uploads.get(tx, A, "session", "owner", NOW)) == session
    for reading in (get(repository=B), get(session_id="other"), get(owner="other"), get(now=10_000)):
        with pytest.raises(UploadUnknown):
            await reading  # type: ignore[misc]


@pytest.mark.usefixtures("session")
async def test_chunks_one_after_the_other(database: Database) -> None:
    """Each writer claims the session where the one before left it, and records where it has come."""
    for number, offset in enumerate((7, 7, 20)):
        claimed = await claim(database, f"writer {number}")
        assert claimed.writer == f"writer {number}"
        await advance(database, claimed, offset)
        found = await database.read(lambda tx: uploads.get(tx, A, "session", "owner", NOW))
        assert (found.state.offset, found.expires_at, found.writer) == (offset, 20_000, "")


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("first_byte", [0, 6, 8])
async def test_chunk_begins_where_the_session_stands(database: Database, first_byte: int) -> None:
    """A chunk that begins elsewhere is refused, and takes the session from nobody."""
    await advance(database, await claim(database, "first"), 7)
    second = await claim(database, "second", 7)
    with pytest.raises(ChunkOutOfOrder) as raised:
        await claim(database, "third", first_byte)
    assert raised.value.offset == 7
    await advance(database, second, 9)


@pytest.mark.usefixtures("session")
async def test_only_the_last_writer_records(database: Database) -> None:
    """A writer whose session another one has claimed can neither advance nor end it."""
    first = await claim(database, "first")
    second = await claim(database, "second")
    for work in (uploads.advance, uploads.remove):
        with pytest.raises(UploadUnknown):
            await database.write(partial(work, session=first))
    await advance(database, second, 3)
    with pytest.raises(UploadUnknown):
        await advance(database, second, 4)
    assert (await claim(database, "third")).state.offset == 3


@pytest.mark.usefixtures("session")
async def test_removed_session_is_unknown(database: Database) -> None:
    """After its end there is no session, for anybody."""
    claimed = await claim(database, "first")
    assert await database.read(partial(uploads.is_writer, session=claimed))
    await database.write(partial(uploads.remove, session=claimed))
    assert not await database.read(partial(uploads.is_writer, session=claimed))
    with pytest.raises(UploadUnknown):
        await claim(database, "second")
    with pytest.raises(ChunkOutOfOrder):
        await database.write(lambda tx: uploads.claim(tx, claimed, None, "third"))
    assert await rows(database, "SELECT * FROM upload") == []


@pytest.mark.usefixtures("session")
async def test_sessions_of_a_repository_end_together(database: Database) -> None:
    """All sessions of a repository end, those of others stay."""
    more = [
        replace(SESSION, id=f"{n}", repository=name, state=UploadState(f"k{n}", 0)) for n, name in enumerate((A, B))
    ]
    for one in more:
        await database.write(partial(uploads.insert, session=one, now=NOW))
    ended = await database.write(lambda tx: uploads.remove_all(tx, A))
    assert sorted(upload.key for upload in ended) == ["k0", "key"]
    assert await rows(database, "SELECT storage_key FROM upload") == [("k1",)]
