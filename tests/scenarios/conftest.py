"""Fixtures of the scenarios: a registry on a fresh folder, without HTTP."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.places import Place, places_to_try
from tests.scenarios.client import Client, open_registry


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=places_to_try(), ids=str)
def place(request: pytest.FixtureRequest) -> Place:
    """Each scenario is played on every pair of a database and a store."""
    chosen: Place = request.param
    return chosen


@pytest.fixture
async def client(tmp_path: Path, place: Place) -> AsyncIterator[Client]:
    registry = await open_registry(tmp_path, place)
    yield Client(registry)
    registry.close()
