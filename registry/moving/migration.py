"""Moves a registry to another database, another store, or both, while it serves.

First the blobs are copied, round after round, until few are new. Then the registry's own row of moves makes every write
of its servers fail, in the transaction that would write; the last blobs and all rows follow. What fails until then
takes the mark away again, and what is copied stays, so that the next try is short.
"""

import asyncio
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from registry.errors import Unavailable
from registry.metadata import blobs, moves, schema, scrubs, transfer
from registry.metadata.blobs import StoredBlob
from registry.metadata.database import Database, Transaction
from registry.moving import rows
from registry.moving.backup import Unreadable, Unsaved, problems_named, read_blob
from registry.moving.copying import is_there, store_blob
from registry.moving.holding import Holding
from registry.moving.rows import NamedBlob, Written
from registry.moving.sums import sum_up
from registry.moving.together import run_together
from storage.blobstore import BlobStore

_TABLES = (*transfer.TABLES, transfer.SIGNING_KEYS)
_PAGE = 500
_AT_ONCE = 8  # blobs
_FEW = 20  # blobs: so many are copied while pushes wait
_MOST_ROUNDS = 20


class CannotMigrate(Exception):
    """The message says why, and what to do. The registry is where it was."""


@dataclass(frozen=True, slots=True)
class Side:
    """A registry's database and blobs, and what they are called."""

    database: Database
    store: BlobStore
    database_place: str
    store_place: str

    @property
    def place(self) -> str:
        return f"{self.database_place}, {self.store_place}"


@dataclass(slots=True)
class Migrated:
    """What was copied now; `known_blobs` were there from an earlier try. `pause` in seconds, of the writes.

    `damaged` could not be copied: they were damaged where they were.
    """

    blobs: int = 0
    blob_bytes: int = 0
    known_blobs: int = 0
    rounds: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    pause: float = 0.0
    damaged: list[Unsaved] = field(default_factory=list)
    was_done: bool = False


class Migration:
    """`tell` is told what is done now, `advance` the size of each blob that has been seen to."""

    def __init__(
        self, source: Side, target: Side, tell: Callable[[str, int], None], advance: Callable[[int], None]
    ) -> None:
        self._source = source
        self._target = target
        self._tell = tell
        self._advance = advance
        self._moves_rows = source.database_place != target.database_place
        self._moves_blobs = source.store_place != target.store_place
        self._there: set[str] = set()  # storage keys
        self._migrated = Migrated()

    async def run(self, *, accepts_damage: bool) -> Migrated:
        """Move the registry. Raises CannotMigrate, ForeignStore, Unavailable, StorageFull, StoreFull, OSError."""
        if not (self._moves_rows or self._moves_blobs):
            raise CannotMigrate("the registry is there already: name another database, another storage, or both")
        if await self._prepare():
            self._migrated.was_done = True
            return self._migrated
        async with Holding(self._source.database).held():
            if self._moves_blobs:
                await self._copy_until_few_are_new()
            self._refuse_damage(accepts_damage=accepts_damage)
            await self._cut_over(accepts_damage=accepts_damage)
        return self._migrated

    def _refuse_damage(self, *, accepts_damage: bool) -> None:
        if self._migrated.damaged and not accepts_damage:
            raise CannotMigrate(
                f"{len(self._migrated.damaged)} blobs are damaged, the first is {self._migrated.damaged[0].digest}:"
                " `entrepot scrub` names the tags that they break, and pushing these again repairs them.\n"
                "--accept-damage goes ahead: what is damaged here is missing there"
            )

    async def _prepare(self) -> bool:
        """Whether all is done already. Raises CannotMigrate: something else is there."""
        instance = await self._source.database.read(schema.find_instance)
        if instance is None:
            raise CannotMigrate("there is no registry that could move")
        if self._moves_rows:
            await self._source.database.read(schema.refuse_more)
        await self._source.store.verify(instance)
        moved_to = await self._source.database.read(moves.find)
        if self._moves_rows:
            there = await self._target.database.write(_make_schema)
            if there == instance and moved_to == self._target.place:
                return True
            if there is not None:
                left = "; an earlier try has left it there, or it serves" if there == instance else ""
                raise CannotMigrate(
                    f"a registry is in {self._target.database_place} already{left}: name an empty database"
                )
        elif moved_to == self._target.place:
            return True
        if self._moves_blobs:
            await self._target.store.bind(instance, is_populated=False)
        return False

    async def _copy_until_few_are_new(self) -> None:
        for _ in range(_MOST_ROUNDS):
            if await self._copy_round("Copying blobs") <= _FEW:
                return

    async def _cut_over(self, *, accepts_damage: bool) -> None:
        began = time.monotonic()
        begun = asyncio.create_task(self._source.database.write(partial(moves.begin, place=self._target.place)))
        try:
            await asyncio.shield(begun)
            if self._moves_blobs:
                await self._copy_round("Copying the last blobs")
                self._refuse_damage(accepts_damage=accepts_damage)
            if self._moves_rows:
                self._tell("Copying rows", 0)
                await self._move_rows()
        except BaseException:
            await asyncio.shield(self._take_mark_away(begun))
            raise
        self._migrated.pause = time.monotonic() - began

    async def _take_mark_away(self, begun: asyncio.Task[None]) -> None:
        """Also one that is being committed: then whoever was cancelled does not know yet whether it is there."""
        await asyncio.gather(begun, return_exceptions=True)
        await self._source.database.write(moves.end)

    async def _copy_round(self, description: str) -> int:
        """Copy what was not there in the round before. Returns how many."""
        self._migrated.damaged.clear()
        self._migrated.rounds += 1
        self._tell(description, (await self._source.database.read(scrubs.measure))[1])
        before, after = self._migrated.blobs, ""
        while page := await self._source.database.read(partial(blobs.list_stored, after=after, limit=_PAGE)):
            after = str(page[-1].digest)
            await run_together(self._see_to, page, _AT_ONCE)
        return self._migrated.blobs - before

    async def _see_to(self, blob: StoredBlob) -> None:
        if blob.key not in self._there:
            named = NamedBlob(str(blob.digest), blob.key, blob.size, blob.is_damaged)
            if problem := await self._copy(named):
                self._migrated.damaged.append(Unsaved(named.digest, problem))
            else:
                self._there.add(blob.key)
        self._advance(blob.size)

    async def _copy(self, blob: NamedBlob) -> str:
        """What is wrong with the blob; nothing when it is in the target."""
        if await is_there(self._target.store, blob, reads=False):
            self._migrated.known_blobs += 1
            return ""
        try:
            with problems_named():
                opened = await self._source.store.open(blob.key, blob.size)
            try:
                is_whole = await store_blob(self._target.store, blob, read_blob(opened))
            finally:
                await opened.close()
        except Unreadable as problem:
            if not problem.is_damage:  # the blob would be missing there, and nothing is wrong with it here
                raise Unavailable(f"{self._source.store_place}: {blob.digest} cannot be read: {problem}") from problem
            return str(problem)
        if is_whole:
            self._migrated.blobs += 1
            self._migrated.blob_bytes += blob.size
        return "" if is_whole else "changed"

    async def _move_rows(self) -> None:
        damaged = [each.digest for each in self._migrated.damaged]
        with tempfile.TemporaryFile() as spool, tempfile.TemporaryFile() as echo:

            def read(tx: Transaction) -> Written:
                tx.keep_schema()
                schema.refuse_more(tx)  # again: a newer server may have come
                return rows.write(tx, spool, _TABLES)

            def write(tx: Transaction) -> None:
                tx.alone()
                if not transfer.is_empty(tx):
                    raise CannotMigrate(f"a server has made a registry in {self._target.database_place} meanwhile")
                rows.insert(tx, spool, _TABLES)
                rows.write(tx, echo, _TABLES)
                if sum_up(echo) != expected:
                    raise CannotMigrate(f"{self._target.database_place} does not give back the rows that it was given")
                if damaged:
                    transfer.note_damage(tx, damaged, now)
                transfer.note_arrival(tx)

            self._migrated.rows = (await self._source.database.read(read)).rows
            expected, now = sum_up(spool), self._source.database.clock()
            await self._target.database.write(write)


async def take_back(database: Database) -> str | None:
    """Let the registry serve again where it was. Returns where it had moved to, None when it had not."""
    place = await database.read(moves.find)
    if place is not None:
        await database.write(moves.end)
    return place


def _make_schema(tx: Transaction) -> str | None:
    """The instance of the registry that is there."""
    schema.migrate(tx)
    return schema.find_instance(tx)
