"""Runs: what a plan says happens, and nothing else, whatever others do meanwhile."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from registry.errors import NameUnknown
from registry.identity import Deed
from registry.lifecycle.claims import DAY
from registry.lifecycle.refusals import PolicyChanged, PolicyUnknown, RunEnded, RunUnknown
from registry.metadata import policies, repositories, runs, tags
from registry.metadata.database import Transaction
from registry.metadata.runs import Status
from registry.oci.names import RepositoryName, Tag
from tests.lifecycle.notation import NOW, ago, own_rule
from tests.lifecycle.stage import (
    NAME,
    OPERATOR,
    PUSHER,
    Stage,
    digests,
    hide,
    image,
    policy_text,
    protect,
    pull,
    put,
)
from tests.scenarios.images import Content, make_index

pytestmark = pytest.mark.anyio

HOUR = 3_600_000  # milliseconds
OLD, NEW = image("old"), image("new")
INDEX = make_index([OLD])
AFTER_DAYS = "T1 v* P3"
UNUSED = own_rule(1, {"tagStatus": "any", "notPulledForDays": 3, "ignorePullsBy": ["scan*"]})
TAGS_ALONE = own_rule(1, {"tagStatus": "tagged", "tagPatternAnyList": ["v*"], "tagOlderThanDays": 3}, expireTags=True)


async def test_run_takes_what_the_plan_says(stage: Stage) -> None:
    """Expired images go with their tags, the rest stays; log and audit say who, when, by which rule, and why."""
    await stage.push(OLD, 9, "v1", "v1.0")
    await stage.push(NEW, 1, "v2")
    await stage.set_policy("T1 v* P3")
    run = await stage.runs.run(NAME, OPERATOR, stage.advance)
    assert run
    assert (run.id, run.status, run.planned_by, run.planned_at, run.images) == (1, Status.APPLIED, "operator", NOW, 2)
    assert (run.tally.images, run.tally.tags, run.tally.total) == (1, 0, 1)
    assert stage.advances == [(0, 1), (1, 1)]
    assert await stage.visible() == ([str(NEW.digest)], ["v2"])
    _, (step,) = await stage.runs.show(run.id)
    assert (step.step.rule, step.step.digest, sorted(step.step.tags)) == (1, str(OLD.digest), ["v1", "v1.0"])
    assert step.step.reason.startswith("rule 1 expires images with a tag like v* pushed more than 3 days ago")
    assert step.done_at == NOW
    audit = await stage.rows("SELECT action, tag FROM change WHERE request_id = 'run 1' AND actor = 'operator'")
    assert sorted(audit, key=str) == [
        ("lifecycle.apply", None),
        ("manifest.delete", None),
        ("tag.delete", "v1"),
        ("tag.delete", "v1.0"),
    ]


async def test_nothing_to_do_stores_nothing(stage: Stage) -> None:
    """A run with an empty plan is none."""
    await stage.push(NEW, 1, "v2")
    await stage.set_policy(AFTER_DAYS)
    assert await stage.runs.run(NAME, OPERATOR, stage.advance) is None
    assert await stage.runs.list(None, None, 10) == []
    with pytest.raises(NameUnknown):
        await stage.runs.run(RepositoryName("b"), OPERATOR, stage.advance)
    await stage.policies.remove(NAME, OPERATOR)
    with pytest.raises(PolicyUnknown, match="lifecycle set a FILE"):
        await stage.runs.run(NAME, OPERATOR, stage.advance)


@dataclass(frozen=True, slots=True)
class Case:
    """What another process does after the plan was made, under which rule, and what becomes of the image then."""

    work: Callable[[Transaction], object]
    outcome: str
    rule: dict[str, Any] | str = AFTER_DAYS


def move(tag: str, content: Content) -> Callable[[Transaction], object]:
    def work(tx: Transaction) -> None:
        put(tx, content, NOW, tag)

    return work


def move_away_and_back(tx: Transaction) -> None:
    move("v1", NEW)(tx)
    move("v1", OLD)(tx)


def untag(tx: Transaction) -> None:
    tags.delete(tx, 1, Tag("v1"), Deed(PUSHER, NOW))


def push_again(tx: Transaction) -> None:
    hide(tx, OLD)
    put(tx, OLD, NOW, "v1")


CASES = {
    "nothing": Case(lambda _: None, "done"),
    "tag moved": Case(move("v1", NEW), "changed"),
    "tag moved away and back": Case(move_away_and_back, "changed"),
    "tag deleted": Case(untag, "changed"),
    "another tag": Case(move("stable", OLD), "changed"),
    "pushed again": Case(push_again, "changed"),
    "deleted": Case(lambda tx: hide(tx, OLD), "changed"),
    "index made": Case(lambda tx: put(tx, INDEX, NOW, "all"), "held"),
    "protected": Case(lambda tx: protect(tx, "v*"), "held"),
    "another is protected": Case(lambda tx: protect(tx, "w*"), "done"),
    "pulled, which does not count": Case(lambda tx: pull(tx, OLD, "ci", NOW), "done"),
    "pulled": Case(lambda tx: pull(tx, OLD, "ci", NOW), "changed", UNUSED),
    "pulled by one who is ignored": Case(lambda tx: pull(tx, OLD, "scanner", NOW), "done", UNUSED),
    "rule of tags": Case(lambda _: None, "done", TAGS_ALONE),
    "rule of tags, tag moved": Case(move("v1", NEW), "changed", TAGS_ALONE),
    "rule of tags, another tag": Case(move("stable", OLD), "changed", TAGS_ALONE),
    "pushed where it is": Case(lambda tx: put(tx, OLD, NOW, "v1"), "changed"),
    "rule of tags, index made": Case(lambda tx: put(tx, INDEX, NOW, "all"), "done", TAGS_ALONE),
    "rule of tags, protected": Case(lambda tx: protect(tx, "v*"), "held", TAGS_ALONE),
}


@pytest.mark.fault("F45")
@pytest.mark.parametrize("name", CASES)
async def test_what_changed_since_the_plan_stays(stage: Stage, name: str) -> None:
    """Every step looks again in its transaction, and takes only what is still as it was."""
    case = CASES[name]
    await stage.push(OLD, 9, "v1")
    await stage.database.write(lambda tx: pull(tx, OLD, "ci", ago(8)))  # the plan knows of it
    await stage.set_policy(case.rule)
    run = await stage.runs.run(NAME, OPERATOR, stage.meanwhile(case.work))
    assert run
    assert run.status is Status.APPLIED
    assert await stage.outcomes(run.id) == [case.outcome]
    there, names = await stage.visible()
    if case.outcome == "done":
        assert "v1" not in names
        assert (str(OLD.digest) in there) == (case.rule is TAGS_ALONE)
    elif name not in {"deleted", "tag deleted"}:
        assert "v1" in names
        assert str(OLD.digest) in there


@pytest.mark.fault("F45")
async def test_what_was_pushed_again_is_another_image(stage: Stage) -> None:
    """Also without a tag, and also when it has become as old as the plan wants by the time that it is applied."""
    images = await stage.push_many(20)
    bare = image("bare")
    await stage.push(bare, 9)
    await stage.set_policy("ANY1 P3")

    def push_bare_again(tx: Transaction) -> None:
        hide(tx, bare)
        put(tx, bare, stage.now)

    stopped = await stage.runs.run(NAME, OPERATOR, stage.advance)
    assert stopped
    stage.now += 1
    await stage.database.write(push_bare_again)
    stage.now += 9 * DAY
    await stage.runs.apply(stopped.id, OPERATOR, stage.meanwhile(lambda tx: hide(tx, images[0])))
    assert sorted(await stage.outcomes(stopped.id)) == ["changed"] * 2 + ["done"] * 19
    assert await stage.visible() == ([str(bare.digest)], [])
    run = await stage.runs.run(NAME, OPERATOR, stage.meanwhile(push_bare_again))
    assert run
    assert await stage.outcomes(run.id) == ["changed"]


@pytest.mark.parametrize("is_planned", [True, False])
@pytest.mark.parametrize(
    "tell", [lambda tx: put(tx, OLD, NOW), lambda tx: pull(tx, OLD, "ci", NOW)], ids=["PUT", "HEAD"]
)
async def test_child_that_a_client_was_told_of_stays(
    stage: Stage, tell: Callable[[Transaction], object], is_planned: bool
) -> None:
    """For an hour, as after its first push, whether the run was planned before or comes later: an index may follow."""
    await stage.push(OLD, 30)
    await stage.set_policy("U1 P14")
    if is_planned:
        run = await stage.runs.run(NAME, OPERATOR, stage.meanwhile(tell))
        assert run
        assert await stage.outcomes(run.id) == ["changed"]
    else:
        await stage.database.write(tell)
    stage.now += HOUR - 1
    assert await stage.runs.run(NAME, OPERATOR, stage.advance) is None
    assert (await stage.policies.get(NAME)).due_at == NOW + HOUR
    assert await stage.visible() == ([str(OLD.digest)], [])
    stage.now += 1
    assert await stage.runs.run(NAME, OPERATOR, stage.advance)
    assert await stage.visible() == ([], [])


async def test_children_and_referrers_stay_with_what_stays(stage: Stage) -> None:
    """Where an index or a subject that was to go first does not go, neither does what it holds."""
    subject = image("subject")
    index = make_index([OLD])
    for content, days, names in ((OLD, 9, ()), (index, 8, ("v1",)), (subject, 9, ("v2",))):
        await stage.push(content, days, *names)
    await stage.push(image("signature", subject=subject), 8)
    await stage.set_policy("ANY1 P3")

    def tag_both(tx: Transaction) -> None:
        put(tx, index, NOW, "stable")
        put(tx, subject, NOW, "stable-too")

    before = await stage.visible()
    run = await stage.runs.run(NAME, OPERATOR, stage.meanwhile(tag_both))
    assert run
    assert sorted(await stage.outcomes(run.id)) == ["changed", "changed", "held", "held"]
    assert (await stage.visible())[0] == before[0]


@pytest.mark.parametrize(
    "work",
    [
        lambda tx: policies.put(tx, 1, policy_text("T1 v* P400"), Deed(OPERATOR, NOW)),
        lambda tx: policies.remove(tx, 1, Deed(OPERATOR, NOW)),
        lambda tx: repositories.mark_deleted(tx, get_repository(tx), Deed(OPERATOR, NOW)),
        lambda tx: runs.supersede(tx, 1, 9, Deed(OPERATOR, NOW)),
    ],
    ids=["set", "removed", "repository deleted", "another run"],
)
async def test_what_ends_a_run(stage: Stage, work: Callable[[Transaction], object]) -> None:
    """Between two transactions of a run, whoever changes the policy or makes a newer plan stops the rest of it."""
    await stage.push_many(120)
    await stage.set_policy("ANY1 P3")
    await stage.database.write(lambda tx: protect(tx, "", brake_percent="100"))
    run = await stage.runs.run(NAME, OPERATOR, stage.meanwhile(work, behind=20))
    assert run
    assert run.status is Status.SUPERSEDED
    assert (run.tally.done, run.tally.planned) == (20, 100)


def get_repository(tx: Transaction) -> repositories.Repository:
    found = repositories.find(tx, NAME)
    assert found
    return found


async def test_steps_are_bounded(stage: Stage) -> None:
    """No transaction takes more than 20 images, nor does it give back more."""
    await stage.push_many(50)
    await stage.set_policy("ANY1 P3")
    await stage.database.write(lambda tx: protect(tx, "", brake_percent="100"))
    run = await stage.runs.run(NAME, OPERATOR, stage.advance)
    assert run
    assert stage.advances == [(0, 50), (20, 50), (40, 50), (50, 50)]
    await stage.runs.undo(run.id, OPERATOR, stage.advance)
    assert stage.advances[4:] == [(20, 50), (40, 50), (50, 50)]


@pytest.mark.fault("F45")
@pytest.mark.parametrize(
    ("images", "keep", "own", "is_stopped"),
    [
        (10, 0, "", False),
        (11, 0, "", True),
        (24, 12, "", False),
        (24, 11, "", True),
        (24, 11, "60", False),
        (24, 12, "40", True),
    ],
)
async def test_brake(stage: Stage, images: int, keep: int, own: str, is_stopped: bool) -> None:
    """More than ten images and more than the set share, the repository's own first: the run stops, taking nothing."""
    await stage.push_many(images - keep)
    await stage.push_many(keep, days=1, prefix="n")
    await stage.set_policy("ANY1 P3")
    await stage.database.write(lambda tx: protect(tx, "", brake_percent=own))
    preview = await stage.runs.plan(NAME)
    assert preview.brake.is_on == is_stopped
    run = await stage.runs.run(NAME, OPERATOR, stage.advance)
    assert run
    assert (run.status, run.ended_at is None) == ((Status.STOPPED, True) if is_stopped else (Status.APPLIED, False))
    assert len((await stage.visible())[0]) == (images if is_stopped else keep)


@pytest.mark.fault("F45")
async def test_brake_counts_tags_too(stage: Stage) -> None:
    """A rule that would take most of a repository's tags is stopped as one that would take its images."""
    await stage.push(OLD, 9, *(f"v{number}" for number in range(11)))
    await stage.set_policy(TAGS_ALONE)
    run = await stage.runs.run(NAME, OPERATOR, stage.advance)
    assert run
    assert run.status is Status.STOPPED
    applied = await stage.runs.apply(run.id, OPERATOR, stage.advance)
    assert (applied.status, applied.tally.tags, applied.tally.images) == (Status.APPLIED, 11, 0)
    assert await stage.visible() == ([str(OLD.digest)], [])


async def test_stopped_run_goes_on_when_it_is_said_to(stage: Stage) -> None:
    """`apply` takes what the plan and the policy now agree on: what is no longer old enough, say, stays."""
    images = await stage.push_many(20)
    await stage.set_policy(UNUSED)
    stopped = await stage.runs.run(NAME, OPERATOR, stage.advance)
    assert stopped
    assert (stopped.status, stopped.tally.planned) == (Status.STOPPED, 20)
    await stage.database.write(lambda tx: pull(tx, images[3], "ci", NOW))
    await stage.database.write(move("v4", NEW))
    applied = await stage.runs.apply(stopped.id, OPERATOR, stage.advance)
    assert (applied.status, applied.ended_by) == (Status.APPLIED, "operator")
    expected = ["done"] * 20
    expected[3], expected[4] = "held", "changed"
    assert await stage.outcomes(stopped.id) == expected
    assert (await stage.visible())[0] == digests([images[3], images[4], NEW])


async def test_stopped_run_keeps_its_number(stage: Stage) -> None:
    """As long as it would do the same, the next run is the same one; then the older is superseded."""
    images = await stage.push_many(20)
    await stage.set_policy("ANY1 P3")
    made = [await stage.runs.run(NAME, OPERATOR, stage.advance) for _ in range(2)]
    await stage.database.write(lambda tx: hide(tx, images[0]))
    await stage.push(NEW, 5)
    made.append(await stage.runs.run(NAME, OPERATOR, stage.advance))
    assert [run.id for run in made if run] == [1, 1, 2]
    assert [run.status for run in await stage.runs.list(NAME, None, 10)] == [Status.STOPPED, Status.SUPERSEDED]
    await stage.set_policy("ANY1 P400")
    assert await stage.runs.run(NAME, OPERATOR, stage.advance) is None
    assert {run.status for run in await stage.runs.list(None, None, 10)} == {Status.SUPERSEDED}


async def test_what_cannot_be_applied_says_why(stage: Stage) -> None:
    """A run that is not there, that has ended, or that was planned by another policy."""
    with pytest.raises(RunUnknown, match="no run 7"):
        await stage.runs.apply(7, OPERATOR, stage.advance)
    with pytest.raises(RunUnknown):
        await stage.runs.show(7)
    await stage.push_many(20)
    await stage.set_policy("ANY1 P3")
    stopped = await stage.runs.run(NAME, OPERATOR, stage.advance)
    assert stopped
    with pytest.raises(RunEnded, match="nothing that it took"):
        await stage.runs.undo(stopped.id, OPERATOR, stage.advance)
    await stage.set_policy("ANY1 P4")
    with pytest.raises(PolicyChanged, match="lifecycle run --repository a"):
        await stage.runs.apply(stopped.id, OPERATOR, stage.advance)
    await stage.set_policy("ANY1 P3")
    await stage.runs.apply(stopped.id, OPERATOR, stage.advance)
    with pytest.raises(RunEnded, match="is applied"):
        await stage.runs.apply(stopped.id, OPERATOR, stage.advance)
    await stage.database.write(lambda tx: repositories.mark_deleted(tx, get_repository(tx), Deed(OPERATOR, NOW)))
    with pytest.raises(NameUnknown):
        await stage.runs.undo(stopped.id, OPERATOR, stage.advance)


async def test_lists_are_pages(stage: Stage) -> None:
    """The latest first, before the last one that was shown, of all repositories or of one."""
    await stage.set_policy(AFTER_DAYS)
    for number in range(5):
        await stage.push(image(f"{number}"), 9, f"v{number}")
        await stage.runs.run(NAME, OPERATOR, stage.advance)
    assert [run.id for run in await stage.runs.list(None, None, 3)] == [5, 4, 3]
    assert [run.id for run in await stage.runs.list(NAME, 3, 3)] == [2, 1]
    assert {run.status for run in await stage.runs.list(None, None, 9)} == {Status.APPLIED}
    with pytest.raises(NameUnknown):
        await stage.runs.list(RepositoryName("b"), None, 3)
