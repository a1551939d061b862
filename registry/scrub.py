"""Reads blobs again to see whether their bytes are still the ones that were pushed.

A damaged blob is marked: from then on it is not served or mounted, and the next push of its digest replaces it.
A copy that is found whole again, because the disk or a backup gave it back, loses its mark.
"""

import asyncio
import errno
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial

import structlog

from registry.errors import Unavailable
from registry.identity import Actor, Clock, Deed
from registry.metadata import changes, schema, scrubs
from registry.metadata.changes import AccessEvent
from registry.metadata.database import Database, Transaction
from registry.metadata.scrubs import Holder, ScrubbedBlob
from registry.oci.names import RepositoryName
from storage.blobstore import BlobMissing, BlobStore, ForeignStore, StoreUnavailable

log: structlog.stdlib.BoundLogger = structlog.get_logger()

SCRUBBER = Actor("entrepot")
_REST = 7 * 24 * 3_600_000  # milliseconds before the background reads a blob again: small registries wear no disk
_IDLE_SECONDS = 60.0  # when every blob was read within that time
_PAGE = 100
_MOST_TAGS = 1_000  # listed of those that one damaged blob breaks
_MOST_TOLD = 20  # in the log and in the change log
_LEAST_COUNTED = 256 << 10  # bytes: what a smaller blob counts as, because its row is written as well
_MEBIBYTE = 1 << 20
# What the kernel says when the disk, or a file system that checks itself, has lost the bytes.
_LOST = (errno.EIO, errno.EUCLEAN, errno.EBADMSG)


@dataclass(frozen=True, slots=True)
class Broken:
    """What a damaged blob breaks in a repository: tags that lead to it, also through indexes; there may be none."""

    repository: RepositoryName
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Damage:
    """`problem` is missing, truncated, changed or unreadable, for which `cause` has the system's words.

    `has_more`: not all that it breaks is listed.
    """

    digest: str
    key: str
    problem: str
    broken: tuple[Broken, ...]
    has_more: bool = False
    cause: str = ""

    def describe(self) -> str:
        """What it breaks, as text of a bounded length."""
        names = [f"{each.repository}:{tag}" for each in self.broken for tag in each.tags]
        names = names or [str(each.repository) for each in self.broken]
        rest = "" if len(names) <= _MOST_TOLD else f" and {len(names) - _MOST_TOLD}{' or' * self.has_more} more"
        return ", ".join(names[:_MOST_TOLD]) + rest if names else "nothing that is visible"


@dataclass(frozen=True, slots=True)
class Step:
    """One blob was read: so many bytes of it."""

    read: int
    damage: Damage | None


@dataclass(frozen=True, slots=True)
class _Finding:
    """How the bytes are. `is_whole` is None when they cannot be read now, but may be there."""

    problem: str
    is_whole: bool | None
    cause: str = ""


def find_pause(read: int, took: int, mib_per_second: float) -> float:
    """Seconds until the next step, after one that read so many bytes in so many milliseconds."""
    return max(0.0, max(read, _LEAST_COUNTED) / _MEBIBYTE / mib_per_second - took / 1000)


class Scrub:
    def __init__(self, database: Database, store: BlobStore, clock: Clock) -> None:
        self._database = database
        self._store = store
        self._clock = clock
        self.damaged = 0

    async def measure(self) -> tuple[int, int]:
        """How many blobs a run will read, and their bytes."""
        return await self._database.read(scrubs.measure)

    async def run(self, advance: Callable[[int], None], by: Actor = SCRUBBER) -> AsyncIterator[Damage]:
        """Read every blob and yield what is damaged; `advance` is told the size of each. Raises ForeignStore."""
        after = ""
        while page := await self._database.read(partial(scrubs.list_after, after=after, limit=_PAGE)):
            whole: list[ScrubbedBlob] = []
            for blob in page:
                finding = await self._look_at(blob)
                if finding.is_whole and not blob.damaged_at:
                    whole.append(blob)
                elif damage := await self._record(blob, finding, by):
                    yield damage
                advance(blob.size)
            await self._note_whole(whole)  # together: a server that runs has the same disk to write to
            after = str(page[-1].digest)

    async def step(self, *, rest: int = 0) -> Step | None:
        """Read the blob that was read longest ago, unless that was within `rest` milliseconds. None: there is none.

        Raises Unavailable, also when the store is not there.
        """
        now = self._clock()
        blob = await self._database.read(lambda tx: scrubs.find_next(tx, now - rest))
        if blob is None:
            self.damaged = await self._database.read(scrubs.count_damaged)
            return None
        try:
            damage = await self._record(blob, await self._look_at(blob), SCRUBBER)
        except (ForeignStore, OSError) as problem:
            raise Unavailable(str(problem)) from problem
        self.damaged = await self._database.read(scrubs.count_damaged)
        if damage:
            breaks = damage.describe()
            log.error("blob damaged", digest=damage.digest, key=blob.key, problem=damage.problem, breaks=breaks)
        return Step(blob.size, damage)

    async def tend(self, mib_per_second: float) -> float:
        """Take one step. Returns in how many seconds to take the next one, so that this rate is kept."""
        began_at = self._clock()
        step = await self.step(rest=_REST)
        return find_pause(step.read, self._clock() - began_at, mib_per_second) if step else _IDLE_SECONDS

    async def _note_whole(self, whole: list[ScrubbedBlob]) -> None:
        def work(tx: Transaction) -> None:
            for blob in whole:
                scrubs.note_whole(tx, blob, self._clock())

        await self._database.write(work)

    async def _record(self, blob: ScrubbedBlob, finding: _Finding, by: Actor) -> Damage | None:
        """None when it is whole; or a push has replaced it or the collector removed it since its row was read."""
        damage = None
        if finding.problem:
            # An unmounted volume has lost every blob, and none of them is damaged.
            instance = await self._database.read(schema.find_instance)
            await self._store.verify(instance or "")
            damage = await self._assess(blob, finding)

        def work(tx: Transaction) -> bool:
            deed, was_marked = Deed(by, self._clock()), scrubs.is_marked(tx, blob)
            if was_marked is None:
                return False
            scrubs.mark(tx, blob, deed.at, is_whole=finding.is_whole)
            if finding.is_whole is was_marked:
                action = "blob.repaired" if was_marked else "blob.damaged"
                detail = f"{damage.problem}; it breaks {damage.describe()}" if damage else "its bytes are whole again"
                changes.append_event(tx, AccessEvent(deed, action, subject=str(blob.digest), detail=detail))
            return True

        return damage if await self._database.write(work) else None

    async def _look_at(self, blob: ScrubbedBlob) -> _Finding:
        try:
            size = await self._store.size(blob.key)
            if size != blob.size:
                return _Finding("missing" if size is None else "truncated", is_whole=False)
            digest = await self._store.digest_stored(blob.key, blob.digest.algorithm)
        except BlobMissing:
            return _Finding("missing", is_whole=False)
        except OSError as problem:
            cause = problem.strerror or str(problem)
            # A server that does not answer, or refuses, has said nothing of the bytes, whatever number that error has.
            is_lost = problem.errno in _LOST and not isinstance(problem, StoreUnavailable)
            return _Finding("unreadable", is_whole=False if is_lost else None, cause=cause)
        return _Finding("", is_whole=True) if digest == blob.digest else _Finding("changed", is_whole=False)

    async def _assess(self, blob: ScrubbedBlob, finding: _Finding) -> Damage:
        broken: list[Broken] = []
        left, after = _MOST_TAGS, 0
        while left >= 0 and (
            holders := await self._database.read(
                partial(scrubs.list_holders, digest=blob.digest, after=after, limit=_PAGE)
            )
        ):
            after = holders[-1].id
            for holder in holders:
                tags = await self._find_tags(holder, blob, left)
                broken.append(Broken(holder.name, tuple(tags[: max(0, left)])))
                left -= max(1, len(tags))
        return Damage(str(blob.digest), blob.key, finding.problem, tuple(broken), left < 0, finding.cause)

    async def _find_tags(self, holder: Holder, blob: ScrubbedBlob, most: int) -> list[str]:
        """Tags of manifests that name the blob and of the indexes above them, some more than `most` at most."""
        tags: list[str] = []
        seen: set[int] = set()
        after = 0
        while len(tags) <= most and (
            page := await self._database.read(
                partial(scrubs.list_naming, holder=holder, digest=blob.digest, after=after, limit=_PAGE)
            )
        ):
            after = page[-1]
            waiting = set(page) - seen
            while waiting:
                seen |= waiting
                found, parents = await self._database.read(partial(_look_up, waiting))
                tags += found
                waiting = parents - seen
                await asyncio.sleep(0)  # reads run in the event loop, and pushes and pulls want their turn
        return sorted(tags)


def _look_up(manifests: set[int], tx: Transaction) -> tuple[list[str], set[int]]:
    """The tags that point to the manifests, and the indexes that name them."""
    tags = [tag for each in manifests for tag in scrubs.list_tags(tx, each)]
    return tags, {parent for each in manifests for parent in scrubs.list_parents(tx, each)}
