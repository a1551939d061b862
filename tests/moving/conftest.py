"""Registries that are moved: commands find the settings of one in the environment."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from registry.app import Registry
from tests import places
from tests.cli.access import done
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


@pytest.fixture
def file(full: Full, tmp_path: Path) -> Path:  # noqa: ARG001 - it has to be there
    """A backup of the full registry."""
    path = tmp_path / "backup.tar"
    done("backup", str(path))
    return path


@pytest.fixture
async def source(full: Full) -> AsyncIterator[Registry]:
    opened = await open_registry(full.folder)
    yield opened
    opened.close()


@pytest.fixture
async def target(tmp_path: Path) -> AsyncIterator[Registry]:
    opened = Registry(places.make_config(tmp_path / "new"))
    yield opened
    opened.close()


async def _fill(folder: Path) -> Full:
    registry = await open_registry(folder)
    try:
        return await fill(registry, folder)
    finally:
        registry.close()
