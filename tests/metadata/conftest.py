"""Databases with today's schema, and whole registries on them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from registry.metadata import schema
from registry.metadata.sqlite import SqliteDatabase
from tests.scenarios.client import Client, open_registry


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    """A database that has the schema and no rows."""
    opened = SqliteDatabase(tmp_path / "entrepot.db")
    await opened.write(schema.migrate)
    yield opened
    opened.close()


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    """A client of a fresh registry that lets anything be absent from manifests."""
    registry = await open_registry(tmp_path, sparse_manifests="accept")
    yield Client(registry)
    registry.close()
