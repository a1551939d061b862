"""Several servers of one registry: who lives, who has which duty, and what happens when one ends without a word.

What a server has noted and not written is lost with it: leases of blobs that clients were told of. So nothing is
collected for a while after its end. A server that the others take for dead, because it was frozen or could not reach
the database, finds its duties with others when it wakes up: what it was about to remove is refused in its transaction.
It stays dead when meanwhile the schema has become one that its version cannot work with.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import structlog

from registry.errors import Unavailable
from registry.identity import Clock
from registry.metadata import duties, replicas, schema, serving
from registry.metadata.database import Database, Transaction
from registry.metadata.replicas import Replica
from registry.metadata.schema import Outdated
from storage.sharing import Sharing

Fence: TypeAlias = Callable[[Transaction], None]

log: structlog.stdlib.BoundLogger = structlog.get_logger()

BEATS_PER_TERM = 6
_SEEN_EVERY = 3_600_000  # milliseconds between two looks of an only server at its clock: it writes nothing when idle
_TRIES = 10  # a network volume may show a file some seconds late
_TRY_SECONDS = 0.5


class ClockLeapt(Unavailable):
    """The clock is not where it was: nothing is removed by it before somebody could look."""


class Replicas:
    """This server among those on its database. `term` is how long (milliseconds) one that is silent counts as alive.

    `sharing`: the blobs are files, which the others must have, too. `flush` writes what this server has noted.
    """

    def __init__(  # noqa: PLR0913 - what makes a server one of several meets here
        self,
        database: Database,
        clock: Clock,
        own: Replica,
        *,
        term: int,
        quiet: int,
        sharing: Sharing | None,
        flush: Callable[[], Awaitable[None]],
    ) -> None:
        self._database = database
        self._clock = clock
        self._own = own
        self._term = term
        self._quiet = quiet
        self._sharing = sharing
        self._flush = flush
        self._held: set[str] = set()
        self._refused: dict[str, int] = {}  # when others had them
        self._seen_at = 0
        self.others = 0  # that lived at the last beat

    @property
    def beat_seconds(self) -> float:
        """How often `beat` is to be called."""
        return self._term / BEATS_PER_TERM / 1000

    async def start(self) -> None:
        """Be one of those that live. Raises UnsharedStore, Unavailable, OSError. An only server is alone already."""
        self._seen_at = self._clock()
        if not self._database.is_shared:
            return
        if self._sharing:
            await asyncio.to_thread(self._sharing.announce, self._own.id)
        await self._renew(is_first=True)
        try:
            if self._sharing:
                await self._refuse_unshared(self._sharing)
        except BaseException:
            await asyncio.shield(self.end())
            raise

    async def beat(self) -> None:
        """Say that this server lives, keep its duties, and bury those that are silent. Raises Unavailable.

        Outdated when it has slept through a change of the schema with which it cannot work: then it has no duties.
        """
        try:
            await self._beat()
        except Outdated:
            self._held.clear()
            raise

    async def _beat(self) -> None:
        if not self._database.is_shared:
            if abs(self._clock() - self._seen_at) >= _SEEN_EVERY:
                self._seen_at = self._clock()
                self._tell_leap(await self._database.write(self._note_clock))
            return
        await self._flush()  # who is alive has no old notes: so a lease is written before what it holds may go
        if not await self._renew():
            log.warning("taken for dead", reason="this server was not heard of for too long; it goes on")
            if self._sharing:
                await asyncio.to_thread(self._sharing.announce, self._own.id)

    async def end(self) -> None:
        """Be none of those that live: what was noted is written. Raises Unavailable."""
        if not self._database.is_shared:
            return

        def work(tx: Transaction) -> None:
            schema.refuse_newer(tx)
            duties.release_all(tx, self._own.id, sorted(self._held))
            replicas.end(tx, self._own.id)

        await self._database.write(work)
        self._held.clear()
        if self._sharing:
            await asyncio.to_thread(self._sharing.withdraw, self._own.id)

    async def hold(self, duty: str) -> bool:
        """Whether this server has the duty, taken if it is free: it keeps it while it lives. Raises Unavailable."""
        if not self._database.is_shared or duty in self._held:
            return True
        now = self._clock()
        if 0 <= now - self._refused.get(duty, -self._term) < self._term // BEATS_PER_TERM:
            return False

        def work(tx: Transaction) -> bool:
            schema.refuse_newer(tx)
            return duties.take(tx, duty, self._own.id, self._term)

        took = await self._database.write(work)
        if took:
            self._held.add(duty)
            log.info("duty taken", duty=duty)
        else:
            self._refused[duty] = now
        return took

    def fence(self, duty: str) -> Fence:
        """For each transaction that removes something on behalf of the duty: raises DutyLost, ClockLeapt."""

        def check(tx: Transaction) -> None:
            if self._database.is_shared:
                duties.require(tx, duty, self._own.id)
            if leap := serving.find_leap(tx, self._clock()):
                raise ClockLeapt(f"the clock has leapt by {leap // 1000} s: nothing is removed for now")

        return check

    async def find_rest(self) -> float:
        """For how many seconds nothing is to be removed yet: after an end without a word, or a leap of the clock."""
        until = await self._database.read(serving.get_rest)
        return max(0, until - self._clock()) / 1000

    async def _renew(self, *, is_first: bool = False) -> bool:
        held = sorted(self._held)

        def work(tx: Transaction) -> tuple[bool, int, list[Replica], set[str], int]:
            schema.refuse_newer(tx)
            if is_first and not replicas.list_live(tx, self._term):
                serving.set_seen(tx, self._clock())
            leap = self._note_clock(tx)
            was_known = replicas.beat(tx, self._own)
            dead = replicas.bury(tx, self._term)
            if dead:
                serving.rest(tx, self._clock() + self._quiet)
            lost = {name for name in held if not duties.take(tx, name, self._own.id, self._term)}
            return was_known, leap, dead, lost, len(replicas.list_live(tx, self._term)) - 1

        was_known, leap, dead, lost, self.others = await self._database.write(work)
        self._held -= lost
        self._tell_leap(leap)
        for name in sorted(lost):
            log.warning("duty lost", duty=name)
        for each in dead:
            log.warning("server ended without a word", address=each.address, version=each.version)
        if dead and self._sharing:
            await asyncio.to_thread(self._sharing.withdraw, *(each.id for each in dead))
        return was_known

    def _note_clock(self, tx: Transaction) -> int:
        return serving.note_clock(tx, self._clock(), self._quiet)

    def _tell_leap(self, leap: int) -> None:
        if leap:
            log.error("the clock has leapt", seconds=leap // 1000, rest_seconds=self._quiet // 1000)

    async def _refuse_unshared(self, sharing: Sharing) -> None:
        for _ in range(_TRIES):
            live = await self._database.read(lambda tx: replicas.list_live(tx, self._term))
            missing = [each for each in live if not await asyncio.to_thread(sharing.has, each.id)]
            if not missing:
                return
            await asyncio.sleep(_TRY_SECONDS)
        raise sharing.refuse([each.address for each in missing])
