"""A deleted repository comes back as it was."""

import asyncio

import pytest

from registry.errors import Denied, ManifestUnknown, NameUnknown
from registry.identity import Actor
from registry.metadata.database import Transaction
from registry.metadata.repositories import Repository
from registry.oci.names import RepositoryName, Tag
from tests.history.moving import DAY, Past
from tests.lifecycle.stage import policy_text
from tests.metadata.rows import rows
from tests.scenarios.client import SOMEBODY
from tests.scenarios.images import make_blob, make_index

pytestmark = pytest.mark.anyio

A = RepositoryName("a")
POLICY = policy_text("ANY1 P3")


async def list_tags(past: Past, name: str = "a") -> dict[str, str]:
    found = await past.registry.tags.list_current(RepositoryName(name), "", 100)
    return {tag: row.digest for tag, row in found}


async def test_it_is_as_it_was(past: Past) -> None:
    """With its tags as they were at its deletion, its settings, its deleted manifests, and its history before."""
    first, second = await past.push_image("a", "first", "v"), await past.push_image("a", "second", "v")
    index = make_index([first])
    await past.push_manifest("a", index, "multi", ["also"])
    deleted = await past.push_image("a", "deleted", "gone")
    await past.push_manifest("a", first, "untagged")
    await past.untag("a", "untagged")
    await past.delete_manifest("a", deleted.digest)
    await past.set("a", immutability="immutable", undelete_days="30")
    tags, totals = await list_tags(past), await past.registry.repositories.show(A)
    assert tags == {"v": str(second.digest), "multi": str(index.digest), "also": str(index.digest)}
    past.clock.now += 1
    await past.delete_repository("a")
    past.clock.now += DAY
    assert await past.restore_repository("a") == 3
    assert await list_tags(past) == tags
    assert await past.registry.repositories.show(A) == totals
    assert await past.find("a", str(deleted.digest)) is None
    assert await past.restore_manifest("a", deleted.digest) == [str(deleted.digest)]
    await past.push_image("a", "third", "new")
    await past.collect(400)
    assert len(await list_tags(past)) == 4
    assert await past.check() == []


async def test_history_has_the_gap(past: Past) -> None:
    """While the repository was deleted its tags pointed to nothing."""
    await past.push_image("a", "image", "v")
    past.clock.now += 1_000
    await past.delete_repository("a")
    deleted_at = past.clock.now
    past.clock.now += 1_000
    await past.restore_repository("a")
    for instant, count in ((deleted_at - 1, 1), (deleted_at, 0), (past.clock.now - 1, 0), (past.clock.now, 1)):
        assert len(await past.registry.tags.list_at(A, Tag("v"), instant)) == count


async def test_tags_of_the_same_millisecond(past: Past) -> None:
    """Of a tag that moved in the millisecond of the deletion the last one comes back."""
    await past.push_image("a", "first", "v")
    second = await past.push_image("a", "second")
    await past.push_manifest("a", second, "v")
    await past.delete_repository("a")
    assert await past.restore_repository("a") == 1
    assert await list_tags(past) == {"v": str(second.digest)}


async def test_a_name_that_is_taken(past: Past) -> None:
    """A new repository of the name is in the way; when it is deleted itself, it is the last one."""
    old = await past.push_image("a", "old", "v")
    await past.delete_repository("a")
    new = await past.push_image("a", "new", "v")
    with pytest.raises(Denied, match="there is a repository a already"):
        await past.restore_repository("a")
    await past.delete_repository("a")
    await past.restore_repository("a")
    assert await list_tags(past) == {"v": str(new.digest)}
    with pytest.raises(ManifestUnknown):
        await past.restore_manifest("a", old.digest)


async def test_deleted_again(past: Past) -> None:
    """Each deletion has its own tags and its own window."""
    image = await past.push_image("a", "image", "v")
    await past.delete_repository("a")
    past.clock.now += 1_000
    await past.restore_repository("a")
    await past.push_manifest("a", image, "w")
    await past.untag("a", "v")
    past.clock.now += 1_000
    await past.delete_repository("a")
    await past.collect(6)
    assert await past.restore_repository("a") == 1
    assert await list_tags(past) == {"w": str(image.digest)}


async def test_an_empty_one_in_between(past: Past) -> None:
    """What comes back is the last one that held something: an empty one is made, not restored."""
    image = await past.push_image("a", "image", "v")
    await past.delete_repository("a")
    past.clock.now += 1_000
    await past.registry.repositories.create(A, SOMEBODY)
    await past.delete_repository("a")
    assert await past.restore_repository("a") == 1
    assert await list_tags(past) == {"v": str(image.digest)}


@pytest.mark.parametrize("has_policy", [True, False])
async def test_an_empty_one_with_settings_or_a_policy(past: Past, has_policy: bool) -> None:
    """What somebody has set for it comes back, though it holds no content."""
    await past.registry.repositories.create(A, SOMEBODY)
    if has_policy:
        await past.registry.policies.set(A, POLICY, SOMEBODY)
    else:
        await past.set("a", immutability="immutable", undelete_days="30")
    shown = await past.registry.repositories.show(A)
    await past.delete_repository("a")
    past.clock.now += 1_000
    assert [each.name for each in await past.registry.repositories.list_deleted(None, 10)] == [A]
    assert await past.restore_repository("a") == 0
    assert await past.registry.repositories.show(A) == shown
    stored = await past.registry.policies.find(A)
    assert (stored.text if stored else "") == (POLICY if has_policy else "")


async def test_what_never_was(past: Past) -> None:
    """A name under which nothing was deleted."""
    with pytest.raises(NameUnknown, match="no deleted repository a, or nothing of it is left"):
        await past.restore_repository("a")


async def test_gone_for_good(past: Past) -> None:
    """After the collector nothing is left, also while the row still waits for old tokens to end."""
    await past.push_image("a", "image", "v")
    await past.set("a", undelete_days="0")
    await past.delete_repository("a")
    await past.collect(0)
    assert await rows(past.registry.database, "SELECT name FROM repository") == [("a",)]
    assert await past.registry.repositories.list_deleted(None, 10) == []
    with pytest.raises(NameUnknown, match="no deleted repository a"):
        await past.restore_repository("a")
    await past.collect(2)
    with pytest.raises(NameUnknown, match="no deleted repository a"):
        await past.restore_repository("a")


@pytest.mark.parametrize("lost", ["tagged", "child"])
async def test_partly_purged(past: Past, lost: str) -> None:
    """Where a purge took a part, it is not to be missed silently: nothing comes back."""
    tagged, child = await past.push_image("a", "tagged", "v"), await past.push_image("a", "child")
    await past.push_manifest("a", make_index([child]))
    await past.delete_repository("a")
    taken = str({"tagged": tagged, "child": child}[lost].digest)

    def take(tx: Transaction) -> None:
        tx.run("UPDATE reference SET child_id = NULL WHERE digest = :digest", digest=taken)
        tx.run("DELETE FROM manifest WHERE digest = :digest", digest=taken)

    await past.registry.database.write(take)
    with pytest.raises(NameUnknown, match="a part of it was purged"):
        await past.restore_repository("a")


async def test_a_collector_that_is_late(past: Past) -> None:
    """After its window it comes back as long as nothing was taken."""
    await past.push_image("a", "image", "v")
    await past.delete_repository("a")
    past.clock.now += 400 * DAY
    assert await past.restore_repository("a") == 1
    await past.collect(400)
    assert len(await list_tags(past)) == 1


async def test_the_list_of_deleted_ones(past: Past) -> None:
    """By name, with all of a name, in pages; those that are there are not in it."""
    for name in ("b", "a", "b", "c"):
        past.clock.now += 1_000
        await past.push_blob(name, make_blob(name))
        if name != "c":
            await past.delete_repository(name)
    found: list[Repository] = []
    while page := await past.registry.repositories.list_deleted(found[-1] if found else None, 1):
        found += page
    assert [each.name.value for each in found] == ["a", "b", "b"]
    assert found[1].deleted_at is not None
    assert found[2].deleted_at is not None
    assert found[1].deleted_at < found[2].deleted_at


async def test_the_log_says_so(past: Past) -> None:
    """One row for making, setting and restoring a repository, none where nothing changed."""
    before = await past.last_change()
    await past.registry.repositories.create(A, SOMEBODY)
    await past.push_image("a", "image", "v")
    await past.set("a", protect="v*", undelete_days="3")
    await past.set("a", undelete_days="3")
    await past.set("a", protect="")
    await past.delete_repository("a")
    await past.restore_repository("a")
    found = [(row[0], row[3]) for row in await past.actions(before) if row[0].startswith("repository.")]
    assert found == [
        ("repository.create", ""),
        ("repository.set", "protect=v* undelete_days=3"),
        ("repository.set", "undelete_days=3"),
        ("repository.delete", ""),
        ("repository.restore", ""),
    ]


async def test_made_without_a_push(past: Past) -> None:
    """It is empty, with its cause; a second one of its name is refused, and a push finds it."""
    await past.registry.repositories.create(A, Actor("bob"))
    repository, totals = await past.registry.repositories.show(A)
    assert (repository.cause, repository.created_by, totals.manifests) == ("explicit", "bob", 0)
    with pytest.raises(Denied, match="there is a repository a already"):
        await past.registry.repositories.create(A, SOMEBODY)
    await past.push_image("a", "image", "v")
    assert (await past.registry.repositories.show(A))[0].id == repository.id


async def test_a_push_of_its_name_meanwhile(past: Past) -> None:
    """Either the push finds the old repository, or it makes a new one, and the old one stays deleted."""
    image = await past.push_image("a", "image", "v")
    for turn in range(8):
        await past.delete_repository("a")
        calls = [past.restore_repository("a"), past.push_blob("a", make_blob(f"blob {turn}"))]
        order = calls if turn % 2 else calls[::-1]
        replies = await asyncio.gather(*order, return_exceptions=True)
        refused = [reply for reply in replies if isinstance(reply, BaseException)]
        tags = await list_tags(past)
        if refused:
            assert isinstance(refused[0], Denied)
            assert tags == {}
            await past.delete_repository("a")
            past.clock.now += 1_000
            await past.push_image("a", "image", "v")
        else:
            assert tags == {"v": str(image.digest)}
        past.clock.now += 1_000
