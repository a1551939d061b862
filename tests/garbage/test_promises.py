"""Who is told that a blob is there has it for as long as a push takes, in whatever way it was told."""

import pytest

from registry.errors import UploadUnknown
from tests.garbage.conftest import Stage
from tests.garbage.races import LAYER, LONE, expect_whole, push_image
from tests.garbage.yard import HOUR, SECOND, SETTLE, WINDOWS, Yard

pytestmark = pytest.mark.anyio


def lease_of_layer(yard: Yard) -> int:
    """Until when it lasts (Unix milliseconds)."""
    return int(yard.rows("SELECT lease_until FROM repository_blob WHERE digest = ?", str(LAYER.digest))[0][0])


async def test_session_that_is_gone(stage: Stage) -> None:
    """A closing PUT to it that is answered with the blob keeps the blob from a collector that was about to take it."""
    await stage.condemn("a", blob=LAYER)
    await stage.yard.complete("a", "gone", b"", LAYER.digest)
    assert lease_of_layer(stage.yard) == stage.yard.clock.now + WINDOWS.lease
    await stage.yard.collect()
    await stage.yard.push_manifest("a", LONE, "latest")
    await expect_whole(stage.yard, manifest=LONE)


async def test_session_that_is_gone_with_a_damaged_blob(stage: Stage) -> None:
    """It is unknown, so that the client pushes the blob anew, which repairs it."""
    await stage.yard.push_blob("a", LAYER)
    (key,) = stage.yard.stored.blobs()
    stage.yard.stored.write(key, bytes(len(LAYER.content)))
    assert [damage async for damage in stage.yard.registry.scrub.run(lambda _size: None)]
    with pytest.raises(UploadUnknown):
        await stage.yard.complete("a", "gone", b"", LAYER.digest)
    await stage.yard.push_blob("a", LAYER)
    await stage.yard.complete("a", "gone", b"", LAYER.digest)
    assert await stage.yard.read_blob("a", LAYER) == LAYER.content


async def test_lease_that_was_ended_is_written_anew(stage: Stage) -> None:
    """Of a blob that a manifest names, too: what was written once is not taken for held."""
    await push_image(stage.yard)
    await stage.yard.pass_time(13 * HOUR)
    await stage.yard.head("a", LAYER)
    await stage.yard.pass_time(SECOND)
    await stage.yard.push_manifest("a", LONE)
    await stage.yard.delete_manifest("a", LONE.digest)
    await stage.yard.collect()  # the end of the newer manifest ends the lease
    assert lease_of_layer(stage.yard) <= stage.yard.clock.now
    await stage.yard.head("a", LAYER)
    told_at = stage.yard.clock.now
    await stage.yard.pass_time(SETTLE)
    assert lease_of_layer(stage.yard) == told_at + WINDOWS.lease
