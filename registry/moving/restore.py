"""Makes a registry of a backup, where none is.

The bytes come first and the rows last, all in one transaction: until then there is no registry. One that was cut off
goes on where it stopped when it is begun again with the same backup: a mark in the database says which store it fills.
A store that is marked otherwise may be the one of the registry that the backup is of: two databases would remove each
other's bytes.
"""

import contextlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import IO

from registry.errors import RegistryError
from registry.identity import Clock
from registry.metadata import blobs, moves, schema, transfer
from registry.metadata.database import Database, Transaction
from registry.moving import rows
from registry.moving.archive import ArchivedBlob, ArchiveInvalid, ArchiveReader, Title
from registry.moving.backup import Unsaved
from registry.moving.copying import KeyInvalid, is_there, store_blob
from registry.moving.rows import NamedBlob, RowsDamaged
from storage.blobstore import BlobStore, ForeignStore, StoreFull

_ABSENT = "not in the backup"


class CannotRestore(Exception):
    """The message says why, and what to do."""


@dataclass(slots=True)
class Restored:
    """`title` of the backup; `missing` are the blobs whose bytes were not in it, or not as they should be."""

    title: Title
    blobs: int = 0
    blob_bytes: int = 0
    missing: list[Unsaved] = field(default_factory=list)


class Restore:
    """`place` is what the store is called, the same whenever the restore goes on."""

    def __init__(self, database: Database, store: BlobStore, clock: Clock, place: str) -> None:
        self._database = database
        self._store = store
        self._clock = clock
        self._place = place

    async def read(
        self, file: IO[bytes], begin: Callable[[Title], None], advance: Callable[[int], None], *, is_partial: bool
    ) -> Restored:
        """Make the registry; with `is_partial` also of a backup that was cut off, without what was to come there.

        Raises CannotRestore, ForeignStore, Unavailable, StorageFull, OSError.
        """
        try:
            with tempfile.TemporaryFile() as spool:
                archive = ArchiveReader(file)
                number = await self._database.write(_make_schema)
                _refuse_other_schema(archive.title, number)
                begin(archive.title)
                archive.copy_rows(spool)
                rows.verify(spool, transfer.TABLES)
                await self._bind(archive.title.instance)
                restored = await self._store_blobs(archive, spool, advance)
                if archive.damaged is None and not is_partial:
                    raise CannotRestore(
                        f"{archive.problem}: {len(restored.missing)} of {archive.title.blobs} blobs did not come."
                        "\nBegin again with the whole file, which goes on from here; or take what there is: --partial"
                    )
                await self._insert_rows(spool, restored)
                return restored
        except (ArchiveInvalid, RowsDamaged, KeyInvalid) as problem:
            raise CannotRestore(str(problem)) from None
        except StoreFull as problem:
            raise CannotRestore(f"the store is full: {problem}. Make room and begin again, which goes on") from None

    async def _bind(self, instance: str) -> None:
        """Raises CannotRestore when the store is marked, unless this restore did that; ForeignStore."""
        arrival = f"{instance} in {self._place}"
        if await self._database.read(moves.find_restore) != arrival:
            with contextlib.suppress(ForeignStore):  # not marked, which it should be; or another one's: bind says so
                await self._store.verify(instance)
                raise CannotRestore(
                    f"{self._place} has the blobs of the registry that the backup is of, or of a restore of it that"
                    " another database began. Two registries would remove each other's blobs: give another"
                    " ENTREPOT_STORAGE, or an empty prefix or directory"
                )
            await self._database.write(partial(moves.begin_restore, arrival=arrival))
        await self._store.bind(instance, is_populated=False)

    async def _store_blobs(self, archive: ArchiveReader, spool: IO[bytes], advance: Callable[[int], None]) -> Restored:
        restored = Restored(archive.title)
        # Both in the order of digests, so that not all of them need be known at once.
        expected = rows.each_blob(spool, transfer.TABLES)
        blob = next(expected, None)
        for archived in archive.each_blob():
            while blob and blob.digest < str(archived.digest):
                restored.missing.append(Unsaved(blob.digest, _ABSENT))
                blob = next(expected, None)
            if blob is None or blob.digest != str(archived.digest):
                continue
            try:
                problem = await self._store_blob(blob, archived)
            except ArchiveInvalid:
                break  # what follows it did not come either
            if problem:
                restored.missing.append(Unsaved(blob.digest, problem))
            else:
                restored.blobs += 1
                restored.blob_bytes += blob.size
            advance(blob.size)
            blob = next(expected, None)
        if blob:
            restored.missing += [Unsaved(each.digest, _ABSENT) for each in (blob, *expected)]
        return restored

    async def _store_blob(self, blob: NamedBlob, archived: ArchivedBlob) -> str:
        """What is wrong with the blob; nothing when it is stored."""
        if await is_there(self._store, blob, reads=True):
            return ""
        return "" if await store_blob(self._store, blob, archived.read()) else "changed"

    async def _insert_rows(self, spool: IO[bytes], restored: Restored) -> None:
        now = self._clock()

        def work(tx: Transaction) -> None:
            tx.alone()
            if not transfer.is_empty(tx):
                raise CannotRestore("a server has made a registry there meanwhile")
            rows.insert(tx, spool, transfer.TABLES)
            moves.end_restore(tx)
            transfer.note_arrival(tx)
            transfer.note_bytes(tx, [each.digest for each in restored.missing], now)

        try:
            await self._database.write(work)
        except RegistryError as problem:
            raise CannotRestore(f"the rows cannot be written: {problem}. Begin again, which goes on") from problem


def _make_schema(tx: Transaction) -> int:
    """Returns its number. Raises CannotRestore: a registry is there."""
    number = schema.migrate(tx)
    if schema.has_more(tx):
        raise CannotRestore(
            f"the database has schema {number}, which is a newer version's: give another one, which is empty"
        )
    if not transfer.is_empty(tx):
        raise CannotRestore(
            f"a registry with {blobs.count(tx)} blobs is there already, and a backup is restored only where none is"
        )
    return number


def _refuse_other_schema(title: Title, number: int) -> None:
    if title.schema != number:
        raise CannotRestore(
            f"the backup is one of version {title.version} with schema {title.schema}, and this version has schema"
            f" {number}: restore it with version {title.version}, and start the newer server on that, which brings it"
            " up to date"
        )
    if lacking := [table.name for table in transfer.TABLES if table.name not in title.rows]:
        raise CannotRestore(f"this is no backup: it does not say how many rows it has of {lacking[0]}")
