"""Runs beside each other, and runs that were cut off: one of them does the work, once."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from registry.identity import Deed
from registry.metadata import runs
from registry.metadata.runs import Status
from tests.lifecycle.notation import NOW
from tests.lifecycle.stage import NAME, OPERATOR, PUSHER, Stage, protect
from tests.places import open_database

pytestmark = pytest.mark.anyio


class Cut(Exception):
    """The process ends here."""


def cut(behind: int, _total: int) -> None:
    if behind == 20:
        raise Cut


@pytest.mark.parametrize("is_resumed", [True, False])
async def test_run_that_was_cut_off(stage: Stage, is_resumed: bool) -> None:
    """It can be gone on with, and the next run does the rest if nobody does."""
    await stage.push_many(120)
    await stage.set_policy("ANY1 P3")
    await stage.database.write(lambda tx: protect(tx, "", brake_percent="100"))
    with pytest.raises(Cut):
        await stage.runs.run(NAME, OPERATOR, cut)
    run, _ = await stage.runs.show(1)
    assert (run.status, run.tally.done) == (Status.APPLYING, 20)
    if is_resumed:
        run = await stage.runs.apply(1, OPERATOR, stage.advance)
        assert (run.status, run.tally.done) == (Status.APPLIED, 120)
        assert stage.advances[0] == (20, 120)
    else:
        later = await stage.runs.run(NAME, OPERATOR, stage.advance)
        assert later
        assert (later.id, later.tally.done) == (2, 100)
        assert (await stage.runs.show(1))[0].status is Status.SUPERSEDED
    assert await stage.visible() == ([], [])


@pytest.mark.timeout(300)  # seconds: 40,000 statements, each with an answer of its own where there is a server
async def test_plan_that_is_superseded_while_it_is_stored(stage: Stage) -> None:
    """The rest of it is not written, and nothing of it is taken."""
    await stage.push_many(2_600)
    await stage.set_policy("ANY1 P3")
    await stage.database.write(lambda tx: protect(tx, "", brake_percent="100"))

    async def supersede() -> None:
        async with asyncio.timeout(100):
            while not await stage.rows("SELECT id FROM run"):  # noqa: ASYNC110 - another connection has no event
                await asyncio.sleep(0)
        await stage.database.write(lambda tx: runs.supersede(tx, 1, 9, Deed(PUSHER, NOW)))

    run, _ = await asyncio.gather(stage.runs.run(NAME, OPERATOR, stage.advance), supersede())
    assert run
    assert (run.status, run.ended_by, run.tally.done) == (Status.SUPERSEDED, "pusher", 0)
    assert run.tally.total < 2_600


@pytest.mark.fault("F49")
async def test_two_runs_at_once(stage: Stage) -> None:
    """Each image goes once, whoever takes it, and both end."""
    await stage.push_many(300)
    await stage.set_policy("ANY1 P3")
    await stage.database.write(lambda tx: protect(tx, "", brake_percent="100"))
    other = open_database(stage.folder)
    try:
        ended = await asyncio.gather(
            stage.runs.run(NAME, OPERATOR, stage.advance),
            stage.open_runs(other).run(NAME, OPERATOR, stage.advance),
            stage.runs.run(NAME, OPERATOR, stage.advance),
        )
    finally:
        other.close()
    assert Status.APPLIED in {run.status for run in ended if run}
    assert await stage.visible() == ([], [])
    deletes = await stage.rows("SELECT count(*), count(DISTINCT digest) FROM change WHERE action = 'manifest.delete'")
    assert deletes == [(300, 300)]


@pytest.mark.fault("F49")
async def test_run_beside_an_apply(stage: Stage) -> None:
    """What somebody has said is meant goes on, also while the next round finds that the brake would stop the rest."""
    await stage.push_many(60)
    await stage.set_policy("ANY1 P3")
    stopped = await stage.runs.run(NAME, OPERATOR, stage.advance)
    assert stopped
    assert stopped.status is Status.STOPPED

    async def run_elsewhere() -> None:
        other = open_database(stage.folder)
        try:
            await stage.open_runs(other).run(NAME, PUSHER, stage.advance)
        finally:
            other.close()

    def meanwhile(behind: int, _total: int) -> None:
        if behind == 20:
            with ThreadPoolExecutor(1) as thread:
                thread.submit(asyncio.run, run_elsewhere()).result()

    applied = await stage.runs.apply(stopped.id, OPERATOR, meanwhile)
    assert (applied.id, applied.status, applied.tally.done) == (stopped.id, Status.APPLIED, 60)
    assert [run.id for run in await stage.runs.list(NAME, None, 10)] == [stopped.id]
    assert await stage.visible() == ([], [])
