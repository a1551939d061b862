"""Fixtures of the collector's tests: a registry whose works take turns."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from registry.garbage import Windows
from tests.garbage.turns import Turns
from tests.garbage.yard import HOUR, SETTLE, WINDOWS, HandClock, Yard
from tests.scenarios.images import Content


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@dataclass(frozen=True, slots=True)
class Stage:
    """What is deleted in `yard` can go at once; `turns` begins what is to take turns."""

    yard: Yard
    turns: Turns

    async def condemn(self, *names: str, blob: Content) -> None:
        """Bring it about that nothing names the blob, no lease holds it, and the collector takes it when it looks."""
        for name in names:
            await self.yard.push_blob(name, blob)
        await self.yard.pass_time(25 * HOUR)
        await self.yard.collect()
        await self.yard.pass_time(SETTLE)


@pytest.fixture
def windows() -> Windows:
    return replace(WINDOWS, undelete_days=0)


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, windows: Windows) -> AsyncIterator[Stage]:
    """However the race went: at the end no row is without its bytes, and all that nothing keeps goes."""
    turns = Turns()
    yard = await Yard(tmp_path, HandClock(), windows, turns.reach).open()
    turns.rule(yard.registry, monkeypatch)
    yield Stage(yard, turns)
    await yard.quiesce()
    assert await yard.check() == []
    assert yard.list_unnamed() == []
    await yard.close()
