"""Each guard of the collector is needed: without it, and with all the others, a scenario that goes well goes wrong.

A guard is taken away by a setting of a constructor where there is one, else by replacing one named function.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from registry.errors import ManifestBlobUnknown
from registry.garbage import Windows
from registry.leases import Leases
from registry.metadata import garbage
from registry.metadata.database import Transaction
from registry.metadata.judgements import Judgement, Terms, judge_right
from registry.metadata.sqlite import SqliteDatabase
from registry.oci.names import RepositoryName
from storage.digest import Digest
from tests.garbage.turns import Turns
from tests.garbage.yard import DAY, HOUR, SECOND, SETTLE, WINDOWS, HandClock, Yard
from tests.places import only_on
from tests.scenarios.images import make_blob, make_image

pytestmark = pytest.mark.anyio

LAYER = make_blob("layer")
IMAGE, OTHER = make_image(LAYER), make_image(LAYER, annotations={"n": "other"})
AT_ONCE = replace(WINDOWS, undelete_days=0)
with_and_without = pytest.mark.parametrize("is_guarded", [True, False])


async def open_yard(folder: Path, windows: Windows = AT_ONCE) -> Yard:
    return await Yard(folder, HandClock(), windows).open()


async def condemn(yard: Yard) -> None:
    """Bring it about that the collector takes the blob when it looks."""
    await yard.push_blob("a", LAYER)
    await yard.pass_time(25 * HOUR)
    await yard.collect()
    await yard.pass_time(SETTLE)


async def expect(yard: Yard, *, is_guarded: bool) -> None:
    """The blob that was promised is named now, or has gone."""
    if is_guarded:
        await yard.push_manifest("a", IMAGE, "latest")
        await yard.quiesce()
        assert await yard.read_blob("a", LAYER) == LAYER.content
    else:
        with pytest.raises(ManifestBlobUnknown):
            await yard.push_manifest("a", IMAGE, "latest")
    await yard.close()


@with_and_without
async def test_lease_of_a_push(tmp_path: Path, is_guarded: bool) -> None:
    """Without the lease, the blobs of a push go before its manifest comes."""
    yard = await open_yard(tmp_path, AT_ONCE if is_guarded else replace(AT_ONCE, lease=0))
    await yard.push_blob("a", LAYER)
    for _ in range(5):
        await yard.collect()
        await yard.pass_time(SETTLE)
    await expect(yard, is_guarded=is_guarded)


@with_and_without
async def test_lease_of_a_mount(tmp_path: Path, is_guarded: bool) -> None:
    """Without the lease, a mounted blob goes before its manifest comes."""
    yard = await open_yard(tmp_path, AT_ONCE if is_guarded else replace(AT_ONCE, lease=0))
    await yard.push_blob("b", LAYER)
    await yard.push_manifest("b", IMAGE)
    assert await yard.mount("a", LAYER, "b")
    for _ in range(5):
        await yard.collect()
        await yard.pass_time(SETTLE)
    await expect(yard, is_guarded=is_guarded)


@with_and_without
async def test_lease_of_an_existence_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_guarded: bool) -> None:
    """Without the lease, a blob goes that a client was told of a minute ago."""

    async def nothing(_self: Leases, _repository: RepositoryName, _digest: Digest) -> None:
        pass

    if not is_guarded:
        monkeypatch.setattr(Leases, "hold", nothing)
    yard = await open_yard(tmp_path)
    await condemn(yard)
    await yard.head("a", LAYER)
    await yard.collect()
    await expect(yard, is_guarded=is_guarded)


@with_and_without
async def test_time_to_settle(tmp_path: Path, is_guarded: bool) -> None:
    """Without the time between the two looks, a blob goes whose lease was noted and not yet written."""
    yard = await open_yard(tmp_path, AT_ONCE if is_guarded else replace(AT_ONCE, settle=0))
    await yard.push_blob("a", LAYER)
    await yard.push_manifest("a", OTHER)
    await yard.pass_time(2 * DAY)
    await yard.head("a", LAYER)
    await yard.delete_manifest("a", OTHER.digest)
    await yard.collect()
    await yard.pass_time(SECOND)  # the server writes what it has noted
    await yard.pass_time(SETTLE)
    await yard.collect()
    await expect(yard, is_guarded=is_guarded)


@with_and_without
async def test_rest_after_a_crash(tmp_path: Path, is_guarded: bool) -> None:
    """Without the rest, a blob goes whose lease was noted by a server that was killed."""
    windows = AT_ONCE if is_guarded else replace(AT_ONCE, quiet=0)
    yard = await open_yard(tmp_path, windows)
    await yard.push_blob("a", LAYER)
    await yard.push_manifest("a", OTHER)
    await yard.pass_time(2 * DAY)
    await yard.head("a", LAYER)
    await yard.delete_manifest("a", OTHER.digest)
    yard.crash()
    yard = await Yard(tmp_path, yard.clock, windows).open()
    for _ in range(3):
        await yard.collect()
        await yard.pass_time(SETTLE)
    await expect(yard, is_guarded=is_guarded)


@with_and_without
async def test_second_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_guarded: bool) -> None:
    """Without a look in the transaction that removes it, a blob goes that a client was told of since the first look."""
    yard = await open_yard(tmp_path)
    await condemn(yard)
    terms = yard.registry.garbage._terms()
    stale = await yard.registry.database.read(lambda tx: judge_right(tx, 1, str(LAYER.digest), terms))
    await yard.head("a", LAYER)
    if not is_guarded:
        monkeypatch.setattr(garbage, "judge_right", lambda *_: stale)
    await yard.collect()
    await expect(yard, is_guarded=is_guarded)


@only_on("sqlite", "the foreign keys are switched off by its pragma")
@with_and_without
async def test_foreign_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_guarded: bool) -> None:
    """Without the foreign keys, a collector that overlooks a reference takes a blob from a manifest."""
    yard = await open_yard(tmp_path)
    await condemn(yard)
    await yard.push_manifest("a", IMAGE, "latest")
    monkeypatch.setattr(garbage, "judge_right", overlook)
    if not is_guarded:
        writer_of(yard).pragma("foreign_keys", 0)
    collected = await yard.collect()
    if is_guarded:
        assert collected.failed == 1
        assert await yard.read_blob("a", LAYER) == LAYER.content
    else:
        assert collected.blobs == 1
        assert await yard.check() == []  # no row is left that could tell of the loss
    assert await yard.pull("a", "latest") == IMAGE.content
    await yard.close()


def writer_of(yard: Yard) -> apsw.Connection:
    """The connection on which the embedded database writes."""
    assert isinstance(yard.registry.database, SqliteDatabase)
    return yard.registry.database._writer


def overlook(_tx: Transaction, _repository_id: int, _digest: str, terms: Terms) -> Judgement:
    """As one that does not know of some kind of reference."""
    return Judgement("is named by nothing", terms.now)


STATEMENTS = {
    "a right that a manifest needs": "DELETE FROM repository_blob",
    "a blob that a repository has": "DELETE FROM blob",
    "a manifest that a tag points to": "DELETE FROM manifest",
}


@only_on("sqlite", "the foreign keys are switched off by its pragma")
@with_and_without
@pytest.mark.parametrize("sql", STATEMENTS.values(), ids=STATEMENTS)
async def test_each_foreign_key(tmp_path: Path, sql: str, is_guarded: bool) -> None:
    """Without the foreign keys, one wrong statement takes what something needs."""
    yard = await open_yard(tmp_path)
    await yard.push_blob("a", LAYER)
    await yard.push_manifest("a", IMAGE, "latest")
    if is_guarded:
        with pytest.raises(apsw.ConstraintError):
            await yard.registry.database.write(lambda tx: tx.run(sql))
    else:
        writer_of(yard).pragma("foreign_keys", 0)
        await yard.registry.database.write(lambda tx: tx.run(sql))
    await yard.close()


@with_and_without
async def test_key_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_guarded: bool) -> None:
    """Without a key for each upload, the collector takes the bytes that were pushed since it removed the row."""
    turns, key = Turns(), itself("0" * 32)
    yard = await Yard(tmp_path, HandClock(), AT_ONCE, turns.reach).open()
    if not is_guarded:
        monkeypatch.setattr(yard.registry.uploads, "_new_id", key)
    turns.rule(yard.registry, monkeypatch)
    await condemn(yard)
    sweep = await turns.begin(yard.collect())
    await sweep.go_to("garbage.removed")
    await yard.push_blob("a", LAYER)
    await sweep.end()
    if is_guarded:
        assert await yard.read_blob("a", LAYER) == LAYER.content
    else:
        assert len(await yard.check()) == 1
    await yard.close()


def itself(text: str) -> Callable[[], str]:
    return lambda: text


@with_and_without
async def test_window(tmp_path: Path, is_guarded: bool) -> None:
    """Without the window, what was deleted by mistake is gone before anybody has seen the mistake."""
    yard = await open_yard(tmp_path, WINDOWS if is_guarded else AT_ONCE)
    await yard.push_blob("a", LAYER)
    await yard.push_manifest("a", IMAGE, "latest")
    await yard.pass_time(2 * DAY)
    await yard.delete_repository("a")
    await yard.collect()
    assert (len(yard.files()) == 1) == is_guarded
    await yard.close()
