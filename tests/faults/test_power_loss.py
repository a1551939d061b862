"""The power fails at every named kill point of a push: nothing acknowledged is lost, nothing half-made shows."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.killpoints import KILL_POINTS
from tests.faults.disk import Disk
from tests.faults.tree import Survivors
from tests.faults.wrong_server import WRONG
from tests.kill import running
from tests.kill.scenario import Crash

# Late enough that much is acknowledged; at the first arrival too where a folder or the database itself is new.
KILLS = [(point, 2 if point.startswith("garbage.") else 6, Survivors.NOTHING) for point in KILL_POINTS]
KILLS += [("commit.done", 1, Survivors.NOTHING), ("blob.recorded", 1, Survivors.NOTHING)]
KILLS += [("transaction.applied", 60, Survivors.NOTHING)]
KILLS += [("transaction.committed", at, Survivors.NOTHING) for at in (1, 2, 60)]
KILLS += [
    (point, 6, survivors)
    for point in ("append.written", "commit.synced", "commit.done", "transaction.committed")
    for survivors in (Survivors.NAMES, Survivors.CONTENTS)
]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with Disk(tmp_path) as mounted:
        yield mounted


@pytest.fixture
def crash(disk: Disk, tmp_path: Path) -> Crash:
    return Crash(disk.path / "made" / "by the server", tmp_path)


@pytest.mark.parametrize(("point", "at", "survivors"), KILLS)
def test_a_power_cut_loses_nothing(point: str, at: int, survivors: Survivors, crash: Crash, disk: Disk) -> None:
    """What was acknowledged before the cut survives, whatever else of the unsynced does."""
    crash.push_until_killed(point, at)
    disk.cut_power(survivors)
    assert crash.find_faults(may_lose_sessions=True) == []


@pytest.mark.parametrize("point", ["transaction.applied", "commit.synced", "commit.renamed"])
def test_a_power_cut_after_a_kill_loses_nothing(point: str, crash: Crash, disk: Disk) -> None:
    """What a killed server left unsynced is synced by the next one before it relies on it."""
    for at in (1, 7):
        crash.push_until_killed(point, at)
    crash.push_until_killed("transaction.committed", 60)
    disk.cut_power()
    assert crash.find_faults(may_lose_sessions=True) == []


@pytest.mark.parametrize("forgets", WRONG)
def test_a_wrong_store_is_found_out(forgets: str, crash: Crash, disk: Disk) -> None:
    """A store that forgets to sync files or directories, or commits the row before the sync, fails the test above."""
    running.start(crash.storage, crash.log).stop()
    crash.push_until_killed("transaction.committed", 60, "tests.faults.wrong_server", "--forget", forgets)
    disk.cut_power()
    faults = crash.find_faults(may_lose_sessions=True)
    assert any("blobs" in fault or "BLOB" in fault for fault in faults), faults
