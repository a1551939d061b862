"""Runs that are undone while they go on, one operation at a time."""

import pytest

from registry.metadata.runs import Status
from registry.oci.names import RepositoryName
from tests.garbage.conftest import Stage
from tests.garbage.races import IMAGE, expect_whole, push_image
from tests.garbage.yard import DAY
from tests.lifecycle.stage import policy_text
from tests.scenarios.client import SOMEBODY

pytestmark = pytest.mark.anyio

A = RepositoryName("a")


@pytest.mark.parametrize("further", [0, 1], ids=["before it has looked for more", "before its end"])
async def test_run_that_is_undone_stays_so(stage: Stage, further: int) -> None:
    """Also when its last step was taken, and only its end was still to be written."""
    await push_image(stage.yard, tag="v1")
    await stage.yard.pass_time(9 * DAY)
    runs = stage.yard.registry.runs
    await stage.yard.registry.policies.set(A, policy_text("ANY1 P3"), SOMEBODY)
    side = await stage.turns.begin(runs.run(A, SOMEBODY, lambda _behind, _total: None))
    while not stage.yard.rows("SELECT 1 FROM run_step WHERE outcome = 'done'"):
        await side.advance()
    for _ in range(further):
        await side.advance()
    assert not side.is_over
    undone = await runs.undo(1, SOMEBODY, lambda _behind, _total: None)
    assert len(undone.restored) == 1
    run = await side.end()
    assert run
    assert (run.status, run.tally.undone) == (Status.UNDONE, 1)
    assert await stage.yard.pull("a", "v1") == IMAGE.content
    await expect_whole(stage.yard)
