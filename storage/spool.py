"""Where the content of one part waits until it is sent: in memory, or in a file without a name that ends with it."""

import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Self

from storage.files import write_all
from storage.running_hash import RunningHash

_PIECE = 1 << 20  # bytes read from a file at once


class _View(io.RawIOBase):
    """Reads a file from a place of its own: the same part is hashed and sent at the same time."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._size = size
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        return self._place

    def tell(self) -> int:
        return self._place

    def read(self, size: int = -1) -> bytes:
        left = self._size - self._place
        piece = os.pread(self._descriptor, left if size < 0 else min(size, left), self._place)
        self._place += len(piece)
        return piece


class Segment:
    """The content from the upload's byte `start` on. `capacity` bytes, but what is appended whole may go beyond it.

    What touches the file blocks: `spill`, `write`, `pieces`, `hash_into`, `body` belong into a thread.
    """

    def __init__(self, start: int, capacity: int) -> None:
        self.start = start
        self.capacity = capacity
        self.size = 0
        self.in_memory = 0  # bytes
        self._memory = bytearray()
        self._file: IO[bytes] | None = None

    @classmethod
    def of(cls, content: bytearray) -> Self:
        """A whole one of content that somebody else has in memory: it is not copied, and nothing may be added."""
        segment = cls(0, len(content))
        segment._memory, segment.size = content, len(content)
        return segment

    @property
    def room(self) -> int:
        return max(0, self.capacity - self.size)

    @property
    def is_spooled(self) -> bool:
        return self._file is not None

    def add(self, content: memoryview | bytes | bytearray) -> None:
        """Keep more content in memory, where all is that came before."""
        self._memory += content
        self.size += len(content)
        self.in_memory += len(content)

    def spill(self, folder: Path | None) -> None:
        """Move what is in memory to a file in the folder (None: the system's for temporary files)."""
        file = tempfile.TemporaryFile(buffering=0, dir=folder)  # noqa: SIM115 - it is closed with the segment
        try:
            write_all(file.fileno(), self._memory, 0)
        except BaseException:
            file.close()
            raise
        self._file, self._memory, self.in_memory = file, bytearray(), 0

    def write(self, content: bytes | bytearray) -> None:
        """Add to the file."""
        assert self._file is not None  # noqa: S101 - the caller has spilled it
        write_all(self._file.fileno(), content, self.size)
        self.size += len(content)

    def absorb(self, other: "Segment", folder: Path | None) -> None:
        """Add all that the other one has, and close it."""
        if other.is_spooled and not self.is_spooled:
            self.spill(folder)
        for piece in other.pieces():
            if self.is_spooled:
                self.write(bytes(piece))
            else:
                self.add(piece)
        other.close()

    def content(self) -> bytearray | None:
        """What is in memory; None when it is in a file."""
        return None if self.is_spooled else self._memory

    def pieces(self, first: int = 0) -> Iterator[bytes | memoryview]:
        """The content from its byte `first` on."""
        if self._file is None:
            yield memoryview(self._memory)[first:]
            return
        view = _View(self._file.fileno(), self.size)
        view.seek(first)
        while piece := view.read(_PIECE):
            yield piece

    def hash_into(self, running: RunningHash, first: int) -> None:
        for piece in self.pieces(first):
            running.update(piece)

    def body(self) -> bytearray | io.RawIOBase:
        """The content as boto3 takes it: a bytearray goes out in one piece, all else in small ones."""
        if self._file is None:
            return self._memory
        return _View(self._file.fileno(), self.size)

    def close(self) -> None:
        self._memory, self.in_memory = bytearray(), 0
        if self._file is not None:
            self._file.close()
