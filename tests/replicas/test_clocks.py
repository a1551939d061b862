"""Clocks that leap, and changes whose numbers come late: nothing is removed, and nothing is left out."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from registry.app import Registry
from registry.audit import Audit
from registry.identity import Actor, Deed
from registry.metadata import changes
from registry.metadata.changes import AccessEvent
from registry.replicas import ClockLeapt
from tests.garbage.yard import DAY, HOUR, SECOND, WINDOWS, HandClock
from tests.places import EMBEDDED, Place, make_config
from tests.scenarios.client import Client
from tests.scenarios.images import make_blob
from tests.stored import read_rows

pytestmark = pytest.mark.anyio

AT_ONCE = replace(WINDOWS, undelete_days=0, lease=0, settle=0)
DUTY = "collector"


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture(params=[EMBEDDED, Place("postgresql")], ids=str)
async def registry(request: pytest.FixtureRequest, tmp_path: Path, clock: HandClock) -> AsyncIterator[Registry]:
    opened = Registry(make_config(tmp_path, request.param), clock=clock, windows=AT_ONCE)
    await opened.start()
    await opened.replicas.start()
    await opened.garbage.begin_serving()
    assert await opened.replicas.hold(DUTY)
    yield opened
    opened.close()


def count_blobs(registry: Registry) -> int:
    return len(read_rows(registry.config, "SELECT 1 FROM repository_blob"))


async def collect(registry: Registry) -> int:
    """Take the server's steps. Returns how many blobs are left."""
    while not (step := await registry.garbage.step(fence=registry.replicas.fence(DUTY))).is_idle:
        assert step.failed == 0
    return count_blobs(registry)


@pytest.mark.parametrize("leap", [2 * DAY, 40 * DAY, -2 * DAY, -10_000 * DAY])
async def test_nothing_is_removed_by_a_clock_that_has_leapt(registry: Registry, clock: HandClock, leap: int) -> None:
    """Not before it was seen, nor for a while after that: then it is taken for right."""
    await Client(registry).push_blob("acme/app", make_blob("garbage"))
    clock.now += leap
    if leap > 0:  # else it is not due
        with pytest.raises(ClockLeapt):
            await registry.garbage.step(fence=registry.replicas.fence(DUTY))
    await registry.replicas.beat()
    assert await registry.replicas.find_rest() == AT_ONCE.quiet / SECOND
    assert await collect(registry) == 1
    clock.now += AT_ONCE.quiet + DAY // 2 * (leap < 0)
    assert await registry.replicas.find_rest() == 0
    clock.now += max(0, -leap)
    await registry.replicas.beat()
    clock.now += AT_ONCE.quiet
    assert await collect(registry) == 0


async def test_a_clock_that_goes_is_not_one_that_leaps(registry: Registry, clock: HandClock) -> None:
    """However long a server runs."""
    await Client(registry).push_blob("acme/app", make_blob("garbage"))
    for _ in range(80):
        clock.now += HOUR
        await registry.replicas.beat()
    assert await registry.replicas.find_rest() == 0
    assert await collect(registry) == 0


async def test_a_late_number_is_shown_in_its_place(registry: Registry, clock: HandClock) -> None:
    """A change that has a number and is not to be seen yet holds up those behind it, for some seconds."""
    audit = Audit(registry.database, clock)
    await audit.start()
    for detail in ("first", "late", "last"):
        event = AccessEvent(Deed(Actor("somebody"), clock.now), "access.deny", detail=detail)
        await registry.database.write(lambda tx, event=event: changes.append_event(tx, event))  # type: ignore[misc]
    taken = "UPDATE change SET sequence = sequence + :by WHERE detail = 'late'"
    await registry.database.write(lambda tx: tx.run(taken, by=1_000))
    with structlog.testing.capture_logs() as lines:
        await audit.flush()
        shown = [line["detail"] for line in lines]
        await registry.database.write(lambda tx: tx.run(taken, by=-1_000))
        await audit.flush()
        clock.now += 11 * SECOND
        await audit.flush()
    if registry.database.is_shared:
        assert shown == ["first"]
        assert [line["detail"] for line in lines] == ["first", "late", "last"]
    else:  # where numbers come in the order of their commits
        assert shown == ["first", "last", "late"]


async def test_only_one_of_several_shows_the_changes(registry: Registry, clock: HandClock) -> None:
    """Another one that takes over shows the last minute's again rather than leave any out."""
    is_ours = False

    async def shows() -> bool:
        return is_ours

    audit = Audit(registry.database, clock, shows)
    await audit.start()
    with structlog.testing.capture_logs() as lines:
        for number in range(3):
            event = AccessEvent(Deed(Actor("somebody"), clock.now), "access.deny", detail=str(number))
            audit.note(event)
            await audit.flush()
            clock.now += 50 * SECOND
        await audit.flush()
        assert lines == []
        is_ours = True
        await audit.flush()
    assert [line["detail"] for line in lines] == ["2"]
