"""Content for stores, and the shortest ways to bring it there and back."""

import asyncio
import hashlib
from collections.abc import AsyncIterator

from storage.blobstore import BlobStore, ByteRange, UploadState

MIB = 1 << 20


def make_content(size: int, seed: str = "content") -> bytes:
    return hashlib.shake_256(seed.encode()).digest(size)


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def in_two(
    first: bytes, is_writing: asyncio.Event, may_end: asyncio.Event, second: bytes
) -> AsyncIterator[bytes]:
    """The first part, and the second one when it may end."""
    yield first
    is_writing.set()
    await may_end.wait()
    yield second


class ConnectionLostError(Exception):
    """What a client's sudden end looks like to a store."""


async def torn(*parts: bytes) -> AsyncIterator[bytes]:
    """The parts, and then no end but an error."""
    for part in parts:
        yield part
    raise ConnectionLostError


async def store_blob(store: BlobStore, key: str, content: bytes) -> UploadState:
    upload = await store.append(UploadState(key, 0), pieces(content))
    await store.commit(upload)
    return upload


async def read_blob(store: BlobStore, key: str, size: int, byte_range: ByteRange | None = None) -> bytes:
    blob = await store.open(key, size)
    try:
        return b"".join([piece async for piece in blob.read(byte_range or ByteRange(0, size - 1))])
    finally:
        await blob.close()


async def list_keys(store: BlobStore) -> set[str]:
    return {key async for key in store.keys()}  # noqa: SIM118 - a method of ours, not a dictionary's
