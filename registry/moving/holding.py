"""Holds the collector for as long as somebody reads blobs that a snapshot of the rows has named."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

import structlog

from registry.errors import RegistryError
from registry.metadata import holds
from registry.metadata.database import Database

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_LIFE = 30 * 60_000  # milliseconds: a reading of all rows takes less, and meanwhile nobody extends the hold
_BEAT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Holding:
    """`life` in milliseconds: how long the hold lasts when whoever takes it is killed."""

    database: Database
    life: int = _LIFE

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """While the block lasts, no bytes go that a snapshot taken in it names. Raises Unavailable."""
        holder = secrets.token_hex(8)
        await self.database.write(lambda tx: holds.take(tx, holder, self.life))
        beating = asyncio.create_task(self._beat(holder))
        try:
            yield
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)
            await self._release(holder)

    async def _beat(self, holder: str) -> None:
        while True:
            await asyncio.sleep(_BEAT_SECONDS)
            try:
                await self.database.write(lambda tx: holds.take(tx, holder, self.life))
            except RegistryError as problem:
                log.warning("hold not extended", problem=str(problem))

    async def _release(self, holder: str) -> None:
        """One that cannot be given back ends by itself."""
        try:
            await self.database.write(lambda tx: holds.release(tx, holder))
        except RegistryError as problem:
            log.warning("hold not given back", problem=str(problem))
