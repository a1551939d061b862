"""Purges: what is deleted goes now and for good, by name. It ends undelete windows and leases, and is audited."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from registry.errors import InUse, NameUnknown
from registry.identity import Actor, Clock, Deed
from registry.metadata import changes, discards, explanations, garbage, purges, reviews
from registry.metadata.database import Database, Transaction
from registry.metadata.garbage import Tally
from registry.metadata.judgements import Terms
from registry.oci.names import RepositoryName
from storage.blobstore import BlobStore, UploadState
from storage.digest import Digest

T = TypeVar("T")

_PAGE = 1_000
_STEP = 20  # manifests of one transaction


class NothingToPurge(Exception):
    """The message says what was looked for, and what can be purged."""


@dataclass(frozen=True, slots=True)
class Purged:
    """What is gone; `bytes` are free now. `kept` of it is held by deleted indexes that can still come back."""

    manifests: int
    rights: int
    blobs: int
    bytes: int
    kept: int = 0


class Purges:
    def __init__(self, database: Database, store: BlobStore, clock: Clock) -> None:
        self._database = database
        self._store = store
        self._clock = clock

    async def purge_digest(self, digest: Digest, by: Actor) -> Purged:
        """A deleted manifest with the blobs that only it names, or a blob that nothing names, in all repositories.

        Raises InUse, naming what still uses it, and NothingToPurge.
        """
        manifests = await self._database.read(lambda tx: explanations.list_manifests(tx, str(digest)))
        rights = await self._database.read(lambda tx: explanations.list_rights(tx, str(digest)))
        if visible := sorted({name for _, name, is_visible in manifests if is_visible}):
            raise InUse(
                f"{digest} is not deleted: it is in {', '.join(visible)}. Delete it there first: "
                + "; ".join(f"entrepot manifest delete {name} {digest}" for name in visible),
                detail={"repositories": visible},
            )
        if not manifests and not rights:
            raise NothingToPurge(f"nothing here has the digest {digest}: see `entrepot garbage explain {digest}`")
        tally = Tally()
        kept = await self._purge_manifests([each[0] for each in manifests], tally, by)

        def work(tx: Transaction, tally: Tally) -> list[str]:
            terms = self._terms()
            deed = Deed(by, terms.now)
            return [
                f"{name}: it {reason}"
                for repository_id, name in rights
                if (reason := purges.purge_right(tx, repository_id, str(digest), terms, tally, deed))
            ]

        reasons = await self._write(work, tally) if rights else []
        if reasons and not tally.rights:
            raise InUse(
                f"{digest} is still used in {'; '.join(reasons)}.\n"
                "Purge these manifests first, if they are deleted, or all that is deleted there: --repository NAME",
                detail={"uses": reasons},
            )
        return await self._finish(tally, kept)

    async def purge_repository(self, name: RepositoryName, by: Actor) -> Purged:
        """All that is deleted in repositories of this name, deleted ones as a whole. Raises NameUnknown."""
        found = await self._database.read(lambda tx: purges.list_repositories(tx, name.value))
        if not found:
            raise NameUnknown(name.value)
        tally, kept = Tally(), 0
        for repository_id, is_deleted in found:
            if is_deleted:
                await self._purge_whole(repository_id, tally, by)
            else:
                kept += await self._purge_deleted(repository_id, tally, by)
        return await self._finish(tally, kept)

    async def purge_run(self, run_id: int, by: Actor) -> Purged:
        """What a run of a policy has removed and nobody has brought back. Raises NothingToPurge."""
        manifests = await self._database.read(lambda tx: purges.list_run_manifests(tx, run_id))
        if manifests is None:
            raise NothingToPurge(f"there is no run {run_id}: `entrepot lifecycle runs` lists them")
        tally = Tally()
        return await self._finish(tally, await self._purge_manifests(manifests, tally, by, skips_visible=True))

    async def _purge_deleted(self, repository_id: int, tally: Tally, by: Actor) -> int:
        found: list[int] = []
        while page := await self._database.read(
            partial(
                purges.list_deleted_manifests,
                repository_id=repository_id,
                after=found[-1] if found else 0,
                limit=_PAGE,
            )
        ):
            found += page
        kept = await self._purge_manifests(found, tally, by)

        def work(tx: Transaction, tally: Tally) -> None:
            terms = self._terms()
            for digest in purges.list_deleted_rights(tx, repository_id):
                purges.purge_right(tx, repository_id, digest, terms, tally, Deed(by, terms.now))

        await self._write(work, tally)
        return kept

    async def _purge_whole(self, repository_id: int, tally: Tally, by: Actor) -> None:
        await self._database.write(
            lambda tx: changes.append(tx, Deed(by, self._clock()), "garbage.purge", repository_id)
        )

        def work(tx: Transaction, tally: Tally) -> bool:
            terms = self._terms()
            reviews.postpone(tx, "repository", str(repository_id), "garbage.purge", terms.now)
            what = reviews.Review("repository", str(repository_id), terms.now, 0, "garbage.purge")
            before = replace(tally)
            garbage.review(tx, what, terms, tally)
            return tally != before

        while await self._write(work, tally):
            pass

    async def _purge_manifests(
        self, manifests: list[int], tally: Tally, by: Actor, *, skips_visible: bool = False
    ) -> int:
        """Indexes may come after their children: so what is held is tried again. Returns how many stay."""
        while True:
            held: list[int] = []
            for start in range(0, len(manifests), _STEP):
                part = manifests[start : start + _STEP]
                held += await self._write(partial(self._purge_part, part, by, skips_visible=skips_visible), tally)
            if not held or len(held) == len(manifests):
                return len(held)
            manifests = held

    def _purge_part(
        self, part: list[int], by: Actor, tx: Transaction, tally: Tally, *, skips_visible: bool
    ) -> list[int]:
        terms = self._terms()
        held: list[int] = []
        for manifest_id in part:
            if tally.rows >= garbage.MOST_ROWS:
                held.append(manifest_id)
                continue
            try:
                is_gone = purges.purge_manifest(tx, manifest_id, terms, tally, Deed(by, terms.now))
            except InUse:
                if not skips_visible:
                    raise
                continue
            if not is_gone and purges.is_deleted(tx, manifest_id):
                held.append(manifest_id)
        return held

    async def _write(self, work: Callable[[Transaction, Tally], T], tally: Tally) -> T:
        """The transaction may be run twice: each time from a tally of its own."""
        counted = Tally()

        def run(tx: Transaction) -> T:
            nonlocal counted
            counted = Tally()
            return work(tx, counted)

        result = await self._database.write(run)
        tally.add(counted)
        return result

    async def _finish(self, tally: Tally, kept: int) -> Purged:
        """The bytes go now: that is what a full disk waits for."""
        now = self._clock()
        while gone := await self._database.read(lambda tx: discards.list_due(tx, now, _STEP)):
            for upload in gone:
                await self._store.abort(upload)
                await self._store.sweep(upload.key)
            await self._database.write(partial(_drop_all, gone=gone))
        return Purged(tally.manifests, tally.rights, tally.blobs, tally.bytes, kept)

    def _terms(self) -> Terms:
        return Terms(self._clock(), undelete_days=0, settle=0, lease=0, is_purge=True)


def _drop_all(tx: Transaction, gone: list[UploadState]) -> None:
    for upload in gone:
        discards.drop(tx, upload.key)
