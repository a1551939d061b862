"""What loses its last holder in an unusual way goes all the same: nothing scans, so each such way writes its review."""

import pytest

from tests.garbage.conftest import Stage
from tests.garbage.content import AS_BLOB, CACHE, MANIFESTS, UNKNOWN_TYPE, describe, make_manifest
from tests.garbage.races import CONFIG, IMAGE, INDEX, LAYER, OTHER, expect_whole, push_image
from tests.garbage.yard import DAY, HOUR, SETTLE, Yard
from tests.scenarios.images import make_blob

EMPTY = make_blob("")

pytestmark = pytest.mark.anyio


async def look(yard: Yard) -> None:
    """The collector looks at all there is, early, and forgets what something holds."""
    await yard.pass_time(DAY + 1)
    await yard.hasten()
    await yard.collect()


async def keep_for_a_week(yard: Yard) -> None:
    await yard.push_blob("a", OTHER)
    await yard.set("a", undelete_days="7")


async def test_child_that_was_a_blob(stage: Stage) -> None:
    """An index that has held a blob as its child holds the manifest once that is pushed, and the blob goes."""
    image = next(one for one in MANIFESTS if one.content == AS_BLOB.content)
    await stage.yard.push_blob("a", AS_BLOB)
    await stage.yard.push_manifest("a", CACHE)
    await look(stage.yard)
    await stage.yard.push_blob("a", EMPTY)
    await stage.yard.push_manifest("a", image)
    await stage.yard.quiesce()
    assert {row[0] for row in stage.yard.rows("SELECT digest FROM blob")} == {str(EMPTY.digest)}


async def test_reference_that_does_not_come_back(stage: Stage) -> None:
    """A manifest that is pushed again without a blob that it may lack holds that no more."""
    thing = make_manifest(UNKNOWN_TYPE, layers=describe([LAYER]))
    await keep_for_a_week(stage.yard)
    await stage.yard.push_blob("a", LAYER)
    await stage.yard.push_manifest("a", thing)
    await stage.yard.delete_manifest("a", thing.digest)
    await stage.yard.delete_blob("a", LAYER)
    await look(stage.yard)
    await stage.yard.push_manifest("a", thing)
    await stage.yard.quiesce()
    assert stage.yard.rows("SELECT digest FROM blob") == []


async def test_window_that_ends_while_its_repository_is_deleted(stage: Stage) -> None:
    """What was deleted before its repository goes after that is restored, and what nothing names goes, too."""
    await keep_for_a_week(stage.yard)
    await push_image(stage.yard)
    await stage.yard.push_manifest("a", INDEX)
    await stage.yard.delete_manifest("a", INDEX.digest)
    await stage.yard.pass_time(6 * DAY)
    await stage.yard.delete_repository("a")
    await stage.yard.pass_time(2 * DAY)
    await look(stage.yard)
    await stage.yard.restore_repository("a")
    await stage.yard.quiesce()
    assert {row[0] for row in stage.yard.rows("SELECT digest FROM manifest")} == {str(IMAGE.digest)}
    assert {row[0] for row in stage.yard.rows("SELECT digest FROM blob")} == {str(CONFIG.digest), str(LAYER.digest)}
    await expect_whole(stage.yard)


async def test_child_that_was_deleted_after_its_index(stage: Stage) -> None:
    """A child that its index still held when its own window ended goes after the index."""
    await keep_for_a_week(stage.yard)
    await push_image(stage.yard)
    await stage.yard.push_manifest("a", INDEX)
    await stage.yard.delete_manifest("a", INDEX.digest)
    await stage.yard.delete_manifest("a", IMAGE.digest)
    await look(stage.yard)
    await stage.yard.set("a", undelete_days="0")
    await stage.yard.quiesce()
    assert stage.yard.files() == {}


@pytest.mark.parametrize("is_named", [True, False])
async def test_what_is_deleted_soon_after_its_push(stage: Stage, is_named: bool) -> None:
    """Without a window its bytes are free when all has settled: they do not wait for the lease of the push to end."""
    if is_named:
        await push_image(stage.yard)
        await stage.yard.pass_time(HOUR)
        await stage.yard.delete_manifest("a", IMAGE.digest)
    else:
        await stage.yard.push_blob("a", OTHER)
        await stage.yard.pass_time(HOUR)
        await stage.yard.delete_blob("a", OTHER)
    await stage.yard.collect()
    await stage.yard.pass_time(SETTLE)
    await stage.yard.collect()
    assert stage.yard.files() == {}
