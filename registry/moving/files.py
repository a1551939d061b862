"""Files as a source: read where they are."""

import asyncio
import contextlib
import errno
import os
import stat
from collections.abc import AsyncGenerator, Callable, Collection
from io import FileIO
from pathlib import Path
from typing import ParamSpec, TypeVar

from registry.moving.sources import Unreadable, Ways
from storage.digest import Digest
from storage.waiting import see_through

P = ParamSpec("P")
T = TypeVar("T")

_MOST_BYTES = 64 << 20  # of an index of everything that there is
_PIECE = 256 << 10  # bytes


class Files:
    """The Contents of files; `find` says where the bytes of a digest are, or would be."""

    def __init__(self, find: Callable[[Digest], Path]) -> None:
        self._find = find

    async def read(self, digest: Digest, most: int) -> bytes:
        try:
            with open(self._find(digest), "rb", opener=open_file) as file:  # noqa: ASYNC230 - small, and nobody waits
                content = file.read(most + 1)
        except FileNotFoundError:
            raise Unreadable("the manifest is not in the source") from None
        except OSError as problem:
            raise Unreadable(f"the manifest cannot be read: {problem.strerror}") from None
        if len(content) > most:
            raise Unreadable(f"a manifest has at most {most} bytes")
        return content

    async def measure(self, digests: Collection[Digest]) -> dict[Digest, int | None]:
        return {digest: _measure(self._find(digest)) for digest in digests}

    async def pieces(self, digest: Digest) -> AsyncGenerator[bytes, None]:
        with contextlib.ExitStack() as opened:  # it closes the file, also for a caller who was cancelled
            try:
                file = await _in_thread(_open, self._find(digest), opened)
                while piece := await _in_thread(file.read, _PIECE):
                    yield piece
            except OSError as problem:
                raise Unreadable(f"the blob cannot be read: {problem.strerror}") from None

    async def expect(self, digests: Collection[Digest], most: int) -> None:
        """They are near."""

    def may_give(self, ways: Ways) -> bool:
        return ways.link is not None

    async def give(self, digest: Digest, key: str, ways: Ways) -> bool:
        return ways.link is not None and await ways.link(self._find(digest), key)


async def _in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Cancelled, it ends when the thread does: the caller closes what the thread uses."""
    return await see_through(asyncio.to_thread(work, *args, **kwargs))


def _open(path: Path, opened: contextlib.ExitStack) -> FileIO:
    return opened.enter_context(open(path, "rb", buffering=0, opener=open_file))


def _measure(path: Path) -> int | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None  # whoever reads a pipe waits for ever


def open_file(path: str, flags: int) -> int:
    """An opener for `open`, of files alone: a pipe of that name would be waited for, for ever. Raises OSError."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no file", path)
    return descriptor


def read_file(path: Path) -> bytes:
    """A small one: what a source says of itself. Raises OSError, also when it is no file, or no small one."""
    with open(path, "rb", opener=open_file) as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return content
