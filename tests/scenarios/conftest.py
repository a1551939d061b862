"""Fixtures of the scenarios: a registry on a fresh folder, without HTTP."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.scenarios.client import Client, open_registry


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    registry = await open_registry(tmp_path)
    yield Client(registry)
    registry.close()
