"""Policies of repositories: what is stored, what a preview says, and which are looked at."""

from functools import partial

import pytest

from registry.errors import NameUnknown
from registry.identity import Deed
from registry.lifecycle.images import Blob
from registry.lifecycle.refusals import PolicyUnknown
from registry.lifecycle.schema import PolicyInvalid
from registry.lifecycle.verdicts import Outcome
from registry.metadata import blobs, images, policies, repositories
from registry.metadata.database import Transaction
from registry.oci.names import RepositoryName
from registry.policies import Policies
from tests.lifecycle.notation import NOW, ago, own_rule
from tests.lifecycle.stage import CONFIG, NAME, OPERATOR, PUSHER, Stage, hide, image, policy_text, protect, pull, put
from tests.places import only_on
from tests.scenarios.images import Content, make_blob, make_index

pytestmark = pytest.mark.anyio

DAY = 24 * 3_600_000
OTHER = RepositoryName("b")
LAYER, OWN = make_blob("x" * 1_000), make_blob("y" * 300)
AFTER_DAYS = policy_text("ANY1 P3")


async def test_set_get_and_remove(stage: Stage) -> None:
    """The text is kept as it was written, with who set it and when; every change is in the audit log."""
    with pytest.raises(PolicyUnknown, match="a has no lifecycle policy"):
        await stage.policies.get(NAME)
    policy = await stage.policies.set(NAME, f" {AFTER_DAYS}\n", OPERATOR)
    assert [rule.priority for rule in policy.rules] == [1]
    stored = await stage.policies.get(NAME)
    assert (stored.text, stored.set_by, stored.set_at, stored.due_at) == (f" {AFTER_DAYS}\n", "operator", NOW, NOW)
    stage.now += 5
    await stage.policies.set(NAME, AFTER_DAYS, PUSHER)
    assert (await stage.policies.get(NAME)).set_by == "pusher"
    assert await stage.policies.list_all("", 10) == [await stage.policies.get(NAME)]
    await stage.policies.remove(NAME, OPERATOR)
    assert await stage.policies.find(NAME) is None
    with pytest.raises(PolicyUnknown):
        await stage.policies.remove(NAME, OPERATOR)
    changes = await stage.rows(
        "SELECT action, actor, address FROM change WHERE action LIKE 'policy.%' ORDER BY sequence"
    )
    assert changes == [
        ("policy.set", "operator", "127.0.0.1"),
        ("policy.set", "pusher", ""),
        ("policy.remove", "operator", "127.0.0.1"),
    ]


async def test_refusals(stage: Stage) -> None:
    """A policy that is none, keys of ours where only ECR's are wanted, and repositories that are not there."""
    with pytest.raises(PolicyInvalid):
        await stage.policies.set(NAME, "{}", OPERATOR)
    strict = Policies(stage.database, stage.clock, is_strict=True, brake_percent=50, undelete_days=7)
    own = policy_text(own_rule(1, {"tagStatus": "any", "notPulledForDays": 3}))
    with pytest.raises(PolicyInvalid, match="rule 1"):
        await strict.set(NAME, own, OPERATOR)
    await stage.policies.set(NAME, own, OPERATOR)
    with pytest.raises(PolicyInvalid):
        await strict.preview(NAME)
    for work in (
        stage.policies.set(OTHER, own, OPERATOR),
        stage.policies.get(OTHER),
        stage.policies.remove(OTHER, OPERATOR),
        stage.policies.preview(OTHER, text=own),
    ):
        with pytest.raises(NameUnknown):
            await work


async def test_images_are_what_the_tables_say(stage: Stage) -> None:
    """Tags with their instants and rows, pulls by identity, children, subject, and blobs where sizes are asked for."""
    child, gone = image("child", LAYER), image("gone")
    index = make_index([child])
    child_id = await stage.push(child, 9)
    index_id = await stage.push(index, 8, "v1", "v2")
    signature = image("signature", OWN, OWN, subject=index)
    signature_id = await stage.push(signature, 7)
    await stage.push(gone, 6, "v3")
    await stage.database.write(lambda tx: hide(tx, gone))
    await stage.database.write(lambda tx: put(tx, child, ago(1), "v1"))
    await stage.database.write(lambda tx: pull(tx, index, "ci", ago(2)))
    await stage.database.write(lambda tx: pull(tx, index, "scan", ago(3)))
    found = {
        stored.id: stored
        for stored in await stage.database.read(partial(images.list_images, repository_id=1, with_sizes=True))
    }
    assert found.keys() == {child_id, index_id, signature_id}
    one = found[child_id].image
    assert (one.digest, one.pushed_at, dict(one.tags)) == (str(child.digest), ago(9), {"v1": ago(1)})
    assert set(one.blobs) == {blob_of(CONFIG), blob_of(LAYER)}
    assert (one.size, one.media_type) == (len(child.content), child.media_type)
    two = found[index_id].image
    assert (two.children, dict(two.tags), two.blobs) == ((str(child.digest),), {"v2": ago(8)}, ())
    assert two.pulls == {"ci": ago(2), "scan": ago(3)}
    rows = await stage.rows("SELECT name, id FROM tag WHERE valid_to IS NULL")
    assert {**found[child_id].tag_ids, **found[index_id].tag_ids} == dict(rows)
    three = found[signature_id].image
    assert (three.subject, three.tags, sorted(map(str, three.blobs))) == (
        str(index.digest),
        {},
        sorted(map(str, (blob_of(CONFIG), blob_of(OWN)))),
    )
    bare = await stage.database.read(partial(images.list_images, repository_id=1, with_sizes=False))
    assert [stored.image.blobs for stored in bare] == [()] * 3


def blob_of(content: Content) -> Blob:
    return Blob(str(content.digest), len(content.content))


async def test_freed_bytes_count_shared_layers_once(stage: Stage) -> None:
    """A layer is free with the last image that has it, and never while another repository has it."""
    one, two, kept = image("one", LAYER), image("two", LAYER, OWN), image("kept")
    await stage.push(one, 9)
    await stage.push(two, 8)
    await stage.push(kept, 1)
    preview = await stage.policies.preview(NAME, text=AFTER_DAYS)
    assert preview.freed == {
        str(one.digest): len(one.content),
        str(two.digest): len(two.content) + 1_300,
    }
    assert preview.freed_bytes == len(one.content) + len(two.content) + 1_300
    await stage.database.write(lambda tx: put(tx, image("elsewhere", LAYER), ago(1), to=OTHER))
    assert (await stage.policies.preview(NAME, text=AFTER_DAYS)).freed[str(two.digest)] == len(two.content) + 300
    await stage.database.write(delete_other)
    assert (await stage.policies.preview(NAME, text=AFTER_DAYS)).freed[str(two.digest)] == len(two.content) + 1_300
    await stage.push(image("newer", LAYER), 1)
    assert (await stage.policies.preview(NAME, text=AFTER_DAYS)).freed[str(two.digest)] == len(two.content) + 300


def delete_other(tx: Transaction) -> None:
    """And a third one has deleted the layer alone."""
    other = repositories.find(tx, OTHER)
    assert other
    repositories.mark_deleted(tx, other, Deed(PUSHER, NOW))
    put(tx, image("third", LAYER), ago(1), to=RepositoryName("c"))
    third = repositories.find(tx, RepositoryName("c"))
    assert third
    blobs.take_right(tx, third.id, LAYER.digest, Deed(PUSHER, NOW))


async def test_preview_of_another_time_and_policy(stage: Stage) -> None:
    """A policy can be tried without storing it, and at an instant to come; nothing changes."""
    await stage.push(image("one"), 1, "v1")
    assert (await stage.policies.preview(NAME, text=AFTER_DAYS)).is_idle
    preview = await stage.policies.preview(NAME, text=AFTER_DAYS, at=NOW + 3 * DAY)
    assert (len(preview.expired), preview.at, preview.repository) == (1, NOW + 3 * DAY, NAME)
    with pytest.raises(PolicyUnknown):
        await stage.policies.preview(NAME)
    await stage.policies.set(NAME, AFTER_DAYS, OPERATOR)
    assert (await stage.policies.preview(NAME, at=NOW + 3 * DAY)).verdicts == preview.verdicts
    assert (await stage.visible())[1] == ["v1"]


async def test_preview_knows_the_settings(stage: Stage) -> None:
    """What is protected stays, the repository's own window and brake stand before the registry's."""
    for number in range(4):
        await stage.push(image(f"{number}"), 9, f"v{number}")
    before = await stage.policies.preview(NAME, text=AFTER_DAYS)
    assert (before.undelete_days, before.brake.percent, len(before.expired)) == (7, 50, 4)
    await stage.database.write(lambda tx: protect(tx, "v1,v2", undelete_days="0", brake_percent="20"))
    after = await stage.policies.preview(NAME, text=AFTER_DAYS)
    assert (after.undelete_days, after.brake.percent, after.brake.images) == (0, 20, 4)
    assert [verdict.reason for verdict in after.verdicts if verdict.outcome is Outcome.KEPT] == [
        "the repository's setting protect=v1 keeps its tag v1",
        "the repository's setting protect=v2 keeps its tag v2",
    ]


async def test_what_was_pushed_moments_ago_stays(stage: Stage) -> None:
    """For an hour: an index that will name it may be on its way."""
    for minutes in (1, 59, 61):
        await stage.push(image(f"{minutes}"), minutes / 24 / 60)
    preview = await stage.policies.preview(NAME, text=policy_text("ANY1 C1"))
    assert [verdict.image.digest for verdict in preview.expired] == [str(image("61").digest)]


async def test_due_policies(stage: Stage) -> None:
    """A policy is due when it is set, when its repository changes, and when its images have the age that it counts."""
    await stage.push(image("one"), 1, "v1")
    await stage.policies.set(NAME, AFTER_DAYS, OPERATOR)
    assert await stage.runs.due(None) == [NAME]
    assert await stage.runs.run(NAME, OPERATOR, stage.advance) is None
    assert (await stage.policies.get(NAME)).due_at == ago(1) + 3 * DAY + 1
    assert await stage.runs.due(None) == []
    assert await stage.runs.due(NAME) == [NAME]
    await stage.push(image("two"), 1, "v2")
    assert await stage.runs.due(None) == [NAME]
    assert await stage.runs.run(NAME, OPERATOR, stage.advance) is None
    stage.now = ago(1) + 3 * DAY
    assert await stage.runs.due(None) == []
    stage.now += 1
    assert await stage.runs.due(None) == [NAME]
    run = await stage.runs.run(NAME, OPERATOR, stage.advance)
    assert run
    assert run.tally.images == 2
    assert await stage.runs.due(None) == [NAME], "what it took can let rules that count go further"
    assert await stage.runs.run(NAME, OPERATOR, stage.advance) is None
    assert await stage.runs.due(None) == []
    assert (await stage.policies.get(NAME)).due_at is None


@pytest.mark.fault("F45")
async def test_change_beside_a_run_is_not_lost(stage: Stage) -> None:
    """A push that other policies have heard of while a run was planned keeps the policy due."""
    await stage.push(image("one"), 9, "v1")
    await stage.policies.set(NAME, AFTER_DAYS, OPERATOR)
    assert await stage.runs.due(None) == [NAME]

    def push_and_transfer(tx: Transaction) -> None:
        put(tx, image("two"), NOW - 9 * DAY, "v2")
        while policies.transfer_changes(tx, NOW):
            pass

    run = await stage.runs.run(NAME, OPERATOR, stage.meanwhile(push_and_transfer))
    assert run
    assert run.tally.images == 1
    assert (await stage.policies.get(NAME)).due_at == NOW


@pytest.mark.fault("F45")
async def test_pull_beside_a_run_keeps_the_policy_due(stage: Stage) -> None:
    """What was to go and was pulled meanwhile is looked at again: the change log does not tell of pulls."""
    await stage.push(image("one"), 100, "v1")
    await stage.set_policy(own_rule(1, {"tagStatus": "any", "notPulledForDays": 30}))
    assert await stage.runs.due(None) == [NAME]
    run = await stage.runs.run(NAME, OPERATOR, stage.meanwhile(lambda tx: pull(tx, image("one"), "ci", NOW)))
    assert run
    assert await stage.outcomes(run.id) == ["changed"]
    assert await stage.runs.due(None) == [NAME]
    assert await stage.runs.run(NAME, OPERATOR, stage.advance) is None
    assert (await stage.policies.get(NAME)).due_at == NOW + 30 * DAY + 1


async def test_deleted_repository_is_not_due(stage: Stage) -> None:
    """It waits with its policy, and is due when it comes back; a new one of its name has no policy."""
    await stage.policies.set(NAME, AFTER_DAYS, OPERATOR)
    repository = await stage.database.read(lambda tx: repositories.find(tx, NAME))
    assert repository
    deed = Deed(OPERATOR, NOW)
    await stage.database.write(lambda tx: repositories.mark_deleted(tx, repository, deed))
    assert await stage.runs.due(None) == []
    assert await stage.policies.list_all("", 10) == []
    assert await stage.policies.find(NAME) is None
    await stage.database.write(lambda tx: repositories.get_or_make(tx, NAME, "push", deed))
    assert await stage.runs.due(None) == []
    with pytest.raises(PolicyUnknown):
        await stage.runs.due(NAME)


async def test_work_is_in_proportion_to_what_is_due(stage: Stage) -> None:
    """Of many policies only those are read whose repositories changed, or whose time has come."""

    def fill(tx: Transaction) -> None:
        for number in range(2_000):
            repository_id = repositories.get_or_make(tx, RepositoryName(f"r{number}"), "push", Deed(PUSHER, NOW))
            policies.put(tx, repository_id, AFTER_DAYS, Deed(OPERATOR, NOW))
        tx.run("UPDATE policy SET due_at = NULL")
        tx.run("UPDATE registry SET policy_sequence = (SELECT max(sequence) FROM change)")

    await stage.database.write(fill)
    assert await stage.runs.due(None) == []
    changed = [RepositoryName(f"r{number}") for number in (7, 77, 777)]
    for name in changed:
        await stage.database.write(partial(put, content=image("one"), at=NOW, to=name))
    assert await stage.runs.due(None) == changed


@only_on("sqlite", "its plan of the query")
async def test_changes_are_found_by_an_index(stage: Stage) -> None:
    """No table is read from one end to the other."""
    plan = await stage.rows(
        "EXPLAIN QUERY PLAN UPDATE policy SET due_at = 0 WHERE repository_id IN"
        " (SELECT change.repository_id FROM change WHERE sequence > 5 AND sequence <= 9)"
    )
    assert not [row for row in plan if row[3].startswith("SCAN")]


async def test_many_changes_are_transferred_in_parts(stage: Stage) -> None:
    """One transaction looks at 10,000 changes at most, and all are looked at in the end."""
    await stage.policies.set(NAME, AFTER_DAYS, OPERATOR)

    def fill(tx: Transaction) -> None:
        tx.run("UPDATE policy SET due_at = NULL")
        tx.run(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25000)"
            " INSERT INTO change (at, actor, address, request_id, action, repository_id, repository)"
            " SELECT 1, '', '', '', 'manifest.push', CASE i WHEN 25000 THEN 1 ELSE 2 END, 'b' FROM n"
        )
        tx.run("UPDATE registry SET policy_sequence = 10")

    await stage.database.write(fill)
    left = [await stage.database.write(lambda tx: policies.transfer_changes(tx, NOW)) for _ in range(4)]
    assert left == [True, True, False, False]
    assert await stage.runs.due(None) == [NAME]
