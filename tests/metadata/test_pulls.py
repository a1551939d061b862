"""Pulls that wait for their write: once a minute, in bounds, and not lost when the disk is full."""

import pytest
from structlog.testing import capture_logs

from registry import pulls
from registry.errors import StorageFull
from registry.metadata.database import Database, Transaction
from registry.metadata.sqlite import SqliteDatabase
from registry.pulls import Pulls
from tests.access.clock import SetClock
from tests.metadata.rows import insert_manifest, insert_repository, rows

pytestmark = pytest.mark.anyio

MINUTE = 60_000  # milliseconds


@pytest.fixture
async def manifest_id(database: Database) -> int:
    return await database.write(lambda tx: insert_manifest(tx, insert_repository(tx), "image"))


async def written(database: Database) -> dict[str, int]:
    return dict(await rows(database, "SELECT identity, at FROM pull"))


async def test_callers_of_a_trust_rule_are_one(database: Database, manifest_id: int) -> None:
    """The subject of an id token, which is another for each job, is no part of the identity."""
    noted = Pulls(database, clock := SetClock())
    for job in range(3):
        noted.note(manifest_id, f"trust:github+gitlab/repo:acme/app:{job}")
    await noted.flush()
    assert await written(database) == {"trust:github+gitlab": clock.now}


async def test_the_same_pair_is_written_once_a_minute(database: Database, manifest_id: int) -> None:
    """Until a minute after its last write it waits, with the instant of the latest pull; others do not."""
    noted = Pulls(database, clock := SetClock())
    start = clock.now
    for second in range(0, 120, 10):
        clock.now = start + 1_000 * second
        noted.note(manifest_id, "alice")
        await noted.flush()
        expected = start if second < 60 else start + MINUTE
        assert await written(database) == {"alice": expected}
    noted.note(manifest_id, "bob")
    await noted.flush()
    assert await written(database) == {"alice": start + MINUTE, "bob": clock.now}
    await noted.end()
    assert await written(database) == {"alice": clock.now, "bob": clock.now}


async def test_a_clock_that_was_set_back_stops_nothing(database: Database, manifest_id: int) -> None:
    """The minute is not waited for until the clock has caught up; the latest instant in the table stays."""
    noted = Pulls(database, clock := SetClock())
    latest = clock.now
    noted.note(manifest_id, "alice")
    await noted.flush()
    clock.now -= 60 * MINUTE
    noted.note(manifest_id, "alice")
    noted.note(manifest_id, "bob")
    await noted.flush()
    assert await written(database) == {"alice": latest, "bob": clock.now}
    clock.now = latest + 1
    noted.note(manifest_id, "alice")
    await noted.flush()
    assert (await written(database))["alice"] == latest + 1


async def test_a_manifest_that_was_removed_has_no_pulls(database: Database, manifest_id: int) -> None:
    """Its pull is no error and does not hold up the others; those that were written go with it."""
    noted = Pulls(database, clock := SetClock())
    other = await database.write(lambda tx: insert_manifest(tx, insert_repository(tx, "b"), "other"))
    for each in (other, manifest_id):
        noted.note(each, "alice")
    await noted.flush()

    def remove(tx: Transaction) -> None:
        tx.run("DELETE FROM reference WHERE manifest_id = :id", id=other)
        tx.run("DELETE FROM manifest WHERE id = :id", id=other)

    await database.write(remove)
    clock.now += MINUTE
    for each in (other, manifest_id):
        noted.note(each, "alice")
    await noted.flush()
    assert await rows(database, "SELECT manifest_id, at FROM pull") == [(manifest_id, clock.now)]


async def test_a_full_disk_only_delays(embedded: SqliteDatabase) -> None:
    """What could not be written is written when there is room, the latest instant of each pair."""
    manifest_id = await embedded.write(lambda tx: insert_manifest(tx, insert_repository(tx), "image"))
    noted = Pulls(embedded, clock := SetClock())
    noted.note(manifest_id, "x" * 100_000)
    pages = (await rows(embedded, "PRAGMA page_count"))[0][0]
    await embedded.write(lambda tx: tx.run(f"PRAGMA max_page_count = {pages}"))
    with pytest.raises(StorageFull):
        await noted.flush()
    clock.now += 1
    for name in ("alice", "x" * 100_000):
        noted.note(manifest_id, name)
    with pytest.raises(StorageFull):
        await noted.end()
    assert await written(embedded) == {}
    await embedded.write(lambda tx: tx.run("PRAGMA max_page_count = 1000000"))
    await noted.flush()
    assert await written(embedded) == {"alice": clock.now, "x" * 100_000: clock.now}


async def test_too_many_are_counted(database: Database, manifest_id: int) -> None:
    """Beyond ten thousand waiting pairs the further ones are only counted, and the log says how many."""
    noted = Pulls(database, SetClock())
    for number in range(pulls._MOST_WAITING + 7):
        noted.note(manifest_id, f"user-{number}")
    noted.note(manifest_id, "user-0")
    with capture_logs() as entries:
        await noted.flush()
        await noted.flush()
    assert len(await written(database)) == pulls._MOST_WAITING
    assert [(entry["event"], entry["times"]) for entry in entries] == [("pulls dropped", 7)]


async def test_many_waiting_are_written_early(database: Database, manifest_id: int) -> None:
    """Pairs that wait for their minute never leave a new one without room."""
    noted = Pulls(database, clock := SetClock())
    names = [f"user-{number}" for number in range(pulls._MANY_WAITING + 1)]
    for _ in range(2):
        clock.now += 1
        for name in names:
            noted.note(manifest_id, name)
        await noted.flush()
    assert set((await written(database)).values()) == {clock.now}


async def test_what_is_remembered_is_bounded(database: Database, manifest_id: int) -> None:
    """Of pairs that were written within the minute only so many are known; the oldest are written again sooner."""
    noted = Pulls(database, clock := SetClock())
    noted.note(manifest_id, "first")
    for number in range(pulls._MOST_REMEMBERED):
        noted.note(manifest_id, f"user-{number}")
        if number % pulls._MOST_WAITING == pulls._MANY_WAITING:
            await noted.flush()
    await noted.flush()
    clock.now += 1
    for name in ("first", f"user-{pulls._MOST_REMEMBERED - 1}"):
        noted.note(manifest_id, name)
    await noted.flush()
    found = await written(database)
    assert found["first"] == clock.now
    assert found[f"user-{pulls._MOST_REMEMBERED - 1}"] == clock.now - 1
