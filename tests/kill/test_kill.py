"""`kill -9` at every named kill point, then a restart: nothing acknowledged is lost, nothing half-made shows."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from registry.killpoints import KILL_POINTS
from tests.kill.scenario import Crash
from tests.places import only_on

STEPS_OF_FILES = {"commit.synced", "folder.made", "commit.renamed"}
# Where a crash hits different kinds of requests, it comes at several arrivals. A transaction is everywhere: at the
# migration of the first start, the opening of a session, a claim, and in groups of several pushers' transactions.
ARRIVALS = {
    "commit.synced": (1, 8),
    "commit.renamed": (2, 9),
    "commit.done": (3, 10),
    "blob.recorded": (1, 12),
    "garbage.removed": (1, 2),
    "garbage.discarded": (1, 2),
    "transaction.applied": (1, 2, 40, 90),
    "transaction.committed": (1, 3, 40, 90),
}

pytestmark = pytest.mark.timeout(300)  # seconds: a dozen programs start, one after the other
_OF_FILES = only_on("files", "a step of its own commit")
POINTS = [pytest.param(point, marks=[_OF_FILES] if point in STEPS_OF_FILES else []) for point in KILL_POINTS]


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_loses_nothing(point: str, tmp_path: Path) -> None:
    """After a kill at this point every acknowledged object is there, no half one is, and the push can be repeated."""

    def kill(at: int) -> list[str]:
        folder = tmp_path / str(at)
        folder.mkdir()
        crash = Crash(folder / "registry", folder)
        crash.push_until_killed(point, at)
        return crash.find_faults()

    with ThreadPoolExecutor(2) as threads:
        for faults in threads.map(kill, ARRIVALS.get(point, (4,))):
            assert faults == []


def test_kill_after_kill_loses_nothing(tmp_path: Path) -> None:
    """A server that is killed again and again, each time on what the last one left, loses nothing either."""
    crash = Crash(tmp_path / "registry", tmp_path)
    for point, at in (("commit.done", 3), ("transaction.applied", 50), ("append.written", 9), ("blob.recorded", 2)):
        crash.push_until_killed(point, at)
    assert crash.find_faults() == []
