"""Registries that are moved: commands find the settings of one in the environment."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import places
from tests.moving.full import Full, fill
from tests.places import Place
from tests.scenarios.client import open_registry


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, Place | None], None]:
    """Have commands use the registry in a folder, on the place under test or on another one."""

    def choose(folder: Path, place: Place | None = None) -> None:
        for name in [name for name in os.environ if name.startswith("ENTREPOT_")]:
            monkeypatch.delenv(name)
        for name, value in (place or places.place_under_test()).environment(folder).items():
            monkeypatch.setenv(name, value)

    return choose


@pytest.fixture
def full(tmp_path: Path, use: Callable[[Path, Place | None], None]) -> Full:
    """A registry with something of everything, which commands use."""
    folder = tmp_path / "full"
    use(folder, None)
    return asyncio.run(_fill(folder))


async def _fill(folder: Path) -> Full:
    registry = await open_registry(folder)
    try:
        return await fill(registry, folder)
    finally:
        registry.close()
