"""Upload sessions: start, append, complete, cancel; and a blob pushed in one request, which needs no session.

A session's row says where it stands; a request that writes first makes itself its only writer.
The bytes are durable before the row that names the blob is; nothing is open in the database while bytes move.
"""

import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, replace

import structlog

from registry.errors import (
    BlobTooLarge,
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
from registry.metadata.blobs import GivenRight, StoredBlob
from registry.metadata.database import Database, Transaction
from registry.metadata.uploads import UploadSession
from registry.oci.names import RepositoryName
from storage.blobstore import (
    BlobMissing,
    BlobStore,
    StoreFull,
    StoreUnavailable,
    UploadBusy,
    UploadMissing,
    UploadState,
)
from storage.digest import Digest
from storage.killpoints import Reach, pass_by
from storage.waiting import see_through

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_EXPIRY = 7 * 24 * 3_600_000  # milliseconds after the last chunk


@dataclass(frozen=True, slots=True)
class Chunk:
    """Content for a session.

    It begins at `first_byte` (None: wherever the session stands) and has `size` bytes (None: as many as come). So many
    bytes are `announced` (0: none, or it `is_empty`).
    """

    content: AsyncIterable[bytes]
    first_byte: int | None = None
    size: int | None = None
    announced: int = 0
    is_empty: bool = False


@dataclass(frozen=True, slots=True)
class UploadTerms:
    """A blob that was pushed is leased for `lease` milliseconds, and has `blob_bytes` at most.

    So many requests may bring content `at_once`, to this server.
    """

    lease: int
    blob_bytes: int
    at_once: int


class _CopyRemoved(Exception):
    """The copy that was to be used has gone or is damaged: the upload's own bytes are needed after all."""


class Uploads:
    """`new_id` makes unguessable ids."""

    def __init__(
        self,
        database: Database,
        store: BlobStore,
        clock: Clock,
        new_id: Callable[[], str],
        terms: UploadTerms,
        reach: Reach = pass_by,
    ) -> None:
        self._terms = terms
        self._database = database
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._reach = reach
        self._writing: set[str] = set()

    async def start(self, repository: RepositoryName, algorithm: str, by: Actor) -> UploadSession:
        now = self._clock()
        state = UploadState(self._new_id(), 0, algorithm)
        session = UploadSession(self._new_id(), repository, by.name, state, now + _EXPIRY)
        await self._database.write(lambda tx: uploads.insert(tx, session, now), adds=True)
        return session

    async def get(self, repository: RepositoryName, session_id: str, by: Actor) -> UploadSession:
        """Raises UploadUnknown."""
        now = self._clock()
        return await self._database.read(lambda tx: uploads.get(tx, repository, session_id, by.name, now))

    async def append(self, repository: RepositoryName, session_id: str, chunk: Chunk, by: Actor) -> UploadSession:
        """Append a chunk, whole or not at all.

        Raises ChunkOutOfOrder, SizeInvalid, StorageFull, UploadUnknown, Unavailable; BlobTooLarge ends the session.
        """
        self._refuse_too_many()
        async with self._claimed(repository, session_id, chunk.first_byte, by) as session:
            state = await self._append(session, chunk, is_last=False)
            advanced = replace(session, state=state, expires_at=self._clock() + _EXPIRY)
            await self._database.write(lambda tx: uploads.advance(tx, advanced), adds=True)
        self._reach("upload.recorded")
        return advanced

    async def complete(
        self, repository: RepositoryName, session_id: str, chunk: Chunk, digest: Digest, by: Actor
    ) -> None:
        """Append the last chunk, check the digest, and make the blob of it.

        A session that is gone is complete when its blob is there: the answer to the first PUT may have been lost.
        Raises what append raises, and DigestInvalid, which ends the session, too.
        """
        if not chunk.is_empty:  # else all of it has come
            self._refuse_too_many()
        try:
            async with self._claimed(repository, session_id, chunk.first_byte, by) as session:
                state = await self._append(session, chunk, is_last=True)
                with _store_problems_named(state):
                    actual = await self._store.digest(state, digest.algorithm)
                if actual != digest:
                    await self._end(replace(session, state=state))
                    raise DigestInvalid("the content has another digest: the session has ended, begin a new one")
                await self._store_blob(session, state, digest, by)
        except UploadUnknown:
            is_held = False
            with contextlib.suppress(StorageFull):  # then nobody can push what would need it
                is_held = await self._database.write(lambda tx: self._hold(tx, repository, digest))
            if not is_held:
                raise
        self._reach("blob.recorded")

    def _hold(self, tx: Transaction, repository: RepositoryName, digest: Digest) -> bool:
        """Lease the blob anew: who hears 201 counts on it. False when it is not there, or damaged."""
        found, right = blobs.find(tx, repository, digest), blobs.find_right(tx, repository, digest)
        if found is None or found.is_damaged or right is None:
            return False
        return blobs.lease(tx, right.repository_id, digest, self._clock() + self._terms.lease)

    async def push(self, repository: RepositoryName, digest: Digest, chunk: Chunk, by: Actor) -> None:
        """Store a blob that comes in one request. Raises what complete raises."""
        self._refuse_too_many()  # before there is a session to be undone
        session = await self.start(repository, digest.algorithm, by)
        try:
            await self.complete(repository, session.id, chunk, digest, by)
        except BaseException:
            await see_through(self._abandon(session, by))
            raise

    async def adopt(
        self, repository: RepositoryName, digest: Digest, place: Callable[[str], Awaitable[bool]], by: Actor
    ) -> bool:
        """Make a blob of bytes that `place` puts under a storage key by itself, durably. False when it could not.

        Raises DigestInvalid, StorageFull, Unavailable, and what `place` raises.
        """
        session = await self.start(repository, digest.algorithm, by)
        try:
            async with self._claimed(repository, session.id, None, by) as claimed:
                with _store_problems_named(claimed.state):
                    is_placed = await place(claimed.state.key)
                    size = await self._judge_placed(claimed.state.key, digest) if is_placed else 0
                if is_placed:
                    state = replace(claimed.state, offset=size)
                    await self._store_blob(claimed, state, digest, by, is_placed=True)
            if not is_placed:
                await self._abandon(session, by)
        except BaseException:
            await see_through(self._abandon(session, by, looks_again=True))
            raise
        return is_placed

    async def _judge_placed(self, key: str, digest: Digest) -> int:
        """The size of what is stored under the key. Raises DigestInvalid."""
        try:
            size, actual = await self._store.size(key), await self._store.digest_stored(key, digest.algorithm)
        except BlobMissing:
            size, actual = None, None
        if size is None or actual != digest:
            raise DigestInvalid
        return size

    async def cancel(self, repository: RepositoryName, session_id: str, by: Actor) -> None:
        """End the session and forget its bytes. Raises UploadUnknown, ChunkOutOfOrder while a request writes to it."""
        async with self._claimed(repository, session_id, None, by) as session:
            await self._end(session)

    async def _append(self, session: UploadSession, chunk: Chunk, *, is_last: bool) -> UploadState:
        room = self._terms.blob_bytes - session.state.offset
        try:
            if max(chunk.announced, chunk.size or 0) > room:
                raise BlobTooLarge(self._terms.blob_bytes)
            with _store_problems_named(session.state):
                is_streamed = chunk.first_byte is None  # clients that send chunks say where each one belongs
                content = self._at_most(room, _exactly(chunk))
                content = self._unless_late(session, content) if self._database.is_shared else content
                return await self._store.append(session.state, content, is_last=is_last, is_streamed=is_streamed)
        except BlobTooLarge:  # nobody can complete it
            await self._end(session)
            raise

    def _refuse_too_many(self) -> None:
        """Raises Unavailable."""
        if len(self._writing) >= self._terms.at_once:
            raise Unavailable("too many uploads at once: try again in a moment", is_public=True)

    async def _at_most(self, room: int, content: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        """Raises BlobTooLarge."""
        async for piece in content:
            room -= len(piece)
            if room < 0:
                raise BlobTooLarge(self._terms.blob_bytes)
            yield piece

    async def _unless_late(self, session: UploadSession, content: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        """The content of a chunk. Raises UploadUnknown when another server has made itself the writer meanwhile.

        A claims and sleeps, B claims, appends and completes, A wakes up: it asks once it has what the store locks,
        which it keeps until its last byte is written.
        """
        if not await self._database.read(lambda tx: uploads.is_writer(tx, session)):
            raise UploadUnknown
        async for piece in content:
            yield piece

    async def _store_blob(
        self, session: UploadSession, state: UploadState, digest: Digest, by: Actor, *, is_placed: bool = False
    ) -> None:
        # A finds the blob's other copy and drops its own bytes, B collects that copy: so A's transaction looks again,
        # and A takes its own bytes then.
        while True:
            known = await self._database.read(lambda tx: blobs.find_stored(tx, digest))
            with _store_problems_named(state):
                is_whole = await self._is_whole(known)
                if not is_whole and not is_placed:
                    await self._store.commit(state)
            try:
                spare = await self._record(session, StoredBlob(digest, state.key, state.offset), known, is_whole, by)
                break
            except _CopyRemoved:
                continue
            except UploadUnknown:
                # A commits, B has deleted the repository and the bytes before: what A has made is nobody's.
                await self._database.write(
                    lambda tx: reviews.advance(tx, "upload", state.key, "upload.lost", self._clock())
                )
                raise
        if spare:
            await self._forget(state if spare == state.key and is_whole else UploadState(spare, 0))

    async def _is_whole(self, known: StoredBlob | None) -> bool:
        return known is not None and not known.is_damaged and await self._store.size(known.key) == known.size

    async def _record(
        self, session: UploadSession, blob: StoredBlob, known: StoredBlob | None, is_whole: bool, by: Actor
    ) -> str:
        """End the session and make the blob of it.

        Returns the key that the digest does not need: of the spare copy, of the damaged one, or none. The collector
        takes its bytes if we are killed before we do. Raises _CopyRemoved.
        """

        def work(tx: Transaction) -> str:
            deed = Deed(by, self._clock())
            uploads.remove(tx, session)
            spare = _record_blob(tx, blob, known, is_whole=is_whole, deed=deed)
            repository_id = repositories.get_or_make(tx, session.repository, "push", deed)
            right = GivenRight(repository_id, blob.digest, "blob.push", deed.at + self._terms.lease)
            blobs.give_right(tx, right, deed)
            if spare != blob.key:
                reviews.drop(tx, "upload", blob.key)  # the key is a blob's now
            return spare

        return await self._database.write(work, adds=True)

    async def _end(self, session: UploadSession, *, looks_again: bool = False) -> None:
        """The row first: A sleeps before it takes the bytes away, B makes a blob of them. A crash leaves a review.

        With `looks_again` that stays until the session would have expired: what somebody else writes can come late.
        """

        def work(tx: Transaction) -> None:
            uploads.remove(tx, session)
            if not looks_again:
                reviews.advance(tx, "upload", session.state.key, "upload.end", self._clock())

        try:
            await self._database.write(work)
        except StorageFull:
            if (
                not self._database.is_shared
            ):  # then nobody else writes to it, and its bytes are what there is no room for
                await self._store.abort(session.state)
            raise
        await self._forget(session.state)

    async def _forget(self, state: UploadState) -> None:
        """The bytes of an upload that has ended. What the store cannot remove now, the collector removes."""
        try:
            await self._store.abort(state)
        except OSError as problem:
            log.warning("bytes left to the collector", key=state.key, problem=str(problem))

    async def _abandon(self, session: UploadSession, by: Actor, *, looks_again: bool = False) -> None:
        """Forget a session that no client was told of. Its bytes go even if the database is full, too."""
        with contextlib.suppress(RegistryError):
            async with self._claimed(session.repository, session.id, None, by) as claimed:
                await self._end(claimed, looks_again=looks_again)

    @contextlib.asynccontextmanager
    async def _claimed(
        self, repository: RepositoryName, session_id: str, first_byte: int | None, by: Actor
    ) -> AsyncIterator[UploadSession]:
        """The session with this request as its only writer. Raises UploadUnknown, ChunkOutOfOrder."""
        # A claims, B claims where A still writes, A's bytes land behind B's check of the digest. The writer in the
        # row stops A from recording, not from writing; so B is refused until A has ended, however long A sleeps.
        if session_id in self._writing:
            raise ChunkOutOfOrder((await self.get(repository, session_id, by)).state.offset)
        self._writing.add(session_id)
        try:
            yield await self._database.write(
                lambda tx: uploads.claim(
                    tx, uploads.get(tx, repository, session_id, by.name, self._clock()), first_byte, self._new_id()
                )
            )
        finally:
            self._writing.discard(session_id)


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
    except StoreUnavailable as problem:
        log.error("store unavailable", key=state.key, problem=str(problem))  # noqa: TRY400 - an outage is no bug of ours
        raise Unavailable(f"the store is not available: {problem.strerror or problem}") from problem
    except OSError as problem:
        log.exception("store failed", key=state.key)
        raise Unavailable(f"the store failed: {problem.strerror or problem}") from problem


def _record_blob(tx: Transaction, blob: StoredBlob, known: StoredBlob | None, *, is_whole: bool, deed: Deed) -> str:
    """Insert the blob's row unless the digest has a good copy. Returns the key that is not needed, or none."""
    current = blobs.find_stored(tx, blob.digest)
    if current is None:
        if is_whole:
            raise _CopyRemoved
        blobs.insert(tx, blob, deed)
        return ""
    if is_whole and current.is_damaged:
        raise _CopyRemoved  # A finds it whole by its size, B's scrub reads its bytes and marks it
    if is_whole or (not current.is_damaged and (known is None or current.key != known.key)):
        return blob.key  # A and B push the same content at once: the second finds the first one's row and gives way
    blobs.replace_key(tx, current, blob.key, deed.at)
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
