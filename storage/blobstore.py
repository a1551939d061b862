"""What a store of blobs does, in terms of keys and uploads, never of paths.

A key is ours, one per upload, and never used again: a deleter can never meet a newer copy of the same content.
State goes in and comes out as a value, so that any process can go on with an upload that another began.
"""

from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from storage.digest import Digest


class BlobMissing(Exception):
    """No bytes are stored under the key, or not as many as the caller knows there were."""


class UploadMissing(Exception):
    """Fewer bytes of the upload are stored than its offset says (a power loss before the commit)."""


class UploadBusy(Exception):
    """Another writer is appending to the upload at this moment."""


class StoreFull(Exception):
    """The store has no room but for its reserve, or the quota of its owner is used up."""


class StoreUnavailable(OSError):
    """The store does not answer, or not now: it was asked again, as often as makes sense."""


class ForeignStore(Exception):
    """The store belongs to another registry, or has lost its content."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """The bytes `first` to `last`, both included, as HTTP and the spec write them."""

    first: int
    last: int

    @property
    def size(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class UploadState:
    """An upload as its store left it: `offset` bytes are stored, hashed by `algorithm` while they came.

    `progress` is the store's own text: what it must know to go on with the upload in another process.
    """

    key: str
    offset: int
    algorithm: str = "sha256"
    progress: str = ""


class OpenBlob(Protocol):
    """A stored blob, opened: it can be read to its end even if it is deleted meanwhile."""

    @property
    def size(self) -> int: ...

    @property
    def descriptor(self) -> int | None:
        """Of a regular file that is the blob, until it is closed; None: it can only be read."""

    def read(self, byte_range: ByteRange) -> AsyncIterator[bytes]:
        """Yield the bytes of the range in pieces. Raises BlobMissing when the store has fewer."""

    async def close(self) -> None: ...


class BlobStore(Protocol):
    """Every operation is mandatory; a driver holds its connection and nothing about single uploads but caches."""

    async def bind(self, instance: str, *, is_populated: bool) -> None:
        """Bind the store to the registry `instance`, or check that it is bound to it.

        Raises ForeignStore: another registry's, or unmarked although the database (`is_populated`) knows of blobs.
        """

    async def verify(self, instance: str) -> None:
        """See that the store is bound to the registry `instance`, and change nothing. Raises ForeignStore."""

    async def append(
        self, upload: UploadState, content: AsyncIterable[bytes], *, is_last: bool = False, is_streamed: bool = False
    ) -> UploadState:
        """Write `content` at the upload's offset, over whatever a torn append left there.

        Hints: with `is_last` a commit follows at once; what `is_streamed` is probably all of the blob. When `content`
        raises, the upload stays as it was. Raises UploadMissing, UploadBusy, StoreFull.
        """

    async def digest(self, upload: UploadState, algorithm: str) -> Digest:
        """The digest of the bytes up to the offset: from the running hash, or by reading them again.

        Raises UploadMissing.
        """

    async def commit(self, upload: UploadState) -> None:
        """Make what was just appended durable under its key before returning. Idempotent.

        Raises UploadMissing, also when another process has appended since, UploadBusy, StoreFull.
        """

    async def abort(self, upload: UploadState) -> None:
        """Forget an upload and its bytes, also if it was committed but never named. Absent is not an error."""

    async def sweep(self, key: str) -> None:
        """Remove what unrecorded appends have left under the key of an upload that has ended. For the collector."""

    async def digest_stored(self, key: str, algorithm: str) -> Digest:
        """The digest of a committed blob, of all its bytes as they are stored now.

        Cancelled, it ends soon, however large the blob is. Raises BlobMissing, OSError.
        """

    async def open(self, key: str, size: int) -> OpenBlob:
        """Open a committed blob of `size` bytes. Raises BlobMissing."""

    async def size(self, key: str) -> int | None:
        """The size of a committed blob in bytes, None when there is none."""

    async def locate(self, key: str, size: int) -> str | None:
        """A URL from which a client can GET the committed blob itself, for some minutes; None: only through us."""

    async def delete(self, key: str) -> None:
        """Remove a committed blob. Absent is not an error."""

    async def probe(self) -> None:
        """Whether the store can be written to now. Raises StoreFull, OSError."""

    def keys(self) -> AsyncIterator[str]:
        """Every committed key and the name of any stray file, in no order: for checks, never for a request."""

    def uploads(self) -> AsyncIterator[tuple[str, int]]:
        """Every upload that is neither committed nor aborted: its key, and the bytes that it takes. For checks."""

    def close(self) -> None:
        """End what runs, as soon as it can be ended."""
