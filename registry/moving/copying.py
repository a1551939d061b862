"""Brings blobs into a store under the keys that their rows have, and sees that they are what they should be."""

import contextlib
import re
from collections.abc import AsyncIterator

from registry.moving.rows import NamedBlob
from storage.blobstore import BlobMissing, BlobStore, UploadState
from storage.digest import Digest

_KEY = re.compile(r"[0-9A-Za-z_-]{4,64}", re.ASCII)


class KeyInvalid(Exception):
    """The text is no storage key: it could lead out of the store."""


async def is_there(store: BlobStore, blob: NamedBlob, *, reads: bool) -> bool:
    """Whether the store has the blob: as many bytes, and with `reads` the right ones. Others are removed."""
    _refuse_other_keys(blob.key)
    size = await store.size(blob.key)
    if size is None:
        return False
    digest = Digest.parse(blob.digest)
    with contextlib.suppress(BlobMissing):
        if size == blob.size and (not reads or await store.digest_stored(blob.key, digest.algorithm) == digest):
            return True
    await store.delete(blob.key)  # or a store that finds it at the end would take it for the work of another writer
    return False


async def store_blob(store: BlobStore, blob: NamedBlob, content: AsyncIterator[bytes]) -> bool:
    """Store `content` as the blob; False when it is another content, which is not kept.

    What reading it raises comes out here, and nothing of it is kept either. Raises StoreFull, OSError.
    """
    _refuse_other_keys(blob.key)
    digest = Digest.parse(blob.digest)
    state = UploadState(blob.key, 0, digest.algorithm)
    try:
        state = await store.append(state, content, is_last=True, is_streamed=True)
        is_whole = state.offset == blob.size and await store.digest(state, digest.algorithm) == digest
        if is_whole:
            await store.commit(state)
    except BaseException:
        await store.abort(state)
        raise
    if not is_whole:
        await store.abort(state)
    return is_whole


def _refuse_other_keys(key: str) -> None:
    if not _KEY.fullmatch(key):
        raise KeyInvalid(f"{key[:80]!r} is no storage key")
