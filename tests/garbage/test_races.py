"""The races that have really happened to registries, by their numbers in our catalogue, each in its two orders.

One side is held before an operation or at a named point while the other one runs. R11 (the placeholder of a proxy
cache looks orphaned) cannot happen: there is no proxy, and no row of a blob without bytes.
"""

from pathlib import Path

import pytest

from registry.errors import BlobUnknown, InUse, ManifestBlobUnknown, ManifestUnknown, UploadUnknown
from registry.garbage import Collected, Windows
from tests.garbage.conftest import Stage
from tests.garbage.races import CONFIG, IMAGE, INDEX, LAYER, LONE, expect_whole, push_image
from tests.garbage.yard import DAY, HOUR, SECOND, SETTLE, HandClock, Yard
from tests.places import only_on

pytestmark = [pytest.mark.anyio, pytest.mark.fault("F43")]


async def test_r1_blobs_wait_for_their_manifest(stage: Stage) -> None:
    """R1: what a push has stored stays while its manifest is still to come, for as long as the lease is."""
    for blob in (CONFIG, LAYER):
        await stage.yard.push_blob("a", blob)
    await stage.yard.pass_time(23 * HOUR)
    await stage.yard.collect()
    await stage.yard.push_manifest("a", IMAGE, "latest")
    await expect_whole(stage.yard)


@pytest.mark.parametrize("is_push_first", [True, False])
async def test_r1_manifest_against_the_sweep(stage: Stage, is_push_first: bool) -> None:
    """R1: a manifest that names a condemned blob keeps it, or comes too late and is told so."""
    await stage.condemn("a", blob=LAYER)
    sweep = await stage.turns.begin(stage.yard.collect())
    push = await stage.turns.begin(stage.yard.push_manifest("a", LONE, "latest"))
    await sweep.go_before("read")
    if is_push_first:
        await push.end()
        await sweep.end()
        await expect_whole(stage.yard, manifest=LONE)
    else:
        await sweep.end()
        with pytest.raises(ManifestBlobUnknown):
            await push.end()


@pytest.mark.parametrize("is_head_first", [True, False])
async def test_r2_existence_check_against_the_sweep(stage: Stage, is_head_first: bool) -> None:
    """R2: after a 200 the manifest can be pushed; a blob that goes is not said to be there."""
    await stage.condemn("a", blob=LAYER)
    sweep = await stage.turns.begin(stage.yard.collect())
    head = await stage.turns.begin(stage.yard.head("a", LAYER))
    await head.go_before("write")  # it has seen the blob, and read its row
    if is_head_first:
        await head.end()
        await sweep.end()
        await stage.yard.pass_time(11 * HOUR)
        await stage.yard.collect()
        await stage.yard.push_manifest("a", LONE)
        await expect_whole(stage.yard, manifest=LONE)
    else:
        await sweep.end()
        with pytest.raises(BlobUnknown):
            await head.end()


@pytest.mark.parametrize("is_flushed", [True, False])
async def test_r2_existence_check_of_a_blob_that_is_named(stage: Stage, is_flushed: bool) -> None:
    """R2: a HEAD of a named blob costs no write; its lease still comes before the blob could go with its manifest."""
    await push_image(stage.yard)
    await stage.yard.pass_time(2 * DAY)
    await stage.yard.head("a", LAYER)
    if is_flushed:
        await stage.yard.pass_time(SECOND)
    await stage.yard.delete_manifest("a", IMAGE.digest)
    await stage.yard.collect()
    await stage.yard.pass_time(SECOND)  # the server writes what it has noted
    await stage.yard.pass_time(SETTLE)
    await stage.yard.collect()
    await stage.yard.push_manifest("a", LONE)
    await expect_whole(stage.yard, manifest=LONE)


async def test_r2_lease_that_was_only_noted_dies_with_the_server(tmp_path: Path, windows: Windows) -> None:
    """R2: a server that is killed had told of what it had not written yet: the collector rests until that is over."""
    clock = HandClock()
    yard = await Yard(tmp_path, clock, windows).open()
    await push_image(yard)
    await yard.pass_time(2 * DAY)
    await yard.head("a", LAYER)
    await yard.delete_manifest("a", IMAGE.digest)
    yard.crash()
    yard = await Yard(tmp_path, clock, windows).open()
    rests_until = clock.now + windows.quiet
    assert await yard.collect() == Collected(rests_until=rests_until)
    await yard.pass_time(windows.quiet - SECOND)
    assert await yard.collect() == Collected(rests_until=rests_until)
    await yard.push_manifest("a", LONE)
    await expect_whole(yard, manifest=LONE)
    await yard.close()


async def test_r2_mount_against_the_sweep(stage: Stage) -> None:
    """R2: a mount whose source loses the blob at this moment is a 201 that holds, or sends the client to push."""
    for stop in ("read", "size", "write"):
        await stage.condemn("a", blob=LAYER)
        mount = await stage.turns.begin(stage.yard.mount("b", LAYER, "a"))
        await mount.go_before(stop)
        await stage.yard.collect()
        assert await mount.end() is False
    await stage.condemn("a", blob=LAYER)
    sweep = await stage.turns.begin(stage.yard.collect())
    await sweep.go_before("write")
    assert await stage.yard.mount("b", LAYER, "a") is True
    await sweep.end()
    await stage.yard.push_manifest("b", LONE)
    await expect_whole(stage.yard, "b", LONE)


async def test_r3_push_between_the_row_and_its_bytes(stage: Stage) -> None:
    """R3: a blob that is pushed when its old row is gone and the old bytes are not keeps its own bytes."""
    await stage.condemn("a", blob=LAYER)
    sweep = await stage.turns.begin(stage.yard.collect())
    await sweep.go_to("garbage.removed")
    await stage.yard.push_blob("a", LAYER)
    await sweep.end()
    assert await stage.yard.read_blob("a", LAYER) == LAYER.content


@pytest.mark.parametrize("stop", ["size", "write"])
async def test_r3_copy_goes_while_a_push_counts_on_it(stage: Stage, stop: str) -> None:
    """R3: a push that has seen a whole copy, and would drop its own bytes, takes them after all when the copy goes."""
    await stage.condemn("a", blob=LAYER)
    push = await stage.turns.begin(stage.yard.push_blob("b", LAYER))
    await push.go_before("size")
    await push.go_before(stop)
    await stage.yard.collect()
    await push.end()
    assert await stage.yard.read_blob("b", LAYER) == LAYER.content


@pytest.mark.parametrize("stop", ["garbage.removed", "garbage.discarded"])
async def test_r4_bytes_are_published_before_their_row(stage: Stage, stop: str) -> None:
    """R4: bytes that have no row yet are not touched, whatever the collector removes of the same digest."""
    await stage.condemn("a", blob=LAYER)
    sweep = await stage.turns.begin(stage.yard.collect())
    await sweep.go_to("garbage.removed")
    push = await stage.turns.begin(stage.yard.push_blob("b", LAYER))
    await push.go_to("commit.done")
    await sweep.go_to(stop)
    await sweep.end()
    await push.end()
    assert await stage.yard.read_blob("b", LAYER) == LAYER.content


async def test_r4_session_that_expires_while_it_is_committed(stage: Stage) -> None:
    """R4: the collector may take the bytes of an expired session; then its PUT is a 404, never a row without bytes."""
    session_id = await stage.yard.start("a")
    push = await stage.turns.begin(stage.yard.complete("a", session_id, LAYER.content, LAYER.digest))
    await push.go_to("commit.done")
    await stage.yard.pass_time(8 * DAY)
    await stage.yard.collect()
    with pytest.raises(UploadUnknown):
        await push.end()


async def test_r5_memory_of_leases_answers_nothing(stage: Stage) -> None:
    """R5: what a process remembers of a blob never says that it is there: the row does."""
    await push_image(stage.yard)
    await stage.yard.head("a", LAYER)
    await stage.yard.delete_manifest("a", IMAGE.digest)
    await stage.yard.delete_blob("a", LAYER)
    with pytest.raises(BlobUnknown):
        await stage.yard.head("a", LAYER)
    await stage.yard.quiesce()
    with pytest.raises(BlobUnknown):
        await stage.yard.head("a", LAYER)


@only_on("files", "only they have links")
async def test_r6_no_copy_depends_on_another(stage: Stage) -> None:
    """R6: there are no links between copies: one file, a right for each repository, and the last one counts."""
    await push_image(stage.yard, "a")
    await push_image(stage.yard, "b")
    paths = [path for path in (stage.yard.folder / "blobs" / "data").rglob("*") if path.is_file()]
    assert [path.stat().st_nlink for path in paths] == [1, 1]
    await stage.yard.delete_repository("a")
    await stage.yard.quiesce()
    await expect_whole(stage.yard, "b")


@pytest.mark.parametrize("is_push_first", [True, False])
async def test_r7_tag_against_the_removal_of_its_manifest(stage: Stage, is_push_first: bool) -> None:
    """R7: a manifest that is tagged while it goes is there and whole afterwards, and its review is not lost."""
    await push_image(stage.yard, tag="latest")
    await stage.yard.delete_manifest("a", IMAGE.digest)
    sweep = await stage.turns.begin(stage.yard.collect())
    push = await stage.turns.begin(stage.yard.push_manifest("a", IMAGE, "again"))
    await sweep.go_before("write")
    for side in (push, sweep) if is_push_first else (sweep, push):
        await side.end()
    await expect_whole(stage.yard)
    await stage.yard.delete_manifest("a", IMAGE.digest)
    await stage.yard.quiesce()
    assert stage.yard.files() == {}


@pytest.mark.parametrize("is_restore_first", [True, False])
async def test_r7_restore_against_the_removal(stage: Stage, is_restore_first: bool) -> None:
    """R7: what is restored while it goes is whole again, or gone for good; never in between."""
    await push_image(stage.yard, tag="latest")
    await stage.yard.delete_manifest("a", IMAGE.digest)
    sweep = await stage.turns.begin(stage.yard.collect())
    restore = await stage.turns.begin(stage.yard.restore_tag("a", "latest"))
    await sweep.go_before("write")
    if is_restore_first:
        await restore.end()
        await sweep.end()
        await expect_whole(stage.yard)
    else:
        await sweep.end()
        with pytest.raises(ManifestUnknown):
            await restore.end()


@pytest.mark.parametrize("is_delete_first", [True, False])
async def test_r8_child_goes_while_its_index_comes(stage: Stage, is_delete_first: bool) -> None:
    """R8: the delete of a child or the push of its index is refused, whichever comes second, also by the collector."""
    await push_image(stage.yard)
    delete = await stage.turns.begin(stage.yard.delete_manifest("a", IMAGE.digest))
    push = await stage.turns.begin(stage.yard.push_manifest("a", INDEX, "latest"))
    if is_delete_first:
        await delete.end()
        sweep = await stage.turns.begin(stage.yard.collect())
        await sweep.go_before("write")
        with pytest.raises(ManifestBlobUnknown):
            await push.end()
        await sweep.end()
    else:
        await push.end()
        with pytest.raises(InUse):
            await delete.end()
        await expect_whole(stage.yard)


@pytest.mark.parametrize("is_push_first", [True, False])
async def test_r8_child_is_pushed_again_while_it_goes(stage: Stage, is_push_first: bool) -> None:
    """R8: a deleted child that comes back with its index stays, at whatever moment the collector looks."""
    await push_image(stage.yard)
    await stage.yard.delete_manifest("a", IMAGE.digest)

    async def push_both() -> None:
        await push_image(stage.yard)
        await stage.yard.push_manifest("a", INDEX, "latest")

    sweep, push = await stage.turns.begin(stage.yard.collect()), await stage.turns.begin(push_both())
    await sweep.go_before("write")
    for side in (push, sweep) if is_push_first else (sweep, push):
        await side.end()
    assert await stage.yard.pull("a", "latest") == INDEX.content
    await expect_whole(stage.yard)


async def test_r8_child_outlives_its_index(stage: Stage) -> None:
    """R8: an index that goes takes no child with it: a tag or nothing at all may be what a child is pulled by."""
    await push_image(stage.yard)
    await stage.yard.push_manifest("a", INDEX, "latest")
    await stage.yard.delete_manifest("a", INDEX.digest)
    await stage.yard.quiesce()
    await expect_whole(stage.yard)
