"""The drivers that the suite runs against. A new store is one more class here, and no new test."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import pytest

from storage.blobstore import BlobStore
from storage.filesystem import FilesystemBlobStore
from storage.s3.client import S3Tuning
from storage.s3.place import S3Place
from storage.s3.store import MEMORY, S3BlobStore
from tests.servers.s3_proxy import S3Proxy
from tests.servers.seaweed import SeaweedServer, fresh_place, seaweed
from tests.storage.s3_content import find_uploads

__all__ = ["seaweed"]


class Driver(Protocol):
    """One kind of store, empty at first."""

    def connect(self) -> BlobStore:
        """A store on the same content, as another process has it."""

    def uploads(self) -> set[str]:
        """The keys of uploads that still take room."""

    def close(self) -> None: ...


class FilesystemDriver:
    def __init__(self, root: Path) -> None:
        self._root = root
        self._stores: list[FilesystemBlobStore] = []

    def connect(self) -> BlobStore:
        store = FilesystemBlobStore(self._root, threads=4, reserve=0)
        self._stores.append(store)
        return store

    def uploads(self) -> set[str]:
        folder = self._root / "uploads"
        return {path.name for path in folder.iterdir()} if folder.is_dir() else set()

    def close(self) -> None:
        for store in self._stores:
            store.close()


class S3Driver:
    def __init__(self, place: S3Place) -> None:
        self._place = place
        self._stores: list[S3BlobStore] = []

    def connect(self) -> BlobStore:
        store = S3BlobStore(self._place, tuning=S3Tuning(threads=4))
        self._stores.append(store)
        return store

    def uploads(self) -> set[str]:
        return find_uploads(self._place)

    def close(self) -> None:
        for store in self._stores:
            store.close()


class Replicas:
    """Makes stores of one place, each as another process has it."""

    def __init__(self, place: S3Place) -> None:
        self.place = place
        self._stores: list[S3BlobStore] = []

    def connect(self, *, memory: int = MEMORY, spool: Path | None = None, **tuning: Any) -> S3BlobStore:
        quick: dict[str, Any] = {"threads": 8, **tuning}
        store = S3BlobStore(self.place, memory=memory, spool=spool, tuning=S3Tuning(**quick))
        self._stores.append(store)
        return store

    def close(self) -> None:
        for store in self._stores:
            store.close()


DRIVERS = ("filesystem", "s3")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def left_over() -> set[str]:
    """The uploads that a test leaves behind on purpose; it adds their keys."""
    return set()


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest, tmp_path: Path, left_over: set[str]) -> Iterator[Driver]:
    opened: Driver = (
        FilesystemDriver(tmp_path / "blobs")
        if request.param == "filesystem"
        else S3Driver(fresh_place(request.getfixturevalue("seaweed")))
    )
    yield opened
    opened.close()
    assert opened.uploads() == left_over, "the test left uploads behind, or fewer than it says"


@pytest.fixture
def place(seaweed: SeaweedServer) -> S3Place:
    """A prefix of its own on the run's S3 server."""
    return fresh_place(seaweed)


@pytest.fixture
def proxy(place: S3Place) -> Iterator[S3Proxy]:
    """In front of that server; it counts calls, and passes them on until it is told otherwise."""
    with S3Proxy(urlsplit(place.endpoint).port or 0) as running:
        yield running


@pytest.fixture
def replicas(place: S3Place, request: pytest.FixtureRequest) -> Iterator[Replicas]:
    """Stores on one empty place; behind the proxy if the test has it, too."""
    is_watched = "proxy" in request.fixturenames
    opened = Replicas(replace(place, endpoint=request.getfixturevalue("proxy").endpoint) if is_watched else place)
    yield opened
    opened.close()


@pytest.fixture
async def blob_store(driver: Driver) -> BlobStore:
    """A store that belongs to the registry `one` and is empty."""
    store = driver.connect()
    await store.bind("one", is_populated=False)
    return store
