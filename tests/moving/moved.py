"""Migrates a registry that is open, to another one's place."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

from registry import stores
from registry.app import Registry
from registry.metadata import moves
from registry.metadata.database import Transaction
from registry.metadata.gate import Gate
from registry.moving.migration import Migrated, Migration, Side

T = TypeVar("T")


async def nothing() -> None:
    pass


class Around(Gate):
    """The registry's database, where something happens just before or after the mark of its move is made."""

    def __init__(
        self,
        registry: Registry,
        *,
        before: Callable[[], Awaitable[None]] = nothing,
        after: Callable[[], Awaitable[None]] = nothing,
    ) -> None:
        super().__init__(registry.database, "")
        self._before = before
        self._after = after

    async def write(self, work: Callable[[Transaction], T], *, adds: bool = False) -> T:
        is_mark = isinstance(work, partial) and work.func is moves.begin
        if is_mark:
            await self._before()
        done_so = await super().write(work, adds=adds)
        if is_mark:
            await self._after()
        return done_so


def side(registry: Registry) -> Side:
    return Side(registry.database, registry.store, *stores.name_places(registry.config))


async def migrate(
    source: Registry,
    target: Registry,
    tell: Callable[[str, int], object] = lambda _what, _size: None,
    *,
    around: Around | None = None,
    accepts_damage: bool = False,
) -> Migrated:
    def told(what: str, size: int) -> None:
        tell(what, size)

    here = side(source) if around is None else replace(side(source), database=around)
    return await Migration(here, side(target), told, lambda _size: None).run(accepts_damage=accepts_damage)
