"""What a run took comes back, as far as it is still there, and nothing that was set since is touched."""

import pytest

from registry.lifecycle.refusals import RunEnded
from tests.lifecycle.notation import NOW, own_rule
from tests.lifecycle.stage import NAME, OPERATOR, Stage, hide, image, put
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
    assert [row[0] for row in actions] == ["manifest.delete", "manifest.restore", "tag.delete", "tag.set"]


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
    """Tags that a rule took alone come back, but not onto a manifest that was deleted since; later it may be."""
    await stage.push(OLD, 9, "v1")
    await stage.set_policy(TAGS_ALONE)
    run = await stage.runs.run(NAME, OPERATOR, stage.advance)
    assert run
    await stage.database.write(lambda tx: hide(tx, OLD))
    undone = await stage.runs.undo(run.id, OPERATOR, stage.advance)
    assert [(one.tag, one.reason) for one in undone.lost] == [("v1", "its manifest was deleted since")]
    assert undone.restored == []
    await stage.push(OLD, 0)
    undone = await stage.runs.undo(run.id, OPERATOR, stage.advance)
    assert (len(undone.restored), undone.lost) == (1, [])
    assert await stage.visible() == ([str(OLD.digest)], ["v1"])


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
