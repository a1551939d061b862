"""Where the tests of the whole registry keep theirs: which database and which store are under test.

    TEST_DATABASE=postgresql TEST_STORE=s3 .venv/bin/pytest -n auto

The default is what `entrepot serve` makes of no settings: SQLite and files. A server that a test needs is started when
the first one needs it, once for a test run, and stopped at its end. TEST_POSTGRES names a PostgreSQL that runs already,
TEST_S3_ENDPOINT and TEST_S3_BUCKET an S3 server, with the usual AWS_* variables. TEST_EDGE=off is the setting `edge`.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import pytest

from registry import stores
from registry.config import PREFIX, Config
from registry.identity import Clock, milliseconds_now
from registry.metadata.database import Database
from storage.killpoints import Reach, pass_by
from tests.servers.postgres import fresh_database
from tests.servers.seaweed import SeaweedServer, fresh_place, running_seaweed
from tests.stored import Stored, open_stored

_CONNECTIONS = 4  # of each registry: many are open in a test run, and few of them are asked much
_SLOWER = 5  # times as long takes what a database or a store of its own is asked, at least

DatabaseKind = Literal["sqlite", "postgresql"]
StoreKind = Literal["files", "s3"]
Kind = Literal["sqlite", "postgresql", "files", "s3"]


@dataclass(frozen=True, slots=True)
class Place:
    """A pair of a database and a store."""

    database: DatabaseKind = "sqlite"
    store: StoreKind = "files"

    def __str__(self) -> str:
        return f"{self.database}+{self.store}"

    def has(self, kind: Kind) -> bool:
        return kind in (self.database, self.store)

    def settings(self, folder: Path) -> dict[str, Any]:
        """Of the registry that has this folder: the same each time, so that it can be opened again."""
        known = _settings.get((self, folder))
        if known is None:
            known = _settings[self, folder] = {"data": folder, **self._make_settings()}
        return dict(known)

    def environment(self, folder: Path) -> dict[str, str]:
        """The same for a program: ENTREPOT_* variables."""
        return {f"{PREFIX}{name.upper()}": str(value) for name, value in self.settings(folder).items()}

    def _make_settings(self) -> dict[str, Any]:
        made: dict[str, Any] = {"edge": os.environ["TEST_EDGE"]} if "TEST_EDGE" in os.environ else {}
        if self.database == "postgresql":
            made |= {"database": fresh_database(), "database_connections": _CONNECTIONS}
        if self.store == "s3":
            place = fresh_place(_find_seaweed())
            made |= {"storage": f"s3://{place.bucket}/{place.prefix}", "s3_endpoint": place.endpoint}
            made |= {"s3_region": place.region, "s3_redirects": "off"}  # blobs are asked for here, or it says otherwise
        return made


EMBEDDED = Place()
EVERYWHERE = tuple(Place(database, store) for database in get_args(DatabaseKind) for store in get_args(StoreKind))
_folders: list[Path] = []
_seaweed: list[SeaweedServer] = []
_until_end = contextlib.ExitStack()
_settings: dict[tuple[Place, Path], dict[str, Any]] = {}


@contextlib.contextmanager
def servers_in(folder: Path) -> Iterator[None]:
    """Servers that are needed inside the block have their files in the folder, and are shared by all who name it."""
    _folders.append(folder)
    with _until_end:
        yield
    _seaweed.clear()
    _folders.remove(folder)


def _find_seaweed() -> SeaweedServer:
    if not _seaweed:
        _seaweed.append(_until_end.enter_context(running_seaweed(_folders[-1] / "seaweed")))
    return _seaweed[0]


def place_under_test() -> Place:
    """The one that the environment names."""
    database, store = os.environ.get("TEST_DATABASE", "sqlite"), os.environ.get("TEST_STORE", "files")
    for place in EVERYWHERE:
        if (place.database, place.store) == (database, store):
            return place
    raise pytest.UsageError(f"TEST_DATABASE={database} TEST_STORE={store}: there are {', '.join(map(str, EVERYWHERE))}")


def places_to_try() -> tuple[Place, ...]:
    """All of them, for suites that are quick enough, unless the environment names one."""
    is_chosen = "TEST_DATABASE" in os.environ or "TEST_STORE" in os.environ
    return (place_under_test(),) if is_chosen else EVERYWHERE


def examples(number: int, place: Place | None = None) -> int:
    """How many of a property or a machine to try on the place, where SQLite and files have time for this number."""
    return number if (place or place_under_test()) == EMBEDDED else max(1, number // _SLOWER)


def settings(folder: Path) -> dict[str, Any]:
    """Settings of the place under test, for the registry that has this folder."""
    return place_under_test().settings(folder)


def environment(folder: Path) -> dict[str, str]:
    """The same for a program: ENTREPOT_* variables."""
    return place_under_test().environment(folder)


def make_config(folder: Path, place: Place | None = None, **more: Any) -> Config:
    """Of the registry in the folder: on the place under test unless another one is given, or another store."""
    chosen = (place or place_under_test()).settings(folder)
    if "storage" in more:
        chosen = {name: value for name, value in chosen.items() if not name.startswith("s3_")}
    return Config(**(chosen | more))


def open_database(folder: Path, *, clock: Clock = milliseconds_now, reach: Reach = pass_by) -> Database:
    """That of the registry in the folder."""
    return stores.open_database(make_config(folder), clock, reach)


def look_into(folder: Path) -> Stored:
    """The blobs of the registry in the folder."""
    return open_stored(make_config(folder))


def only_on(kind: Kind, why: str) -> pytest.MarkDecorator:
    """For tests about this database or this store as such: on other places they are not collected."""
    return pytest.mark.only_on(kind, why)
