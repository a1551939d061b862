"""The races from R9 on, as those in test_races.py."""

import asyncio
from pathlib import Path

import pytest

from registry.errors import Denied, ManifestUnknown
from registry.garbage import Windows
from tests.garbage.conftest import Stage
from tests.garbage.content import BLOBS, MANIFESTS
from tests.garbage.oracle import named_by
from tests.garbage.races import CONFIG, IMAGE, LAYER, OTHER, SIGNATURE, expect_whole, push_image
from tests.garbage.yard import DAY, HOUR, SETTLE, HandClock, Yard
from tests.places import only_on
from tests.scenarios.images import Content, make_blob, make_image, make_index

pytestmark = pytest.mark.anyio


class Killed(BaseException):
    """The server ends at a named point."""


class Kill:
    """Ends the server `at` a point."""

    def __init__(self) -> None:
        self.at = ""

    def __call__(self, point: str) -> None:
        if point == self.at:
            raise Killed


@pytest.mark.input(111)
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


@pytest.mark.fault("F43")
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


@only_on("files", "a folder stands where a blob's file was")
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
    database = stage.yard.registry.database
    await database.write(lambda tx: tx.run("CREATE TABLE refusal (manifest_id BIGINT REFERENCES manifest (id))"))
    await database.write(lambda tx: tx.run("INSERT INTO refusal SELECT id FROM manifest WHERE subject IS NULL"))
    collected = await stage.yard.collect()
    assert (collected.manifests, collected.failed) == (1, 1)
    await database.write(lambda tx: tx.run("DROP TABLE refusal"))


@pytest.mark.input(109)
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


@pytest.mark.fault("F49")
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
    await stage.yard.collect()
    assert await stage.yard.read_blob("a", OTHER) == OTHER.content


@pytest.mark.fault("F45")
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
