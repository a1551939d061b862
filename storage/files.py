"""What the file store does with single files and directories: written and named so that a power cut takes neither."""

import contextlib
import errno
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.blobstore import BlobMissing, ByteRange, StoreFull, UploadMissing

if TYPE_CHECKING:
    from hashlib import _Hash

BATCH = 256 << 10  # bytes per thread hop: smaller ones cost more in hops than in work, larger ones only memory
PIECE = 256 << 10  # bytes per system call: larger ones cost only memory


@dataclass(frozen=True, slots=True)
class OpenFile:
    """An OpenBlob; `file` is one of aiofiles'."""

    file: Any
    size: int

    @property
    def descriptor(self) -> int:
        return int(self.file.fileno())

    async def read(self, byte_range: ByteRange) -> AsyncIterator[bytes]:
        await self.file.seek(byte_range.first)
        left = byte_range.size
        while left:
            piece: bytes = await self.file.read(min(left, BATCH))
            if not piece:
                raise BlobMissing("the file ended early")
            left -= len(piece)
            yield piece

    async def close(self) -> None:
        await self.file.close()


def write_all(descriptor: int, content: bytes | bytearray, offset: int) -> None:
    left = memoryview(content)
    while left:
        written = os.pwrite(descriptor, left, offset)
        left, offset = left[written:], offset + written


def hash_on(descriptor: int, hasher: "_Hash", most: int) -> bool:
    """Hash on from where the file stands, at most so many bytes. False when the file has ended."""
    left = most
    while left and (piece := os.read(descriptor, min(left, PIECE))):
        hasher.update(piece)
        left -= len(piece)
    return not left


def forget_cached(descriptor: int) -> None:
    """Let what is read from the file come from the disk and not from memory, where the platform can say so."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def list_entries(folder: Path) -> list[Path]:
    """What is in the folder; a stray file where a folder belongs is its own entry, so that nothing hides behind it."""
    return sorted(folder.iterdir()) if folder.is_dir() else [folder] if folder.exists() else []


def make_directories(*paths: Path) -> None:
    """Make the directories and those above them, not for other users, and sync the name of each one made."""
    for path in paths:
        if not path.is_dir():
            make_directories(path.parent)
            path.mkdir(mode=0o750, exist_ok=True)
            sync_directory(path.parent)


def write_durably(path: Path, text: str) -> None:
    """Several servers may write the same at once, on several machines."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.new")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_committed(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        raise UploadMissing(path.name) from None


@contextlib.contextmanager
def full_disk_named() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StoreFull(str(error)) from error
        raise


@contextlib.contextmanager
def given_up(path: Path) -> Iterator[None]:
    """Remove the file when its sync fails, so that nobody asks again and is told that all is well."""
    try:
        yield
    except OSError:
        path.unlink()
        raise
