"""What a run took comes back, as far as it is still there, and nothing that was set since is touched."""

import pytest

from registry.lifecycle.refusals import RunEnded
from registry.metadata.runs import Status
from tests.lifecycle.notation import NOW, own_rule
from tests.lifecycle.stage import NAME, OPERATOR, PUSHER, Stage, hide, image, protect, put
from tests.lifecycle.test_runs_at_once import Cut, cut
from tests.scenarios.images import make_blob, make_index

pytestmark = pytest.mark.anyio

OLD, NEW = image("old"), image("new")
INDEX = make_index([OLD])
AFTER_DAYS = "T1 v* P3"
TAGS_ALONE = own_rule(1, {"tagStatus": "tagged", "tagPatternAnyList": ["v*"], "tagOlderThanDays": 3}, expireTags=True)


async def test_undo_brings_everything_back(stage: Stage) -> None:
    """Untagged manifests, children and referrers too; and it says that the policy would take them again."""
    subject = image("subject")
    for content, days, names in ((OLD, 9, ()), (INDEX, 8, ("v1", "v2")), (subject, 9, ("v3",)), (NEW, 9, ())):
        await stage.push(content, days, *names)
    await stage.push(image("signature", subject=subject), 8)
    before = await stage.visible()
    await stage.set_policy("ANY1 P3")
    run = await stage.runs.run(NAME, OPERATOR, stage.advance)
    assert run
    assert await stage.visible() == ([], [])
    undone = await stage.runs.undo(run.id, OPERATOR, stage.advance)
    assert (undone.run.status, undone.run.tally.undone, undone.lost, undone.would_repeat) == ("undone", 5, [], True)
    assert {step.digest for step in undone.restored} == set(before[0])
    assert await stage.visible() == before
    with pytest.raises(RunEnded):
        await stage.runs.undo(run.id, OPERATOR, stage.advance)
    await stage.policies.remove(NAME, OPERATOR)
    actions = await stage.rows("SELECT DISTINCT action FROM change WHERE request_id = 'run 1' ORDER BY action")
    assert [row[0] for row in actions] == [
        "lifecycle.apply",
        "lifecycle.undo",
        "manifest.delete",
        "manifest.restore",
        "tag.delete",
        "tag.set",
    ]


async def test_undo_leaves_what_was_set_since(stage: Stage) -> None:
    """A tag that points elsewhere by now stays there, and the report says so."""
    await stage.push(OLD, 9, "v1", "v2")
    await stage.set_policy(AFTER_DAYS)
    run = await stage.runs.run(NAME, OPERATOR, stage.advance)
    assert run
    await stage.database.write(lambda tx: put(tx, NEW, NOW, "v1"))
    undone = await stage.runs.undo(run.id, OPERATOR, stage.advance)
    assert [(one.tag, one.reason) for one in undone.lost] == [("v1", f"it points to {NEW.digest} by now, and stays so")]
    assert [step.digest for step in undone.restored] == [str(OLD.digest)]
    assert await stage.rows("SELECT name, digest FROM tag WHERE valid_to IS NULL ORDER BY name") == [
        ("v1", str(NEW.digest)),
        ("v2", str(OLD.digest)),
    ]


async def test_undo_of_tags(stage: Stage) -> None:
    """Tags that a rule took alone come back, but not onto a manifest that was deleted since; later it may be.

    As long as nothing is back, the run is not undone.
    """
    await stage.push(OLD, 9, "v1")
    await stage.set_policy(TAGS_ALONE)
    run = await stage.runs.run(NAME, OPERATOR, stage.advance)
    assert run
    await stage.database.write(lambda tx: hide(tx, OLD))
    undone = await stage.runs.undo(run.id, OPERATOR, stage.advance)
    assert [(one.tag, one.reason) for one in undone.lost] == [("v1", "its manifest was deleted since")]
    assert undone.restored == []
    assert (undone.run.status, undone.run.ended_at, undone.run.ended_by) == (Status.APPLIED, NOW, "operator")
    assert await stage.rows("SELECT 1 FROM change WHERE action = 'lifecycle.undo'") == []
    await stage.push(OLD, 0)
    undone = await stage.runs.undo(run.id, PUSHER, stage.advance)
    assert (len(undone.restored), undone.lost) == (1, [])
    assert (undone.run.status, undone.run.ended_by) == (Status.UNDONE, "pusher")
    assert (undone.run.tally.undone_images, undone.run.tally.undone_tags) == (0, 1)
    assert await stage.visible() == ([str(OLD.digest)], ["v1"])


async def test_undo_of_a_run_that_was_cut_off(stage: Stage) -> None:
    """Nothing of it goes on meanwhile; where nothing comes back, it can be gone on with as before."""
    images = await stage.push_many(50)
    await stage.set_policy("ANY1 P3")
    await stage.database.write(lambda tx: protect(tx, "", brake_percent="100"))
    with pytest.raises(Cut):
        await stage.runs.run(NAME, OPERATOR, cut)
    await stage.database.write(lambda tx: tx.run("DELETE FROM manifest WHERE deleted_at IS NOT NULL"))
    undone = await stage.runs.undo(1, OPERATOR, stage.advance)
    assert (len(undone.lost), undone.run.status, undone.run.ended_at) == (20, Status.APPLYING, None)
    await stage.push(images[0], 0)
    undone = await stage.runs.undo(1, OPERATOR, stage.advance)
    assert (len(undone.restored), undone.run.status) == (1, Status.UNDONE)


async def test_undo_says_what_is_gone_for_good(stage: Stage) -> None:
    """What the collector has removed cannot come back; the other images of the run do."""
    await stage.push(OLD, 9, "v1")
    await stage.push(image("lost", make_blob("a layer")), 9, "v2")
    await stage.set_policy(AFTER_DAYS)
    run = await stage.runs.run(NAME, OPERATOR, stage.advance)
    assert run
    lost = str(image("lost", make_blob("a layer")).digest)
    await stage.database.write(lambda tx: tx.run("DELETE FROM manifest WHERE digest = :digest", digest=lost))
    undone = await stage.runs.undo(run.id, OPERATOR, stage.advance)
    assert [(one.digest, one.tag) for one in undone.lost] == [(lost, "")]
    assert "gone for good" in undone.lost[0].reason
    assert await stage.visible() == ([str(OLD.digest)], ["v1"])


async def test_undo_finds_what_was_pushed_again(stage: Stage) -> None:
    """Where the collector has removed an image and somebody has pushed it again, its tags come back to that one."""
    await stage.push(OLD, 9, "v1")
    await stage.set_policy(AFTER_DAYS)
    run = await stage.runs.run(NAME, OPERATOR, stage.advance)
    assert run
    await stage.database.write(lambda tx: tx.run("DELETE FROM manifest"))
    await stage.push(OLD, 0)
    undone = await stage.runs.undo(run.id, OPERATOR, stage.advance)
    assert (len(undone.restored), undone.lost) == (1, [])
    assert await stage.visible() == ([str(OLD.digest)], ["v1"])
