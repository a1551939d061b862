"""The audit log: refusals, written in batches beside the changes, and what came since, for the log's readers."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

import structlog

from registry.identity import Actor, Clock, Deed
from registry.metadata import changes, identities
from registry.metadata.changes import AccessEvent, Change
from registry.metadata.database import Database, Transaction

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_MOST_OF_ONE = 20  # different refusals of one caller between two writes
_MOST_WAITING = 1_000  # different refusals between two writes; more are counted together
_MOST_SHOWN = 20  # changes that one look shows
_BREATH_SECONDS = 0.005  # between two looks: a policy's run makes thousands of changes a second, and requests go first
_USE_GRAIN = 60_000  # milliseconds: uses of an identity closer than this are one
_UNDER_WAY = 10_000  # milliseconds: a change that has its number and is not to be seen yet comes within it, or never
_TWICE = 60_000  # milliseconds of changes that a server shows again when it takes over from one that showed them


Shows: TypeAlias = Callable[[], Awaitable[bool]]


async def always() -> bool:
    """For the only server."""
    return True


class Audit:
    """`note` and `note_use` cost no write: `flush`, called every second or so, does it for all.

    Of several servers one shows the changes of all: the one whose `shows` says so.
    """

    def __init__(self, database: Database, clock: Clock, shows: Shows = always) -> None:
        self._database = database
        self._clock = clock
        self._shows = shows
        self._refusals: dict[tuple[str, ...], AccessEvent] = {}
        self._shares: dict[tuple[str, str], int] = {}
        self._uses: dict[int, int] = {}
        self._used: dict[int, int] = {}
        self._shown = 0

    def note(self, refusal: AccessEvent) -> None:
        """Remember a refusal for the next flush; the same by the same caller only counts."""
        actor = refusal.deed.actor
        key = (refusal.action, actor.name, actor.address, refusal.repository, refusal.subject, refusal.detail)
        if key not in self._refusals and self._is_too_much(actor):
            key = (refusal.action, actor.name, actor.address, "", "", "")
            detail = "and others like it, too many to write each down"
            refusal = replace(refusal, repository="", subject="", detail=detail)
        if key not in self._refusals and len(self._refusals) >= _MOST_WAITING:
            key = (refusal.action, "", "", "", "", "")
            detail = "too many different ones to write each down"
            refusal = AccessEvent(
                Deed(Actor("many"), refusal.deed.at), refusal.action, detail=detail, times=refusal.times
            )
        known = self._refusals.get(key)
        self._refusals[key] = replace(known, times=known.times + refusal.times) if known else refusal

    def _is_too_much(self, actor: Actor) -> bool:
        """Whether the caller has had its share of this second: nobody may make the log grow as he likes."""
        caller = (actor.name, actor.address)
        self._shares[caller] = self._shares.get(caller, 0) + 1
        return self._shares[caller] > _MOST_OF_ONE

    def note_use(self, identity_id: int) -> None:
        now = self._clock()
        if now - self._used.get(identity_id, -_USE_GRAIN) >= _USE_GRAIN:
            self._used[identity_id] = self._uses[identity_id] = now

    async def start(self) -> None:
        """Show what comes from now on. Raises Unavailable."""
        self._shown = await self._database.read(changes.get_last)

    async def flush(self) -> None:
        """Write what was noted, and show every change since the last flush as a line of the log."""
        refusals, self._refusals = list(self._refusals.values()), {}
        uses, self._uses = list(self._uses.items()), {}
        self._shares.clear()

        def work(tx: Transaction) -> None:
            for refusal in refusals:
                changes.append_event(tx, refusal)
            identities.note_uses(tx, uses)

        if refusals or uses:
            try:
                await self._database.write(work, adds=bool(refusals))  # nobody fills up the reserve by being refused
            except BaseException:  # written twice is better than never
                self._keep(refusals)
                self._uses = dict(uses) | self._uses
                raise
            finally:
                await self._show()
        else:
            await self._show()

    async def list_after(self, sequence: int, since: int, limit: int) -> list[Change]:
        """Changes and refusals after a sequence number and not before `since` (Unix milliseconds)."""
        return await self._database.read(lambda tx: changes.list_after(tx, sequence, since, limit))

    def _keep(self, refusals: Sequence[AccessEvent]) -> None:
        """What could not be written is written next time, before what came meanwhile."""
        later, self._refusals = list(self._refusals.values()), {}
        for refusal in (*refusals, *later):
            self.note(refusal)

    async def _show(self) -> None:
        is_ours = await self._shows()
        while found := await self.list_after(self._shown, 0, _MOST_SHOWN):
            ready = self._list_ready(found) if is_ours else [each for each in found if self._age(each) > _TWICE]
            for change in ready if is_ours else []:
                log.info("audit", **describe(change))
            if ready:
                self._shown = ready[-1].sequence
            if len(ready) < _MOST_SHOWN:
                break
            await asyncio.sleep(_BREATH_SECONDS)

    def _list_ready(self, found: list[Change]) -> list[Change]:
        """Those before the first number that is missing, unless it must have come by now: it was given up then."""
        if not self._database.is_shared:
            return found
        ready: list[Change] = []
        last = self._shown
        for change in found:
            if change.sequence != last + 1 and self._age(change) < _UNDER_WAY:
                break
            ready.append(change)
            last = change.sequence
        return ready

    def _age(self, change: Change) -> int:
        return self._clock() - change.at


def describe(change: Change) -> dict[str, object]:
    """The members of a change that say something."""
    members = {name: getattr(change, name) for name in Change.__slots__}
    return {name: value for name, value in members.items() if value != "" and (name, value) != ("times", 1)}
