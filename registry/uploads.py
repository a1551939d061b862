"""Upload sessions: start, append, complete, cancel; and a blob pushed in one request, which needs no session.

A session's row says where it stands; a request that writes first makes itself the only writer (a lease in that row).
The bytes are durable before the row that names the blob is; nothing is open in the database while bytes move.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import structlog

from registry.errors import (
    ChunkOutOfOrder,
    DigestInvalid,
    RegistryError,
    SizeInvalid,
    StorageFull,
    Unavailable,
    UploadUnknown,
)
from registry.identity import Actor, Clock, Deed
from registry.metadata import blobs, repositories, reviews, uploads
from registry.metadata.blobs import StoredBlob
from registry.metadata.database import Database, Transaction
from registry.metadata.uploads import UploadSession, Writer
from registry.oci.names import RepositoryName
from storage.blobstore import BlobStore, StoreFull, UploadBusy, UploadMissing, UploadState
from storage.digest import Digest
from storage.killpoints import Reach, pass_by

log: structlog.stdlib.BoundLogger = structlog.get_logger()

LEASE = 30_000  # milliseconds
_RENEW_SECONDS = LEASE / 3 / 1_000
_EXPIRY = 7 * 24 * 3_600_000  # milliseconds after the last chunk


@dataclass(frozen=True, slots=True)
class Chunk:
    """Content for a session.

    It begins at `first_byte` (None: wherever the session stands) and has `size` bytes (None: as many as come).
    """

    content: AsyncIterable[bytes]
    first_byte: int | None = None
    size: int | None = None


class Uploads:
    """`new_id` makes unguessable ids; one more of them names this server process among the writers."""

    def __init__(
        self, database: Database, store: BlobStore, clock: Clock, new_id: Callable[[], str], reach: Reach = pass_by
    ) -> None:
        self._database = database
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._server = new_id()
        self._reach = reach
        self._writing: set[str] = set()

    async def start(self, repository: RepositoryName, algorithm: str, by: Actor) -> UploadSession:
        now = self._clock()
        state = UploadState(self._new_id(), 0, algorithm)
        session = UploadSession(self._new_id(), repository, by.name, state, now + _EXPIRY)
        await self._database.write(lambda tx: uploads.insert(tx, session, now))
        return session

    async def get(self, repository: RepositoryName, session_id: str, by: Actor) -> UploadSession:
        """Raises UploadUnknown."""
        now = self._clock()
        return await self._database.read(lambda tx: uploads.get(tx, repository, session_id, by.name, now))

    async def append(self, session: UploadSession, chunk: Chunk) -> UploadSession:
        """Append a chunk, whole or not at all. Raises ChunkOutOfOrder, SizeInvalid, StorageFull, UploadUnknown."""
        async with self._claimed(session, chunk.first_byte) as (claimed, writer):
            state = await self._append(claimed.state, chunk)
            advanced = replace(claimed, state=state, expires_at=self._clock() + _EXPIRY)
            await self._database.write(lambda tx: uploads.advance(tx, advanced, writer))
        self._reach("upload.recorded")
        return advanced

    async def is_complete(self, repository: RepositoryName, digest: Digest) -> bool:
        """Whether a PUT for a session that is gone may have been answered 201 before: its blob is there."""
        return await self._database.read(lambda tx: blobs.find(tx, repository, digest)) is not None

    async def complete(self, session: UploadSession, chunk: Chunk, digest: Digest, by: Actor) -> None:
        """Append the last chunk, check the digest, and make the blob of it.

        Raises what append raises, and DigestInvalid, which ends the session.
        """
        async with self._claimed(session, chunk.first_byte) as (claimed, writer):
            state = await self._append(claimed.state, chunk)
            with _store_problems_named(state):
                actual = await self._store.digest(state, digest.algorithm)
            if actual != digest:
                await self._end(claimed, writer)
                raise DigestInvalid("the uploaded content has another digest: the session has ended, begin a new one")
            await self._store_blob(claimed, state, digest, lambda tx: uploads.remove(tx, claimed, writer), by)
        self._reach("blob.recorded")

    async def push(self, repository: RepositoryName, digest: Digest, chunk: Chunk, by: Actor) -> None:
        """Store a blob that comes in one request. Raises DigestInvalid, SizeInvalid, StorageFull."""
        session = await self.start(repository, digest.algorithm, by)
        try:
            await self.complete(session, chunk, digest, by)
        except BaseException:
            await asyncio.shield(self._abandon(session))
            raise

    async def cancel(self, session: UploadSession) -> None:
        """End the session and forget its bytes. Raises UploadUnknown, ChunkOutOfOrder while a request writes to it."""
        async with self._claimed(session, None) as (claimed, writer):
            await self._end(claimed, writer)

    async def _append(self, state: UploadState, chunk: Chunk) -> UploadState:
        with _store_problems_named(state):
            return await self._store.append(state, _exactly(chunk))

    async def _store_blob(
        self,
        session: UploadSession,
        state: UploadState,
        digest: Digest,
        end_session: Callable[[Transaction], None],
        by: Actor,
    ) -> None:
        known = await self._database.read(lambda tx: blobs.find_stored(tx, digest))
        is_whole = known is not None and await self._store.size(known.key) == known.size
        if not is_whole:
            with _store_problems_named(state):
                await self._store.commit(state)

        def work(tx: Transaction) -> str:
            """Returns the key that the digest does not need: of the spare copy, of the damaged one, or none."""
            deed = Deed(by, self._clock())
            end_session(tx)
            spare = _record_blob(tx, StoredBlob(digest, state.key, state.offset), known, is_whole=is_whole, deed=deed)
            repository_id = repositories.get_or_make(tx, session.repository, "push", deed)
            blobs.give_right(tx, repository_id, digest, "blob.push", deed)
            if spare != state.key:
                reviews.drop(tx, "upload", state.key)  # the key is a blob's now, and the review would take its bytes
            return spare

        spare = await self._database.write(work)
        if spare == state.key and is_whole:
            await self._store.abort(state)
        elif spare:
            await self._store.delete(spare)

    async def _end(self, session: UploadSession, writer: Writer) -> None:
        # Bytes first: after a crash between the two lines the session is there without bytes and says so when used,
        # while bytes without a session would stay for nobody.
        await self._store.abort(session.state)
        await self._database.write(lambda tx: uploads.remove(tx, session, writer))

    async def _abandon(self, session: UploadSession) -> None:
        """Forget a session that no client was told of. Its bytes go even if the database is full, too."""
        if await self._database.read(partial(uploads.is_open, session=session)):
            await self._store.abort(session.state)
            with contextlib.suppress(RegistryError):
                await self.cancel(session)

    @contextlib.asynccontextmanager
    async def _claimed(
        self, session: UploadSession, first_byte: int | None
    ) -> AsyncIterator[tuple[UploadSession, Writer]]:
        """The session with this request as its only writer. Raises UploadUnknown, ChunkOutOfOrder."""
        # A claims, the machine sleeps past A's lease, B claims and completes the blob, A wakes up and writes into it.
        # A lease is time and cannot stop that; A is still in the set, so B is refused until A has ended.
        if session.id in self._writing:
            raise ChunkOutOfOrder(session.state.offset)
        self._writing.add(session.id)
        try:
            async with self._leased(session, first_byte) as claim:
                yield claim
        finally:
            self._writing.discard(session.id)

    @contextlib.asynccontextmanager
    async def _leased(
        self, session: UploadSession, first_byte: int | None
    ) -> AsyncIterator[tuple[UploadSession, Writer]]:
        writer = Writer(self._new_id(), self._server, self._clock() + LEASE)
        claimed = await self._database.write(lambda tx: uploads.claim(tx, session, first_byte, writer, self._clock()))
        renewing = asyncio.create_task(self._renew(claimed, writer))
        try:
            yield claimed, writer
        except BaseException:
            # Shielded: a request that is cut off must still let the next one in.
            await asyncio.shield(self._database.write(lambda tx: uploads.release(tx, claimed, writer)))
            raise
        finally:
            renewing.cancel()

    async def _renew(self, session: UploadSession, writer: Writer) -> None:
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            renewed = replace(writer, until=self._clock() + LEASE)
            with contextlib.suppress(StorageFull, Unavailable):  # the next round may be luckier; the lease has room
                await self._database.write(partial(uploads.renew, session=session, writer=renewed))


@contextlib.contextmanager
def _store_problems_named(state: UploadState) -> Iterator[None]:
    try:
        yield
    except UploadMissing:
        # A crash took bytes that were not synced yet, or A is between append and commit and B deletes the repository.
        raise UploadUnknown("the session's bytes are gone: begin a new session") from None
    except UploadBusy:
        raise ChunkOutOfOrder(state.offset) from None
    except StoreFull as problem:
        raise StorageFull from problem
    except OSError as problem:
        log.exception("store failed", key=state.key)
        raise Unavailable(f"the store failed: {problem.strerror}", headers={"Retry-After": "5"}) from problem


def _record_blob(tx: Transaction, blob: StoredBlob, known: StoredBlob | None, *, is_whole: bool, deed: Deed) -> str:
    """Insert the blob's row unless the digest has a good copy. Returns the key that is not needed, or none."""
    current = blobs.find_stored(tx, blob.digest)
    if current is None:
        if is_whole:
            raise UploadUnknown("the blob's other copy was removed meanwhile: push it again")
        blobs.insert(tx, blob, deed)
        return ""
    if is_whole or current != known:
        return blob.key  # A and B push the same content at once: the second finds the first one's row and gives way
    blobs.replace_key(tx, current, blob.key)
    return current.key


async def _exactly(chunk: Chunk) -> AsyncIterator[bytes]:
    size = 0
    async for piece in chunk.content:
        size += len(piece)
        if chunk.size is not None and size > chunk.size:
            break
        yield piece
    if chunk.size is not None and size != chunk.size:
        raise SizeInvalid(f"the chunk has {size} bytes or more, its Content-Range says {chunk.size}")
