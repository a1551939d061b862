"""Databases with today's schema, of both kinds, and whole registries on them."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest

from registry.metadata import schema
from registry.metadata.database import Database
from registry.metadata.postgres import PostgresDatabase
from registry.metadata.sqlite import SqliteDatabase
from tests.metadata.databases import KINDS, open_empty
from tests.places import DatabaseKind, Place
from tests.scenarios.client import Client, open_registry
from tests.servers.postgres import fresh_database
from tests.servers.proxy import TcpProxy


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> DatabaseKind:
    """Each test that asks for a database, or for its kind, is run with every one."""
    chosen: DatabaseKind = request.param
    return chosen


@pytest.fixture
async def database(kind: DatabaseKind, tmp_path: Path) -> AsyncIterator[Database]:
    """A database that has the schema and no rows."""
    opened = open_empty(kind, tmp_path)
    await opened.write(schema.migrate)
    yield opened
    opened.close()


@pytest.fixture
def empty(kind: DatabaseKind, tmp_path: Path) -> Iterator[Database]:
    """A database without tables."""
    opened = open_empty(kind, tmp_path)
    yield opened
    opened.close()


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    """As `database`, for what only SQLite has."""
    opened = SqliteDatabase(tmp_path / "entrepot.db")
    await opened.write(schema.migrate)
    yield opened
    opened.close()


@pytest.fixture
def served() -> Iterator[PostgresDatabase]:
    """As `database`, for what only PostgreSQL has."""
    opened = PostgresDatabase(fresh_database())
    yield opened
    opened.close()


@pytest.fixture
async def client(kind: DatabaseKind, tmp_path: Path) -> AsyncIterator[Client]:
    """A client of a fresh registry that lets anything be absent from manifests."""
    registry = await open_registry(tmp_path, Place(kind), sparse_manifests="accept")
    yield Client(registry)
    registry.close()


@pytest.fixture
def url() -> str:
    """Of a database with the schema, and a table for one number a row."""
    made = fresh_database()
    with psycopg.connect(made) as connection:
        connection.execute("CREATE TABLE number (id BIGINT GENERATED ALWAYS AS IDENTITY, n BIGINT NOT NULL)")
    return made


@pytest.fixture
def numbers(url: str) -> Iterator[PostgresDatabase]:
    database = PostgresDatabase(url)
    yield database
    database.close()


@pytest.fixture
def proxy(url: str) -> Iterator[TcpProxy]:
    """In front of the server."""
    with TcpProxy(int(psycopg.conninfo.conninfo_to_dict(url)["port"] or 0)) as between:
        yield between
