"""Tags as history: what they point to, what they pointed to, and what a list of them shows."""

import asyncio
import threading
from functools import partial

import pytest

from registry.errors import Denied
from registry.lifecycle.settings import RepositorySettings
from registry.metadata import manifests, repositories, settings, tags
from registry.metadata.database import Database, Transaction
from registry.metadata.tags import TagRow
from registry.oci.names import RepositoryName, Tag
from tests.metadata.held_writer import WAIT
from tests.metadata.rows import at, insert_manifest, insert_repository, rows

pytestmark = pytest.mark.anyio

NAME, LATEST = RepositoryName("a"), Tag("latest")


def prepare(tx: Transaction) -> None:
    """Repository 1 with the manifests 1, 2 and 3."""
    insert_repository(tx)
    for note in ("one", "two", "three"):
        insert_manifest(tx, 1, note)


def set_latest(tx: Transaction, manifest_id: int, instant: int) -> None:
    tags.set_tag(tx, 1, LATEST, f"digest {manifest_id}", manifest_id, at(instant))


async def read_history(database: Database, tag: Tag = LATEST, limit: int = 100) -> list[tuple[str, int, int | None]]:
    found = await database.read(lambda tx: tags.list_history(tx, 1, tag, limit))
    return [(row.digest, row.valid_from, row.valid_to) for row in found]


async def test_history_of_a_tag(database: Database) -> None:
    """Each move closes one row and opens the next at the same instant; the latest comes first."""

    def work(tx: Transaction) -> None:
        prepare(tx)
        for instant, manifest_id in ((10, 1), (20, 2), (30, 1), (40, 3)):
            set_latest(tx, manifest_id, instant)

    await database.write(work)
    expected = [("digest 3", 40, None), ("digest 1", 30, 40), ("digest 2", 20, 30), ("digest 1", 10, 20)]
    assert await read_history(database) == expected
    assert await read_history(database, limit=2) == expected[:2]
    assert await read_history(database, Tag("other")) == []


async def test_same_manifest_again_is_no_move(database: Database) -> None:
    """A tag that is set to what it points to already keeps its row."""

    def work(tx: Transaction) -> None:
        prepare(tx)
        for instant in (10, 20, 30):
            set_latest(tx, 1, instant)

    await database.write(work)
    assert await read_history(database) == [("digest 1", 10, None)]


async def test_deleted_tag_can_be_set_again(database: Database) -> None:
    """Between its delete and the next set a tag points to nothing; a second delete finds none."""

    def work(tx: Transaction) -> list[bool]:
        prepare(tx)
        set_latest(tx, 1, 10)
        deleted = [tags.delete(tx, 1, LATEST, at(20)), tags.delete(tx, 1, LATEST, at(25))]
        assert manifests.find(tx, NAME, LATEST) is None
        set_latest(tx, 1, 30)
        return deleted

    assert await database.write(work) == [True, False]
    assert await read_history(database) == [("digest 1", 30, None), ("digest 1", 10, 20)]


async def test_deleted_manifest_closes_its_tags(database: Database) -> None:
    """All tags of a deleted manifest end with it; other tags stay."""

    def work(tx: Transaction) -> None:
        prepare(tx)
        for name, manifest_id in (("a", 1), ("b", 1), ("c", 2)):
            tags.set_tag(tx, 1, Tag(name), f"digest {manifest_id}", manifest_id, at(10))
        tagged = manifests.find(tx, NAME, Tag("a"))
        assert tagged is not None
        manifests.mark_deleted(tx, 1, tagged, at(20))

    await database.write(work)
    assert await database.read(lambda tx: tags.list_names(tx, 1, "", 10)) == ["c"]
    assert await read_history(database, Tag("a")) == [("digest 1", 10, 20)]
    assert await read_history(database, Tag("b")) == [("digest 1", 10, 20)]


async def test_lists_are_pages_of_current_tags(database: Database) -> None:
    """Current tags, in byte order, after the last one, as many as asked for; both lists agree."""

    def work(tx: Transaction) -> None:
        prepare(tx)
        for name in ("b", "a", "B", "_", "a-1", "a.1", "10", "9", "gone"):
            tags.set_tag(tx, 1, Tag(name), "digest 2", 2, at(10))
        tags.delete(tx, 1, Tag("gone"), at(20))

    await database.write(work)
    in_order = ["10", "9", "B", "_", "a", "a-1", "a.1", "b"]
    for after in ("", "9", "a", "a-", "a-1", "zzz"):
        for limit in (0, 1, 3, 100):
            expected = [name for name in in_order if name > after][:limit]
            names = partial(tags.list_names, repository_id=1, after=after, limit=limit)
            assert await database.read(names) == expected
            current = await database.read(partial(tags.list_current, repository_id=1, after=after, limit=limit))
            assert current == [(name, TagRow("digest 2", 10, None, "tester")) for name in expected]


async def test_deleted_repository_has_no_tags(database: Database) -> None:
    """With the repository its tags end, and a new one of its name does not have them."""

    def delete(tx: Transaction) -> None:
        prepare(tx)
        set_latest(tx, 1, 10)
        repository = repositories.find(tx, NAME)
        assert repository is not None
        repositories.mark_deleted(tx, repository, at(20))

    await database.write(delete)
    assert await database.read(lambda tx: tags.list_current(tx, 1, "", 10)) == []
    assert await rows(database, "SELECT valid_to, manifest_id FROM tag") == [(20, None)]
    await database.write(insert_repository)
    assert await database.read(lambda tx: manifests.find(tx, NAME, LATEST)) is None
    assert await read_history(database) == [("digest 1", 10, 20)]


async def test_no_move_comes_after_the_setting_that_forbids_it(database: Database) -> None:
    """A write that was still allowed to move the tag ends before the setting is made, and is not seen after it."""
    immutable = RepositorySettings().changed({"immutability": "immutable"})
    began, may_end = threading.Event(), threading.Event()

    def move(tx: Transaction) -> None:
        settings.refuse_move(tx, 1, LATEST.value)
        began.set()
        assert may_end.wait(WAIT)
        set_latest(tx, 1, 10)

    await database.write(prepare)
    moving = asyncio.ensure_future(database.write(move))
    assert await asyncio.to_thread(began.wait, WAIT)
    setting = asyncio.ensure_future(database.write(lambda tx: settings.put(tx, 1, immutable, at(20))))
    done, _ = await asyncio.wait([setting], timeout=0.5)  # seconds: it would take some milliseconds
    assert not done
    may_end.set()
    await setting
    await moving
    with pytest.raises(Denied):
        await database.write(move)
