"""Policies and runs in the audit log, where they are no changes of the repository."""

import pytest

from tests.lifecycle.notation import own_rule
from tests.lifecycle.stage import NAME, OPERATOR, PUSHER, Stage, hide, image

pytestmark = pytest.mark.anyio

TAGS_ALONE = own_rule(1, {"tagStatus": "tagged", "tagPatternAnyList": ["v*"], "tagOlderThanDays": 3}, expireTags=True)


async def recorded(stage: Stage) -> list[tuple[object, ...]]:
    """What the log says of policies and of runs, in its order."""
    return await stage.rows(
        "SELECT action, actor, request_id, detail FROM change"
        " WHERE action LIKE 'policy.%' OR action LIKE 'lifecycle.%' ORDER BY sequence"
    )


async def test_runs_have_lines_of_their_own(stage: Stage) -> None:
    """When the brake stops one, when it is applied and when it is undone: by whom, and how much."""
    await stage.push_many(11)
    await stage.set_policy("T1 v* P3", "U2 P3")
    for _ in range(2):  # the second time it is the same run
        await stage.runs.run(NAME, OPERATOR, stage.advance)
    await stage.runs.apply(1, PUSHER, stage.advance)
    await stage.runs.undo(1, OPERATOR, stage.advance)
    assert await recorded(stage) == [
        ("policy.set", "operator", "a request", "2 rules"),
        ("lifecycle.stop", "operator", "run 1", "run 1: 11 images"),
        ("lifecycle.apply", "pusher", "run 1", "run 1: 11 images"),
        ("lifecycle.undo", "operator", "run 1", "run 1: 11 images"),
    ]


async def test_tags_that_go_alone_are_counted(stage: Stage) -> None:
    """Beside the images, of which there are none here."""
    await stage.push(image("one"), 9, "v1")
    await stage.set_policy(TAGS_ALONE)
    await stage.runs.run(NAME, OPERATOR, stage.advance)
    assert [line[3] for line in await recorded(stage)] == ["1 rule", "run 1: 0 images and 1 tag"]


async def test_lines_of_runs_make_no_policy_due(stage: Stage) -> None:
    """A run that took nothing, because all had changed, is no reason for another look."""
    one = image("one")
    await stage.push(one, 9, "v1")
    await stage.set_policy("ANY1 P3")
    assert await stage.runs.due(None) == [NAME]
    run = await stage.runs.run(NAME, OPERATOR, stage.meanwhile(lambda tx: hide(tx, one)))
    assert run
    assert (run.tally.changed, run.tally.done) == (1, 0)
    assert await stage.runs.due(None) == [NAME]
    assert await stage.runs.run(NAME, OPERATOR, stage.advance) is None
    assert await stage.runs.due(None) == []
    await stage.database.write(
        lambda tx: tx.run(
            "INSERT INTO change (at, actor, address, request_id, action, repository_id, repository)"
            " VALUES (1, '', '', '', 'lifecycle.apply', 1, 'a')"
        )
    )
    assert await stage.runs.due(None) == []
