"""The drivers that the suite runs against. A new store is one more class here, and no new test."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from storage.blobstore import BlobStore
from storage.filesystem import FilesystemBlobStore


class Driver(Protocol):
    """One kind of store, empty at first."""

    def connect(self) -> BlobStore:
        """A store on the same content, as another process has it."""

    def connect_full(self) -> BlobStore:
        """As `connect`, with no room but the reserve."""

    def uploads(self) -> set[str]:
        """The keys of uploads that still take room."""

    def close(self) -> None: ...


class FilesystemDriver:
    def __init__(self, root: Path) -> None:
        self._root = root
        self._stores: list[FilesystemBlobStore] = []

    def connect(self) -> BlobStore:
        return self._connect(0)

    def connect_full(self) -> BlobStore:
        return self._connect(1 << 62)

    def uploads(self) -> set[str]:
        folder = self._root / "uploads"
        return {path.name for path in folder.iterdir()} if folder.is_dir() else set()

    def _connect(self, reserve: int) -> BlobStore:
        store = FilesystemBlobStore(self._root, threads=4, reserve=reserve)
        self._stores.append(store)
        return store

    def close(self) -> None:
        for store in self._stores:
            store.close()


DRIVERS = {"filesystem": FilesystemDriver}


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def left_over() -> set[str]:
    """The uploads that a test leaves behind on purpose; it adds their keys."""
    return set()


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest, tmp_path: Path, left_over: set[str]) -> Iterator[Driver]:
    opened = DRIVERS[request.param](tmp_path / "blobs")
    yield opened
    opened.close()
    assert opened.uploads() == left_over, "the test left uploads behind, or fewer than it says"


@pytest.fixture
async def blob_store(driver: Driver) -> BlobStore:
    """A store that belongs to the registry `one` and is empty."""
    store = driver.connect()
    await store.bind("one", is_populated=False)
    return store
