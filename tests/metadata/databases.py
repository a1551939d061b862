"""Databases of both kinds, for tests of what must be the same on each."""

import uuid
from pathlib import Path

from registry.metadata.database import Database
from registry.metadata.postgres import PostgresDatabase
from registry.metadata.sqlite import SqliteDatabase
from tests.places import DatabaseKind, places_to_try
from tests.servers.postgres import fresh_database

KINDS: tuple[DatabaseKind, ...] = tuple(sorted({place.database for place in places_to_try()}))


def open_empty(kind: DatabaseKind, folder: Path) -> Database:
    """A new database without tables."""
    if kind == "sqlite":
        return SqliteDatabase(folder / f"{uuid.uuid4().hex}.db")
    return PostgresDatabase(fresh_database(is_migrated=False), connections=4)
