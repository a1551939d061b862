"""The collector: takes what is deleted and past its window, and blobs that nothing names. It runs beside everything.

In small transactions it reviews what is due (metadata/judgements.py says what is garbage); the bytes go after them.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

import structlog

from registry.errors import RegistryError
from registry.identity import Clock
from registry.metadata import discards, explanations, garbage, holds, replicas, reviews, serving
from registry.metadata.database import Database, Transaction
from registry.metadata.explanations import Due, Fact
from registry.metadata.garbage import Tally
from registry.metadata.judgements import Terms
from registry.metadata.reviews import Review
from storage.blobstore import BlobStore, UploadState
from storage.digest import Digest
from storage.killpoints import Reach, pass_by

Fence: TypeAlias = Callable[[Transaction], None]

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_STEP = 20  # reviews of one transaction: pushes wait for it
_PAUSE = 3  # times as long as a step: a push writes three times, and each time it waits for us
_MOST_PAUSE = 1_000  # milliseconds
_FIRST_BACKOFF = 60_000  # milliseconds; doubled with each failure
_MOST_DOUBLINGS = 10
_MOST_WAITS = 3


class OtherWindow(Exception):
    """The server collects by another undelete window; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Windows:
    """In milliseconds but for `undelete_days`.

    `lease` of a blob that a client was told of; `settle` between condemning and removing; `quiet` after an unclean end;
    `term` for which one of several servers may be silent. It is shorter than `settle`: what such a server has not
    written yet was noted after the collector had condemned what it removes now.
    """

    undelete_days: int
    lease: int = 24 * 3_600_000
    settle: int = 60_000
    quiet: int = 600_000
    term: int = 30_000


@dataclass(frozen=True, slots=True)
class Collected:
    """What was removed for good, and how many bytes that frees; `failed` is put off, the log says why.

    `rests_until` is when the collector may work again (Unix milliseconds), if it did nothing for that reason;
    `held_until` the same, while a backup reads the blobs; `waits_until` until when it waits for what it has condemned.
    """

    manifests: int = 0
    rights: int = 0
    blobs: int = 0
    uploads: int = 0
    repositories: int = 0
    bytes: int = 0
    reviewed: int = 0
    discarded: int = 0
    failed: int = 0
    rests_until: int | None = None
    held_until: int | None = None
    waits_until: int | None = None

    @property
    def is_idle(self) -> bool:
        """Whether there was nothing to look at."""
        return self.reviewed == self.discarded == self.failed == 0

    def __add__(self, other: "Collected") -> "Collected":
        sums = {name: getattr(self, name) + getattr(other, name) for name in _COUNTS}
        return Collected(**sums, rests_until=other.rests_until, held_until=other.held_until)


_COUNTS = tuple(name for name in Collected.__slots__ if not name.endswith("_until"))


class Garbage:
    def __init__(
        self, database: Database, store: BlobStore, clock: Clock, windows: Windows, reach: Reach = pass_by
    ) -> None:
        self._database = database
        self._store = store
        self._clock = clock
        self._windows = windows
        self._reach = reach
        self.total = Collected()
        self.overdue = 0.0  # seconds

    async def begin_serving(self) -> None:
        """Leases that were only noted are lost with a server that was killed: so nothing is collected for a while."""
        now, file = self._clock(), self._database.file_number
        begin = serving.begin_sharing if self._database.is_shared else serving.begin_serving

        def work(tx: Transaction) -> None:
            begin(tx, now, self._windows.quiet, file)
            serving.note_window(tx, self._windows.undelete_days, now)

        await self._database.write(work)

    async def begin_collecting(self, *, is_served: bool, goes_ahead: bool) -> None:
        """Before a command collects: beside a server only by the same window, else as a server begins.

        Raises OtherWindow, also for a shorter one than the last server's, unless it `goes_ahead`.
        """
        now, days, file = self._clock(), self._windows.undelete_days, self._database.file_number

        def work(tx: Transaction) -> int | None:
            if not is_served:
                if replicas.bury(tx, self._windows.term):
                    serving.rest(tx, now + self._windows.quiet)
                serving.note_end(tx, now, self._windows.quiet, file)
            return serving.get_window(tx)

        window = await self._database.write(work)
        if window is not None and window != days and (is_served or (window > days and not goes_ahead)):
            otherwise = "" if is_served else ". --now goes ahead without that"
            raise OtherWindow(
                f"the server was started with ENTREPOT_UNDELETE_DAYS={window}, and this command has {days}:"
                f" give both the same settings (ENTREPOT_CONFIG names a file for both){otherwise}"
            )

    async def end_serving(self) -> None:
        """Of several servers each has said it in its own row."""
        if not self._database.is_shared:
            await self._database.write(serving.end_serving)

    async def step(self, *, ignores_rest: bool = False, fence: Fence | None = None) -> Collected:
        """Review a few of what is due, then remove the bytes of a few keys.

        `fence` is called in each transaction that removes something, and raises what stops it.
        """
        rest, held = await self._database.read(lambda tx: (serving.get_rest(tx), holds.find_end(tx)))
        if held:
            return Collected(held_until=held)
        if rest > self._clock() and not ignores_rest:
            return Collected(rests_until=rest)
        reviewed = await self._review(partial(self._refuse_step, fence=fence, ignores_rest=ignores_rest))
        if reviewed.rests_until is not None:
            return reviewed
        collected = reviewed + await self.discard()
        self.total += collected
        return collected

    async def collect(
        self, advance: Callable[[Collected], None], *, ignores_rest: bool = False, waits: bool = True
    ) -> Collected:
        """Take steps until nothing is due; `advance` is told what each has done.

        With `waits`, what it condemns itself is waited for, for as long as that has to settle.
        """
        now, days = self._clock(), self._windows.undelete_days
        await self._database.write(lambda tx: serving.note_window(tx, days, now))
        total, waited = Collected(), 0
        while True:
            start = self._clock()
            step = await self.step(ignores_rest=ignores_rest)
            total += step
            advance(step)
            if not step.is_idle:
                await asyncio.sleep(min(_PAUSE * max(self._clock() - start, 1), _MOST_PAUSE) / 1000)
                continue
            settled_at = await self._find_settled() if waits and waited < _MOST_WAITS else None
            if step.rests_until is not None or step.held_until is not None or settled_at is None:
                return total
            waited += 1
            advance(Collected(waits_until=settled_at))
            await asyncio.sleep(max(0, settled_at - self._clock()) / 1000)

    async def discard(self, uploads: list[UploadState] | None = None) -> Collected:
        """Remove the bytes of keys that no row names: of these, or of those that are due."""
        now = self._clock()
        if uploads is None:
            uploads = await self._database.read(lambda tx: discards.list_due(tx, now, _STEP))
        if not uploads:
            return Collected()
        gone = {upload.key for upload in uploads if await self._remove_bytes(upload)}
        self._reach("garbage.discarded")

        def work(tx: Transaction) -> None:
            for upload in uploads:
                if upload.key in gone:
                    discards.drop(tx, upload.key)
                else:
                    discards.postpone(tx, upload.key, now + _FIRST_BACKOFF)

        await self._database.write(work)
        return Collected(discarded=len(gone), failed=len(uploads) - len(gone))

    async def forecast(self) -> list[Due]:
        """All from which something comes as things are, what is due first."""
        found: list[Due] = []
        after: tuple[str, str] | None = ("", "")
        while after is not None:
            page, after = await self._database.read(partial(explanations.list_due, terms=self._terms(), after=after))
            found += page
        return sorted(found, key=lambda due: (due.at, due.kind, due.repository, due.digest))

    async def explain(self, digest: Digest) -> list[Fact]:
        """Why the manifest or blob is here, and when it goes, in each repository that has or had it."""
        terms = self._terms()
        return await self._database.read(lambda tx: explanations.list_facts(tx, str(digest), terms))

    async def _remove_bytes(self, upload: UploadState) -> bool:
        try:
            await self._store.abort(upload)
            await self._store.sweep(upload.key)
        except OSError as problem:
            log.error("bytes not removed", key=upload.key, problem=str(problem))  # noqa: TRY400 - it says it all
            return False
        return True

    def _refuse_step(self, tx: Transaction, *, fence: Fence | None, ignores_rest: bool) -> Collected | None:
        """What to answer in place of removing anything, in the transaction that would do it."""
        if fence:
            fence(tx)
        if holds.find_end(tx):  # since the step began: what it would remove now, a backup has just read the rows of
            return Collected()
        if not ignores_rest and replicas.is_any_silent(tx, self._windows.term):
            return Collected(rests_until=self._clock() + self._windows.quiet)
        return None

    async def _review(self, refuse: Callable[[Transaction], Collected | None]) -> Collected:
        terms = self._terms()
        due = await self._database.read(lambda tx: reviews.list_due(tx, terms.now, _STEP))
        self.overdue = (terms.now - due[0].due_at) / 1000 if due else 0.0
        if not due:
            return Collected()
        try:
            collected = await self._database.write(partial(_review_all, due=due, terms=terms, refuse=refuse))
        except RegistryError:
            raise  # the disk is full or the database gone: no review's fault
        except Exception:  # noqa: BLE001 - the one that it is is found, and told
            collected = await self._review_each(due, terms, refuse)
        self._reach("garbage.removed")
        return collected

    async def _review_each(
        self, due: list[Review], terms: Terms, refuse: Callable[[Transaction], Collected | None]
    ) -> Collected:
        """One of them cannot be done: it must not hold up the others."""
        total = Collected()
        for review in due:
            try:
                total += await self._database.write(partial(_review_all, due=[review], terms=terms, refuse=refuse))
            except RegistryError:
                raise
            except Exception:
                log.exception("review failed", kind=review.kind, key=review.key)
                later = terms.now + (_FIRST_BACKOFF << min(review.attempts, _MOST_DOUBLINGS))
                put_off = partial(reviews.set_due, review=review, due_at=later, attempts=review.attempts + 1)
                await self._database.write(put_off)
                total += Collected(failed=1)
        return total

    async def _find_settled(self) -> int | None:
        """When the last of what is condemned now may go."""
        end = self._clock() + self._windows.settle
        return await self._database.read(lambda tx: reviews.find_last(tx, "right", end))

    def _terms(self) -> Terms:
        return Terms(self._clock(), self._windows.undelete_days, self._windows.settle, self._windows.lease)


def _review_all(
    tx: Transaction, due: list[Review], terms: Terms, refuse: Callable[[Transaction], Collected | None]
) -> Collected:
    if (refused := refuse(tx)) is not None:
        return refused
    tally, reviewed = Tally(), 0
    for review in due:
        if tally.rows < garbage.MOST_ROWS:
            garbage.review(tx, review, terms, tally)
            reviewed += 1
    return replace(count(tally), reviewed=reviewed)


def count(tally: Tally) -> Collected:
    return Collected(
        manifests=tally.manifests,
        rights=tally.rights,
        blobs=tally.blobs,
        uploads=tally.uploads,
        repositories=tally.repositories,
        bytes=tally.bytes,
    )
