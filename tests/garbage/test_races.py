"""The races that have really happened to registries, by their numbers in our catalogue, each in its two orders.

One side is held before an operation or at a named point while the other one runs. R11 (the placeholder of a proxy
cache looks orphaned) cannot happen: there is no proxy, and no row of a blob without bytes.
"""

import asyncio
from pathlib import Path

import pytest

from registry.errors import BlobUnknown, Denied, InUse, ManifestBlobUnknown, ManifestUnknown, UploadUnknown
from registry.garbage import Collected, Windows
from tests.garbage.conftest import Stage
from tests.garbage.content import BLOBS, MANIFESTS
from tests.garbage.oracle import named_by
from tests.garbage.yard import DAY, HOUR, SECOND, SETTLE, HandClock, Yard
from tests.scenarios.images import Content, make_blob, make_image, make_index

pytestmark = pytest.mark.anyio

CONFIG, LAYER = make_blob("config"), make_blob("layer")
IMAGE = make_image(CONFIG, [LAYER])
INDEX = make_index([IMAGE])
SIGNATURE = make_image(CONFIG, subject=IMAGE)
LONE = make_image(LAYER)
OTHER = make_blob("other")


class Killed(BaseException):
    """The server ends at a named point."""


class Kill:
    """Ends the server `at` a point."""

    def __init__(self) -> None:
        self.at = ""

    def __call__(self, point: str) -> None:
        if point == self.at:
            raise Killed


async def push_image(yard: Yard, name: str = "a", tag: str = "") -> None:
    for blob in (CONFIG, LAYER):
        await yard.push_blob(name, blob)
    await yard.push_manifest(name, IMAGE, tag)


async def expect_whole(yard: Yard, name: str = "a", manifest: Content = IMAGE) -> None:
    """The manifest can be pulled, with all its blobs, now and when the collector has looked at all there is."""
    for _ in range(2):
        assert await yard.pull(name, manifest) == manifest.content
        for blob in (CONFIG, LAYER):
            if str(blob.digest) in named_by(manifest)[0]:
                assert await yard.read_blob(name, blob) == blob.content
        await yard.quiesce()


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


async def test_r9_every_media_type_holds_its_content(stage: Stage) -> None:
    """R9: whatever type a manifest has, known to anybody or not, what it names stays."""
    for blob in BLOBS:
        await stage.yard.push_blob("a", blob)
    for manifest in MANIFESTS:
        await stage.yard.push_manifest("a", manifest)
    await stage.yard.quiesce()
    named = set[str]().union(*(set.union(*named_by(manifest)) for manifest in MANIFESTS))
    known = {str(manifest.digest) for manifest in MANIFESTS}
    assert {row[0] for row in stage.yard.rows("SELECT digest FROM repository_blob")} == named - known
    for manifest in MANIFESTS:
        assert await stage.yard.pull("a", manifest) == manifest.content


@pytest.mark.parametrize("is_push_first", [True, False])
async def test_r10_subject_comes_back_while_its_referrers_go(stage: Stage, is_push_first: bool) -> None:
    """R10: referrers go with their subject, but not when it is pushed again before the collector looks at them."""
    await push_image(stage.yard)
    await stage.yard.push_manifest("a", SIGNATURE)
    await stage.yard.delete_manifest("a", IMAGE.digest)
    await stage.yard.registry.garbage.step()  # the subject's row is gone, its referrers are due
    sweep = await stage.turns.begin(stage.yard.registry.garbage.step())
    push = await stage.turns.begin(stage.yard.push_manifest("a", IMAGE, "latest"))
    await sweep.go_before("write")
    for side in (push, sweep) if is_push_first else (sweep, push):
        await side.end()
    await expect_whole(stage.yard)
    if is_push_first:
        await expect_whole(stage.yard, manifest=SIGNATURE)
    else:
        with pytest.raises(ManifestUnknown):
            await stage.yard.pull("a", SIGNATURE)


async def test_r10_referrer_that_something_else_holds(stage: Stage) -> None:
    """R10: a referrer with a tag, within an index, or pushed after the subject was deleted, stays without it."""
    contained = make_image(CONFIG, subject=IMAGE, annotations={"n": "in an index"})
    late = make_image(CONFIG, subject=IMAGE, annotations={"n": "late"})
    await push_image(stage.yard, tag="one")
    await stage.yard.push_manifest("a", IMAGE, "two")
    await stage.yard.push_manifest("a", SIGNATURE, "signature")
    await stage.yard.push_manifest("a", contained)
    await stage.yard.push_manifest("a", make_index([contained]))
    await stage.yard.untag("a", "one")
    await stage.yard.quiesce()
    assert await stage.yard.pull("a", "two") == IMAGE.content
    await stage.yard.delete_manifest("a", IMAGE.digest)
    await stage.yard.pass_time(1)
    await stage.yard.push_manifest("a", late)
    await stage.yard.quiesce()
    for referrer in (SIGNATURE, contained, late):
        await expect_whole(stage.yard, manifest=referrer)


async def test_r12_bytes_that_cannot_be_removed(stage: Stage) -> None:
    """R12: a file that cannot be removed does not stop the collector, and is tried again later."""
    await stage.yard.push_blob("b", CONFIG)
    await stage.condemn("a", blob=LAYER)
    ((key,),) = stage.yard.rows("SELECT storage_key FROM blob WHERE digest = ?", str(LAYER.digest))
    path = stage.yard.folder / "blobs" / "data" / key[:2] / key
    path.unlink()
    path.mkdir()
    await stage.yard.collect()
    assert [row[0] for row in stage.yard.rows("SELECT storage_key FROM discard")] == [key]
    assert stage.yard.files() == {}
    path.rmdir()


async def test_r12_row_that_cannot_be_removed(stage: Stage) -> None:
    """R12: a review that fails is put off; all others are done."""
    await push_image(stage.yard)
    await stage.yard.push_manifest("a", SIGNATURE)
    await stage.yard.delete_manifest("a", IMAGE.digest)
    await stage.yard.delete_manifest("a", SIGNATURE.digest)
    refusal = (
        "CREATE TRIGGER refusal BEFORE DELETE ON manifest WHEN OLD.subject IS NULL"
        " BEGIN SELECT RAISE(ABORT, 'not this one'); END"
    )
    await stage.yard.registry.database.write(lambda tx: tx.run(refusal))
    collected = await stage.yard.collect()
    assert (collected.manifests, collected.failed) == (1, 1)
    await stage.yard.registry.database.write(lambda tx: tx.run("DROP TRIGGER refusal"))


async def test_r13_walks_visit_each_manifest_once(stage: Stage) -> None:
    """R13: indexes with a million million paths to the same children come back, and go, in steps of bounded size."""
    await push_image(stage.yard)
    levels: list[Content] = [IMAGE, SIGNATURE]
    await stage.yard.push_manifest("a", SIGNATURE)
    for level in range(40):
        levels = [make_index(levels, annotations={"n": f"{level} {side}"}) for side in range(2)]
        for index in levels:
            await stage.yard.push_manifest("a", index)
    top = make_index(levels)
    await stage.yard.push_manifest("a", top, "top")
    await stage.yard.delete_repository("a")
    await stage.yard.restore_repository("a")
    await stage.yard.delete_manifest("a", top.digest)
    await stage.yard.restore_manifest("a", top)
    await stage.yard.delete_repository("a")
    while not (step := await stage.yard.registry.garbage.step()).is_idle:
        assert step.reviewed <= 50
    assert stage.yard.files() == {}


async def test_r14_two_collectors_at_once(stage: Stage) -> None:
    """R14: collectors that meet, in one process or two, wait for each other for one transaction, and count once."""
    for number in range(120):
        await stage.yard.push_blob("a", make_blob(f"blob {number}"))
    await stage.yard.pass_time(25 * HOUR)
    await stage.yard.collect()
    await stage.yard.pass_time(SETTLE)
    other = Yard(stage.yard.folder, stage.yard.clock)
    counts = await asyncio.gather(stage.yard.collect(), other.collect(), stage.yard.collect())
    assert sum(one.blobs for one in counts) == 120
    assert [one.failed for one in counts] == [0, 0, 0]
    assert stage.yard.files() == {}
    other.crash()


async def test_r15_clock_that_is_set_back_removes_nothing(stage: Stage) -> None:
    """R15: a clock that is wrong for a while, set back, removes nothing early and shortens no lease."""
    await push_image(stage.yard)
    await stage.yard.push_blob("a", OTHER)
    await stage.yard.pass_time(-400 * DAY)
    await stage.yard.head("a", OTHER)
    await stage.yard.delete_manifest("a", IMAGE.digest)
    assert (await stage.yard.collect()).blobs == 0
    await stage.yard.pass_time(400 * DAY + 23 * HOUR)
    assert (await stage.yard.collect()).blobs == 0
    for blob in (CONFIG, LAYER, OTHER):
        assert await stage.yard.read_blob("a", blob) == blob.content


async def test_r15_what_comes_back_is_as_old_as_it_was(stage: Stage) -> None:
    """R15: a restore keeps the instant of the push, which policies count by, and a new push sets it."""
    await push_image(stage.yard)
    pushed_at = stage.yard.clock.now
    await stage.yard.pass_time(DAY)
    await stage.yard.delete_manifest("a", IMAGE.digest)
    await stage.yard.restore_manifest("a", IMAGE)
    await stage.yard.delete_repository("a")
    await stage.yard.restore_repository("a")
    assert stage.yard.rows("SELECT pushed_at FROM manifest") == [(pushed_at,)]
    await stage.yard.delete_manifest("a", IMAGE.digest)
    await push_image(stage.yard)
    assert stage.yard.rows("SELECT pushed_at FROM manifest") == [(pushed_at + DAY,)]


@pytest.mark.parametrize("point", ["garbage.removed", "garbage.discarded"])
@pytest.mark.parametrize("is_pushed", [True, False])
async def test_r16_crash_in_the_middle(tmp_path: Path, windows: Windows, point: str, is_pushed: bool) -> None:
    """R16: what a killed collector left half done is done by the next, and may be pushed again at once meanwhile."""
    clock, kill = HandClock(), Kill()
    yard = await Yard(tmp_path, clock, windows, kill).open()
    await push_image(yard)
    await yard.delete_repository("a")
    await yard.pass_time(25 * HOUR)
    kill.at = point
    with pytest.raises(Killed):
        await yard.collect()
    kill.at = ""
    yard.crash()
    yard = await Yard(tmp_path, clock, windows).open()
    if is_pushed:
        await push_image(yard)
        await expect_whole(yard)
    await yard.quiesce()
    assert len(yard.files()) == (2 if is_pushed else 0)
    assert yard.list_unnamed() == []
    await yard.close()


@pytest.mark.parametrize("is_protected_first", [True, False])
async def test_r17_protection_holds_at_every_door(stage: Stage, is_protected_first: bool) -> None:
    """R17: what a setting forbids is asked in the transaction that would do it, by each way to do it."""
    await push_image(stage.yard, tag="v1")
    doors = {
        "tag": stage.yard.untag("a", "v1"),
        "manifest": stage.yard.delete_manifest("a", IMAGE.digest),
        "repository": stage.yard.delete_repository("a"),
    }
    sides = [await stage.turns.begin(door) for door in doors.values()]
    if not is_protected_first:
        await sides[0].end()
        await stage.yard.restore_tag("a", "v1")
    await stage.yard.set("a", protect="v*")
    for side in sides[0 if is_protected_first else 1 :]:
        with pytest.raises(Denied):
            await side.end()
    await stage.yard.quiesce()
    assert await stage.yard.pull("a", "v1") == IMAGE.content
    await expect_whole(stage.yard)
