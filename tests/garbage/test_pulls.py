"""A blob is removed while somebody pulls it."""

import os

import pytest

from registry.errors import BlobUnknown
from registry.oci.names import RepositoryName
from storage.blobstore import BlobMissing, ByteRange, StoreUnavailable
from tests.garbage.conftest import Stage
from tests.scenarios.client import SOMEBODY
from tests.scenarios.images import Content

pytestmark = pytest.mark.anyio

NAME = RepositoryName("a")
SIZE = 48 << 20  # bytes: more than any buffer on the way holds


@pytest.mark.fault("F44")
async def test_pull_whose_blob_is_removed_for_good(stage: Stage) -> None:
    """It gets every byte, or breaks visibly; nobody else finds the blob, and of its bytes none is left."""
    blob = Content("application/octet-stream", os.urandom(SIZE))
    await stage.yard.push_blob("a", blob)
    opened = await stage.yard.registry.blobs.open(NAME, blob.digest)
    pieces = opened.read(ByteRange(0, SIZE - 1))
    received = [await anext(pieces)]
    await stage.yard.registry.blobs.delete(NAME, blob.digest, SOMEBODY)
    await stage.yard.quiesce()
    assert stage.yard.files() == {}
    with pytest.raises(BlobUnknown):
        await stage.yard.registry.blobs.open(NAME, blob.digest)
    try:
        received += [piece async for piece in pieces]
    except (BlobMissing, StoreUnavailable):
        assert not stage.yard.registry.config.is_embedded or stage.yard.registry.config.bucket
    else:
        assert b"".join(received) == blob.content
    await opened.close()
