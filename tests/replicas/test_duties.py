"""What only one server does at a time: it is taken over from one that is silent, whose late write is then refused."""

import contextlib
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from registry.app import Registry
from registry.garbage import Windows
from registry.identity import milliseconds_now
from registry.metadata import duties, replicas, schema
from registry.metadata.database import Database
from registry.metadata.duties import DutyLost
from registry.metadata.replicas import Replica
from registry.metadata.schema import Outdated
from registry.stores import open_database
from storage.killpoints import pass_by
from tests.kill.running import RunningServer
from tests.metadata.test_versions import NEEDS_STOP, make_later
from tests.places import EMBEDDED, Place, make_config
from tests.replicas.cluster import Cluster, call, running_cluster, shared_place
from tests.replicas.server import TERM
from tests.scenarios.client import Client
from tests.scenarios.images import make_blob
from tests.stored import read_rows
from tests.waiting import wait_until

pytestmark = pytest.mark.anyio

LONG, SHORT = 60_000, 50  # milliseconds
WINDOWS = Windows(undelete_days=0, lease=0, settle=0, quiet=LONG, term=SHORT)
DUTY = "collector"


@pytest.fixture(params=[EMBEDDED, Place("postgresql")], ids=str)
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    place: Place = request.param
    opened = open_database(make_config(tmp_path, place), milliseconds_now, pass_by)
    await opened.write(schema.migrate)
    await opened.write(lambda tx: schema.get_or_make_instance(tx, "instance", "123456789012", 0))
    yield opened
    opened.close()


@pytest.mark.fault("F49")
async def test_a_duty_has_one_holder(database: Database) -> None:
    """Whoever has it keeps it by taking it again; nobody else gets it before its term is over."""
    assert await database.write(lambda tx: duties.take(tx, DUTY, "a", LONG))
    assert not await database.write(lambda tx: duties.take(tx, DUTY, "b", LONG))
    assert await database.write(lambda tx: duties.take(tx, DUTY, "a", LONG))
    await database.read(lambda tx: duties.require(tx, DUTY, "a"))
    with pytest.raises(DutyLost):
        await database.read(lambda tx: duties.require(tx, DUTY, "b"))


async def test_a_released_duty_is_free(database: Database) -> None:
    """At once; and nobody releases what is another's."""
    await database.write(lambda tx: duties.take(tx, DUTY, "a", LONG))
    await database.write(lambda tx: duties.release_all(tx, "b", [DUTY]))
    assert not await database.write(lambda tx: duties.take(tx, DUTY, "b", LONG))
    await database.write(lambda tx: duties.release_all(tx, "a", [DUTY]))
    assert await database.write(lambda tx: duties.take(tx, DUTY, "b", LONG))


async def test_a_term_that_is_over_is_nobodys(database: Database) -> None:
    """Also while nobody else has taken the duty; each other holder begins another term."""
    await database.write(lambda tx: duties.take(tx, DUTY, "a", -1))
    with pytest.raises(DutyLost):
        await database.read(lambda tx: duties.require(tx, DUTY, "a"))
    assert await database.write(lambda tx: duties.take(tx, DUTY, "b", LONG))
    with pytest.raises(DutyLost):
        await database.read(lambda tx: duties.require(tx, DUTY, "a"))
    assert await database.read(lambda tx: tx.only("SELECT holder, term FROM duty WHERE name = :name", name=DUTY)) == (
        "b",
        2,
    )


async def test_a_term_of_a_clock_that_was_ahead_is_over(database: Database) -> None:
    """Once the clock is set back, who died while it was ahead does not keep the duty until then."""
    await database.write(lambda tx: duties.take(tx, DUTY, "a", 40 * 24 * 3_600_000))
    assert await database.write(lambda tx: duties.take(tx, DUTY, "b", LONG))


async def test_the_silent_are_buried_once(database: Database) -> None:
    """Who was seen lately lives; who was not is forgotten by one of the others, who is told of it."""
    await database.write(lambda tx: replicas.beat(tx, Replica("a", "host:1", "1")))
    await database.write(
        lambda tx: tx.run("INSERT INTO replica VALUES ('b', 'host:2', '1', 1, :seen_at)", seen_at=tx.now() - LONG)
    )
    assert await database.read(lambda tx: replicas.is_any_silent(tx, LONG // 2))
    assert [each.id for each in await database.read(lambda tx: replicas.list_live(tx, LONG // 2))] == ["a"]
    assert [each.address for each in await database.write(lambda tx: replicas.bury(tx, LONG // 2))] == ["host:2"]
    assert await database.write(lambda tx: replicas.bury(tx, LONG // 2)) == []
    assert not await database.read(lambda tx: replicas.is_any_silent(tx, LONG // 2))
    assert not await database.write(lambda tx: replicas.beat(tx, Replica("b", "host:2", "1")))


@contextlib.asynccontextmanager
async def opened(folder: Path, windows: Windows = WINDOWS) -> AsyncIterator[Registry]:
    """A server's rules without its front door; several can be open in one folder."""
    registry = Registry(make_config(folder, shared_place()), windows=windows)
    try:
        await registry.start()
        await registry.replicas.start()
        yield registry
    finally:
        registry.close()


@pytest.mark.fault("F47")
async def test_a_late_collector_removes_nothing(tmp_path: Path) -> None:
    """Its duty is another's by now, so its transaction fails as a whole; the other one's does what is due."""
    async with opened(tmp_path) as frozen, opened(tmp_path, replace(WINDOWS, term=LONG)) as awake:
        await Client(frozen).push_blob("acme/app", make_blob("garbage"))
        assert await frozen.replicas.hold(DUTY)
        wait_until(lambda: read_rows(frozen.config, "SELECT until FROM duty")[0][0] < milliseconds_now(), "the end")
        assert await awake.replicas.hold(DUTY)
        with pytest.raises(DutyLost):
            await frozen.garbage.step(ignores_rest=True, fence=frozen.replicas.fence(DUTY))
        assert len(read_rows(frozen.config, "SELECT 1 FROM repository_blob")) == 1
        while not (await awake.garbage.step(ignores_rest=True, fence=awake.replicas.fence(DUTY))).is_idle:
            pass
        assert read_rows(frozen.config, "SELECT 1 FROM repository_blob") == []


@pytest.mark.fault("F47")
async def test_nothing_is_collected_while_one_is_silent(tmp_path: Path) -> None:
    """What it has noted and not written is perhaps lost: the collector rests, and for a while after its burial."""
    async with opened(tmp_path) as silent, opened(tmp_path) as awake:
        await Client(awake).push_blob("acme/app", make_blob("leased"))
        seen = "SELECT min(seen_at) FROM replica"
        wait_until(lambda: read_rows(silent.config, seen)[0][0] < milliseconds_now() - SHORT, "one is silent")
        assert (await awake.garbage.step()).rests_until is not None
        await awake.replicas.beat()
        assert len(read_rows(silent.config, "SELECT 1 FROM replica")) == 1
        assert (await awake.garbage.step()).rests_until is not None
        assert len(read_rows(silent.config, "SELECT 1 FROM repository_blob")) == 1


@pytest.mark.fault("F47", "F50")
async def test_who_sleeps_through_a_change_of_the_schema_stays_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not counted among the living, loses its duties, serves nothing and cannot start again, till all is back."""
    async with opened(tmp_path) as asleep, opened(tmp_path) as ending:
        await Client(asleep).push_blob("acme/app", make_blob("blob"))
        assert await asleep.replicas.hold(DUTY)
        beat = next(each.work for each in asleep.list_duties() if each.name == "replicas")
        lives = "SELECT seen_at FROM replica WHERE id = ?"
        before = read_rows(asleep.config, lives, asleep.replicas._own.id)
        with monkeypatch.context() as later:
            number = make_later(later, NEEDS_STOP)
            wait_until(
                lambda: read_rows(asleep.config, "SELECT max(seen_at) FROM replica")[0][0] < milliseconds_now() - SHORT,
                "silence",
            )
            await asleep.database.write(partial(schema.migrate, term=SHORT))
        assert await Client(asleep).read_blob("acme/app", make_blob("blob"))
        for work in (beat, partial(asleep.replicas.hold, DUTY), partial(asleep.replicas.hold, "scrub")):
            with pytest.raises(Outdated, match=f"schema {number}"):
                await work()
        with pytest.raises(Outdated):
            await Client(asleep).read_blob("acme/app", make_blob("blob"))
        with pytest.raises(Outdated):
            await asleep.check.count()
        for work in (ending.replicas.start, ending.replicas.end):
            with pytest.raises(Outdated):
                await work()
        assert read_rows(asleep.config, lives, asleep.replicas._own.id) == before
        await asleep.database.write(lambda tx: tx.run("DELETE FROM migration WHERE number = :number", number=number))
        await beat()
        assert await Client(asleep).read_blob("acme/app", make_blob("blob"))


def find_holder(cluster: Cluster) -> RunningServer | None:
    """The server that has the collector's duty."""
    config = make_config(cluster.folder / "registry", shared_place())
    rows = read_rows(config, "SELECT address FROM duty JOIN replica ON id = holder WHERE name = ?", DUTY)
    return next((server for server in cluster.servers if rows and rows[0][0].endswith(f":{server.port}")), None)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Cluster]:
    with running_cluster(tmp_path, 2) as cluster:
        yield cluster


@pytest.mark.fault("F47")
def test_a_frozen_server_loses_its_duty(pair: Cluster) -> None:
    """Another one takes it over; the first finds that when it goes on, and serves as before."""
    wait_until(lambda: find_holder(pair) is not None, "one has the duty")
    frozen = find_holder(pair)
    assert frozen
    frozen.program.send_signal(signal.SIGSTOP)
    wait_until(lambda: find_holder(pair) not in (None, frozen), "another one has it")
    frozen.program.send_signal(signal.SIGCONT)
    wait_until(lambda: "taken for dead" in frozen.log.read_text(), "it is told")
    wait_until(lambda: "duty lost" in frozen.log.read_text(), "it has lost the duty")
    assert find_holder(pair) not in (None, frozen)
    assert [call(port, "GET", "/readyz").status for port in pair.ports] == [200, 200]


def test_a_server_that_ends_leaves_its_duty(pair: Cluster) -> None:
    """At once, without the others' having to wait for the end of a term, or for what it had noted."""
    wait_until(lambda: find_holder(pair) is not None, "one has the duty")
    ending = find_holder(pair)
    assert ending
    ending.stop()
    wait_until(lambda: find_holder(pair) not in (None, ending), "another one has it", TERM / 1000 + 10)
    assert all("without a word" not in server.log.read_text() for server in pair.servers)
