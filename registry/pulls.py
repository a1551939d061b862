"""Pull times: noted in memory as manifests are served, and written in batches beside that.

What a crash takes: the first pull of a manifest by an identity is written within some seconds, by `flush`. Further ones
of the same two are written once a minute, with the instant of the latest, so a crash takes at most the last minute of
them. A server that ends as it should writes them all.
"""

import structlog

from registry.identity import Clock
from registry.metadata import pulls
from registry.metadata.database import Database

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_GRAIN = 60_000  # milliseconds between two writes of the same pair
_MOST_WAITING = 10_000  # pairs, about 3 MB; further ones are only counted
_MANY_WAITING = _MOST_WAITING // 2  # then all are written, whenever they were before
_MOST_REMEMBERED = 20_000  # pairs that were written within the last minute
_BATCH = 500  # pairs in one transaction: other writes wait some milliseconds for it


class Pulls:
    """`note` costs no write: `flush`, called every second or so, does it for all; `end` writes what is left."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._waiting: dict[tuple[int, str], int] = {}
        self._written: dict[tuple[int, str], int] = {}  # the oldest first
        self._dropped = 0

    def note(self, manifest_id: int, caller: str) -> None:
        """Remember a pull for a flush. Of a caller by id token it is the trust rule's, whatever the token's subject."""
        pair = (manifest_id, caller.partition("/")[0])  # no other name has a slash
        if len(self._waiting) < _MOST_WAITING or pair in self._waiting:
            self._waiting[pair] = self._clock()
        else:
            self._dropped += 1

    async def flush(self) -> None:
        """Write what was not written within the last minute. Raises StorageFull, Unavailable: then it is kept."""
        self._forget()
        if len(self._waiting) > _MANY_WAITING:
            await self._write(list(self._waiting))
        else:
            await self._write([pair for pair in self._waiting if pair not in self._written])

    async def end(self) -> None:
        """Write everything. Raises as flush does."""
        await self._write(list(self._waiting))

    async def _write(self, pairs: list[tuple[int, str]]) -> None:
        for start in range(0, len(pairs), _BATCH):
            await self._write_batch(
                [(*pair, self._waiting[pair]) for pair in pairs[start : start + _BATCH] if pair in self._waiting]
            )
        if pairs and self._dropped:
            log.warning("pulls dropped", times=self._dropped, reason="too many different ones at once")
            self._dropped = 0

    async def _write_batch(self, batch: list[tuple[int, str, int]]) -> None:
        await self._database.write(lambda tx: pulls.put(tx, batch))
        now = self._clock()
        for manifest_id, identity, at in batch:
            pair = (manifest_id, identity)
            if self._waiting.get(pair) == at:  # else there was another pull meanwhile
                del self._waiting[pair]
            self._written.pop(pair, None)
            self._written[pair] = now

    def _forget(self) -> None:
        """Let those go whose minute is over, and all of them when the clock was set back."""
        now = self._clock()
        while self._written:
            oldest = next(iter(self._written))
            if len(self._written) <= _MOST_REMEMBERED and 0 <= now - self._written[oldest] < _GRAIN:
                break
            del self._written[oldest]
