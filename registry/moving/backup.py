"""Saves a registry while it serves: all rows as of one instant, then the bytes of every blob that they name."""

import contextlib
import errno
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from registry.errors import Unavailable
from registry.identity import Clock
from registry.metadata import blobs, schema, transfer
from registry.metadata.database import Database, Transaction
from registry.moving import rows
from registry.moving.archive import ArchiveWriter, Sink, Title
from registry.moving.holding import Holding
from registry.moving.rows import NamedBlob, Written
from registry.moving.sums import sum_up
from storage.blobstore import BlobMissing, BlobStore, ByteRange, OpenBlob, StoreUnavailable
from storage.digest import Digest


@dataclass(frozen=True, slots=True)
class Unsaved:
    """A blob that is not in the backup, and why: missing, changed, or what the system says."""

    digest: str
    problem: str


@dataclass(frozen=True, slots=True)
class Saved:
    """What is in the backup, of `size` bytes; `taken_at` (Unix milliseconds) is the instant that it shows."""

    title: Title
    size: int
    unsaved: list[Unsaved]


# What a volume says of bytes that are gone for good. Anything else may be over when it is tried again.
_DAMAGE = (errno.EIO, errno.EUCLEAN, errno.EBADMSG)


class Unreadable(Exception):
    """The store cannot give the bytes; the message says why. They are gone for good when `is_damage`."""

    def __init__(self, problem: str, *, is_damage: bool = True) -> None:
        super().__init__(problem)
        self.is_damage = is_damage


class Backup:
    """`version` is the program's own, for whoever restores the backup."""

    def __init__(self, database: Database, store: BlobStore, clock: Clock, version: str) -> None:
        self._database = database
        self._store = store
        self._clock = clock
        self._version = version
        self._holding = Holding(database)

    async def write(
        self, file: Sink, folder: Path | None, begin: Callable[[Title], None], advance: Callable[[int], None]
    ) -> Saved:
        """Write a backup to `file`; the rows wait in a file without a name in `folder` (None: the system's own).

        `begin` is told what will be in it, `advance` the size of each blob that is done. Raises Unavailable, OSError.
        """
        async with self._holding.held():
            with tempfile.TemporaryFile(dir=folder) as spool:
                title = await self._save_rows(spool)
                begin(title)
                archive = ArchiveWriter(file)
                archive.write_title(title, spool)
                unsaved: list[Unsaved] = []
                for blob in rows.each_blob(spool, transfer.TABLES):
                    if problem := await self._save(archive, blob, title.taken_at):
                        unsaved.append(Unsaved(blob.digest, problem))
                    advance(blob.size)
                archive.end([each.digest for each in unsaved], title.taken_at)
        return Saved(title, archive.size, unsaved)

    async def _save_rows(self, spool: IO[bytes]) -> Title:
        instance = await self._database.read(schema.find_instance)
        if instance is None:
            raise Unavailable("there is no registry yet")

        def work(tx: Transaction) -> tuple[int, Written]:
            tx.keep_schema()
            schema.refuse_newer(tx)  # again: a newer server may have come
            schema.refuse_more(tx)
            return transfer.find_schema(tx), rows.write(tx, spool, transfer.TABLES)

        taken_at = self._clock()
        number, written = await self._database.read(work)
        size, sha256 = sum_up(spool)
        return Title(
            version=self._version,
            schema=number,
            instance=instance,
            taken_at=taken_at,
            rows=written.rows,
            rows_size=size,
            rows_sha256=sha256,
            blobs=written.blobs,
            blob_bytes=written.blob_bytes,
        )

    async def _save(self, archive: ArchiveWriter, blob: NamedBlob, taken_at: int) -> str:
        """What is wrong with the blob; nothing when it is saved."""
        digest = Digest.parse(blob.digest)
        try:
            with problems_named():
                opened = await self._store.open(await self._find_key(digest, blob), blob.size)
            try:
                is_whole = await archive.write_blob(digest, blob.size, taken_at, read_blob(opened))
            finally:
                await opened.close()
        except Unreadable as problem:
            return str(problem)
        return "" if is_whole else "changed"

    async def _find_key(self, digest: Digest, blob: NamedBlob) -> str:
        """The blob's key: another one than in the rows when a push has repaired it since."""
        current = await self._database.read(lambda tx: blobs.find_stored(tx, digest))
        return current.key if current else blob.key


async def read_blob(opened: OpenBlob) -> AsyncIterator[bytes]:
    """Problems of the store are told from those of the backup's own disk."""
    if opened.size:
        pieces = opened.read(ByteRange(0, opened.size - 1))
        while True:
            try:
                with problems_named():
                    piece = await anext(pieces)
            except StopAsyncIteration:
                return
            yield piece


@contextlib.contextmanager
def problems_named() -> Iterator[None]:
    try:
        yield
    except BlobMissing:
        raise Unreadable("missing") from None
    except StoreUnavailable as problem:
        raise Unavailable(str(problem)) from problem
    except OSError as problem:
        is_damage = problem.errno in _DAMAGE
        raise Unreadable(problem.strerror or str(problem), is_damage=is_damage) from problem
