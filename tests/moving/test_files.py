"""Files as a source."""

import asyncio
import threading
from pathlib import Path, PosixPath

import pytest

from registry.moving.files import Files
from registry.moving.sources import Unreadable
from storage.digest import Digest

pytestmark = pytest.mark.anyio

DIGEST = Digest.of(b"content", "sha256")
WAIT = 30  # seconds until a thread that does not go on fails its test


class SlowPath(PosixPath):
    """Of a file on a volume that takes until `may_open` to open one."""

    is_opening: threading.Event
    may_open: threading.Event

    def __fspath__(self) -> str:
        self.is_opening.set()
        assert self.may_open.wait(WAIT)
        return str(self)


def is_open(path: Path) -> bool:
    return path.resolve() in [link.resolve() for link in Path("/proc/self/fd").iterdir()]


async def test_no_file_stays_open_when_it_is_not_wanted_any_more(tmp_path: Path) -> None:
    """Who is cancelled while one is opened waits for that, and it is closed."""
    path = SlowPath(tmp_path / "blob")
    path.is_opening, path.may_open = threading.Event(), threading.Event()
    (tmp_path / "blob").write_bytes(b"content")
    pieces = Files(lambda _digest: path).pieces(DIGEST)
    reading = asyncio.ensure_future(anext(pieces))
    assert await asyncio.to_thread(path.is_opening.wait, WAIT)
    reading.cancel()
    await asyncio.sleep(0)
    assert not reading.done()
    path.may_open.set()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert not is_open(tmp_path / "blob")
    path.is_opening.clear()
    assert [piece async for piece in Files(lambda _digest: path).pieces(DIGEST)] == [b"content"]
    assert not is_open(tmp_path / "blob")


async def test_a_directory_in_the_place_of_a_blob(tmp_path: Path) -> None:
    """It is told, and not left open."""
    with pytest.raises(Unreadable, match="cannot be read"):
        await anext(Files(lambda _digest: tmp_path).pieces(DIGEST))
    assert not is_open(tmp_path)
