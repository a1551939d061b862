"""The collector waits for whoever reads the blobs of a snapshot."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from registry.app import Registry
from registry.garbage import Windows
from registry.metadata import holds
from registry.moving.holding import Holding
from tests import places
from tests.cli.content import SteppingClock
from tests.scenarios.client import Client
from tests.scenarios.images import make_blob

pytestmark = pytest.mark.anyio
NO_WINDOWS = Windows(undelete_days=0, lease=0, settle=0, quiet=0)


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    """With a blob that is garbage now."""
    opened = Registry(places.make_config(tmp_path), clock=SteppingClock(), windows=NO_WINDOWS)
    await opened.start()
    await Client(opened).push_blob("demo/app", make_blob("garbage"))
    yield opened
    opened.close()


async def test_nothing_goes_while_it_is_held(registry: Registry) -> None:
    """Two hold: the collector goes on when the second one ends."""
    holding = Holding(registry.database)
    async with holding.held():
        async with holding.held():
            assert (await registry.garbage.step(ignores_rest=True)).held_until
        assert (await registry.garbage.step(ignores_rest=True)).held_until
        assert await registry.check.count() == 1
    while not (await registry.garbage.step()).is_idle:
        pass
    assert await registry.check.count() == 0


async def test_a_step_that_has_begun_removes_nothing(registry: Registry) -> None:
    """A step found no hold, a backup begins and reads the rows: the step's transaction looks again."""
    refuse = partial(registry.garbage._refuse_step, fence=None, ignores_rest=True)
    async with Holding(registry.database).held():
        assert (await registry.garbage._review(refuse)).is_idle
        assert await registry.check.count() == 1


@places.only_on("sqlite", "of a database with the test's own clock")
async def test_a_killed_one_lets_go(registry: Registry) -> None:
    """A hold that nobody extends ends by itself."""
    await registry.database.write(lambda tx: holds.take(tx, "killed", 1))
    clock = registry.clock
    assert isinstance(clock, SteppingClock)
    assert (await registry.garbage.step()).held_until == clock.now + 1
    clock.now += 1
    assert (await registry.garbage.step()).held_until is None
