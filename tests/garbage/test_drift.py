"""The auditor: what the review queue has lost is found again, and nothing else; checked against a naive sweep."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.errors import RegistryError
from registry.metadata.database import Transaction
from storage.blobstore import UploadState
from storage.digest import Digest
from tests.garbage.content import BLOBS, MANIFESTS
from tests.garbage.oracle import named_by
from tests.garbage.sweep import find_forgotten, read_rows, sweep
from tests.garbage.yard import DAY, HOUR, HandClock, Yard
from tests.places import examples
from tests.scenarios.client import Client, pieces
from tests.scenarios.images import Content, make_blob, make_image, make_index

pytestmark = pytest.mark.anyio

PAGE = 200
BLOB, CONFIG = make_blob("blob"), make_blob("config")
IMAGE = make_image(CONFIG, [BLOB])
INDEX = make_index([IMAGE])


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def yard(tmp_path: Path, clock: HandClock) -> AsyncIterator[Yard]:
    opened = await Yard(tmp_path, clock).open()
    yield opened
    await opened.close()


async def audit(yard: Yard) -> list[str]:
    """One round, from its beginning to its end."""
    drift = yard.registry.drift
    rounds, told = drift.rounds, list[str]()
    while drift.rounds == rounds:
        told += await drift.step()
    return told


async def lose_reviews(yard: Yard, condition: str = "1 = 1") -> None:
    def work(tx: Transaction) -> None:
        tx.run(f"DELETE FROM review WHERE {condition}")

    await yard.registry.database.write(work)


def queue(yard: Yard) -> set[tuple[str, str]]:
    return set(yard.rows("SELECT kind, key FROM review"))


async def push_image(yard: Yard, name: str, tag: str = "1") -> None:
    for blob in (BLOB, CONFIG):
        await yard.push_blob(name, blob)
    await yard.push_manifest(name, IMAGE, tag)


async def delete_repository(yard: Yard) -> set[tuple[str, str]]:
    await push_image(yard, "a")
    await yard.delete_repository("a")
    return {("repository", "1")}


async def delete_manifest(yard: Yard) -> set[tuple[str, str]]:
    await push_image(yard, "a")
    await yard.delete_manifest("a", IMAGE.digest)
    return {("manifest", "1")}


async def delete_index(yard: Yard) -> set[tuple[str, str]]:
    """Its child, deleted as well, waits for the end of the index."""
    await push_image(yard, "a")
    await yard.push_manifest("a", INDEX, "2")
    await yard.delete_manifest("a", INDEX.digest)
    await yard.delete_manifest("a", IMAGE.digest)
    return {("manifest", "2")}


async def forget_blob(yard: Yard) -> set[tuple[str, str]]:
    await yard.push_blob("a", BLOB)
    return {("right", f"1:{BLOB.digest}")}


async def delete_blob(yard: Yard) -> set[tuple[str, str]]:
    await yard.push_blob("a", BLOB)
    await yard.push_blob("b", BLOB)
    await yard.delete_blob("b", BLOB)
    return {("right", f"1:{BLOB.digest}"), ("right", f"2:{BLOB.digest}")}


async def lose_right(yard: Yard) -> set[tuple[str, str]]:
    await yard.push_blob("a", BLOB)
    await yard.registry.database.write(lambda tx: tx.run("DELETE FROM repository_blob"))
    return {("blob", str(BLOB.digest))}


async def leave_upload(yard: Yard) -> set[tuple[str, str]]:
    await yard.start("a")
    return {("upload", yard.rows("SELECT storage_key FROM upload")[0][0])}


GARBAGE = [delete_repository, delete_manifest, delete_index, forget_blob, delete_blob, lose_right, leave_upload]


@pytest.mark.parametrize("leave", GARBAGE)
async def test_lost_reviews_are_found(
    yard: Yard, clock: HandClock, leave: Callable[[Yard], Coroutine[Any, Any, set[tuple[str, str]]]]
) -> None:
    """Garbage of each kind whose review was lost is told and queued, once; then the collector leaves nothing of it."""
    expected = await leave(yard)
    clock.now += 30 * DAY
    await lose_reviews(yard)
    told = await audit(yard)
    assert {tuple(one.split(": ")[0].split(" ")) for one in told} == expected
    assert set(yard.rows("SELECT kind, key, due_at, cause FROM review")) == {
        (*one, clock.now, "drift") for one in expected
    }
    assert yard.registry.drift.found == len(expected)
    assert await audit(yard) == []
    await yard.quiesce()
    assert yard.files().keys() == {row[0] for row in yard.rows("SELECT storage_key FROM blob")}
    assert sweep(read_rows(yard)) == set()


async def test_what_is_in_use_is_left_alone(yard: Yard, clock: HandClock) -> None:
    """Visible content, a leased blob and an open upload are no garbage, with a review or without."""
    await push_image(yard, "a")
    clock.now += 30 * DAY
    await yard.push_blob("a", make_blob("leased"))
    await yard.start("a")
    await lose_reviews(yard)
    assert await audit(yard) == []
    assert queue(yard) == set()


async def test_files_without_a_row_are_told_and_kept(yard: Yard) -> None:
    """Nobody knows whose a file is that no row names: it is told in each round, and stays where it is."""
    await push_image(yard, "a")
    stray = "ff" * 16
    yard.stored.write(stray, b"whose?")
    for _ in range(2):
        assert await audit(yard) == [f"file {stray}: no row names it"]
    assert yard.stored.read(stray) == b"whose?"
    assert yard.registry.drift.found == 2


async def test_uploads_whose_session_has_ended_are_swept_up(yard: Yard) -> None:
    """What a server that was killed has left in the store of an upload goes; that of an open session stays."""
    store = yard.registry.store
    session_id = await Client(yard.registry).start("a")
    await Client(yard.registry).append("a", session_id, b"open", 0)
    left = await store.append(UploadState(32 * "0", 0), pieces(b"left"))
    before = {key async for key, _ in store.uploads()}
    assert f"upload {left.key}: its session has ended" in await audit(yard)
    assert {key async for key, _ in store.uploads()} == before - {left.key}
    assert len(before) == 2
    assert await audit(yard) == []


async def test_files_that_go_are_not_told(yard: Yard, clock: HandClock) -> None:
    """A key that waits to be discarded has a row, and so has an upload that is about to be a blob."""
    await push_image(yard, "a")
    keys = {row[0] for row in yard.rows("SELECT storage_key FROM blob")}
    await yard.delete_repository("a")

    def forget(tx: Transaction) -> None:
        tx.run("DELETE FROM reference")
        tx.run("DELETE FROM repository_blob")
        tx.run("DELETE FROM blob")
        for key in keys:
            tx.run("INSERT INTO discard (storage_key, size, due_at) VALUES (:key, 1, 0)", key=key)

    await yard.registry.database.write(forget)
    assert await audit(yard) == []
    assert clock.now


async def test_rounds_are_taken_in_bounded_steps(yard: Yard, clock: HandClock) -> None:
    """A step looks at a page of rows; the next one goes on behind it, also when rows come and go between."""
    for number in range(PAGE + 5):
        await yard.push_blob("a", make_blob(f"{number}"))
    clock.now += 30 * DAY
    await lose_reviews(yard)
    found = []
    while yard.registry.drift.rounds == 0:
        found.append(len(await yard.registry.drift.step()))
    assert [count for count in found if count] == [PAGE, 5]
    assert len(found) == 5 + 1 + 1 + 1 + 1  # a page of each kind; a second one of rights, of blobs and of files


async def test_a_round_a_day(yard: Yard) -> None:
    """The worker is told to go on soon within a round, and to rest after it."""
    pauses = [await yard.registry.drift.tend() for _ in range(6)]
    assert pauses == [1.0] * 5 + [24 * 3600.0]
    assert yard.registry.drift.rounds == 1


async def push_whole(yard: Yard, name: str, manifest: Content, tag: str) -> None:
    """Everything that the manifest names first, as clients do."""
    named = set.union(*named_by(manifest))
    for blob in BLOBS:
        if str(blob.digest) in named:
            await yard.push_blob(name, blob)
    for child in MANIFESTS:
        if str(child.digest) in named:
            await push_whole(yard, name, child, "")
    await yard.push_manifest(name, manifest, tag)


async def delete_some(yard: Yard, name: str, number: int) -> None:
    """A manifest that is there."""
    there = yard.rows(
        "SELECT digest FROM manifest WHERE deleted_at IS NULL AND repository_id ="
        " (SELECT id FROM repository WHERE name = ? AND deleted_at IS NULL) ORDER BY id",
        name,
    )
    if there:
        await yard.delete_manifest(name, Digest.parse(there[number % len(there)][0]))


names = st.sampled_from(["a", "b"])
blobs, manifests = st.sampled_from(BLOBS), st.sampled_from(MANIFESTS)
tags = st.sampled_from(["1", "2"])
DEEDS = st.one_of(
    st.tuples(st.just(Yard.push_blob), names, blobs),
    st.tuples(st.just(Yard.push_manifest), names, manifests, tags | st.just("")),
    st.tuples(st.just(push_whole), names, manifests, tags | st.just("")),
    st.tuples(st.just(push_whole), names, manifests, tags | st.just("")),
    st.tuples(st.just(delete_some), names, st.integers(0, 9)),
    st.tuples(st.just(delete_some), names, st.integers(0, 9)),
    st.tuples(st.just(Yard.mount), names, blobs, st.none()),
    st.tuples(st.just(Yard.head), names, blobs),
    st.tuples(st.just(Yard.start), names),
    st.tuples(st.just(Yard.untag), names, tags),
    st.tuples(st.just(Yard.delete_manifest), names, manifests.map(lambda one: one.digest)),
    st.tuples(st.just(Yard.delete_blob), names, blobs),
    st.tuples(st.just(Yard.delete_repository), names),
    st.tuples(st.just(Yard.restore_manifest), names, manifests),
    st.tuples(st.just(Yard.restore_repository), names),
    st.tuples(st.just(Yard.pass_time), st.sampled_from([HOUR, DAY, 8 * DAY])),
    st.tuples(st.just(Yard.collect)),
)


async def do_all(yard: Yard, deeds: list[tuple[Any, ...]]) -> None:
    for act, *arguments in deeds:
        with contextlib.suppress(RegistryError):  # refused: that is a state as well
            await act(yard, *arguments)


def opened(folder: str, sparse: str) -> Yard:
    return Yard(Path(folder), HandClock(), sparse_manifests=sparse)


@settings(max_examples=examples(60), deadline=None, suppress_health_check=list(HealthCheck))
@given(deeds=st.lists(DEEDS, min_size=5, max_size=40), sparse=st.sampled_from(["refuse", "accept"]))
def test_queue_forgets_nothing(deeds: list[tuple[Any, ...]], sparse: str) -> None:
    """Whatever is done: a naive sweep and the auditor agree that the queue has all that will be garbage."""

    async def check(yard: Yard) -> None:
        await yard.open()
        await do_all(yard, deeds)
        assert find_forgotten(read_rows(yard), yard.clock.now) == set()
        assert await audit(yard) == []
        await yard.quiesce()
        assert sweep(read_rows(yard)) == set()
        await yard.close()

    with TemporaryDirectory() as folder:
        asyncio.run(check(opened(folder, sparse)))


@settings(max_examples=examples(60), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    deeds=st.lists(DEEDS, min_size=5, max_size=40),
    sparse=st.sampled_from(["refuse", "accept"]),
    lost=st.sets(st.integers(0, 30)),
)
def test_auditor_finds_what_a_naive_sweep_finds(deeds: list[tuple[Any, ...]], sparse: str, lost: set[int]) -> None:
    """Whichever reviews are lost: the auditor finds what a naive sweep finds, and then the collector leaves nothing."""

    async def check(yard: Yard) -> None:
        await yard.open()
        await do_all(yard, deeds)
        for number, (kind, key) in enumerate(sorted(queue(yard))):
            if number in lost:
                await lose_reviews(yard, f"kind = '{kind}' AND key = '{key}'")
        for _ in range(2):  # as things are, and when every lease has ended
            expected = find_forgotten(read_rows(yard), yard.clock.now)
            found = {tuple(one.split(": ")[0].split(" ")) for one in await audit(yard)}
            assert {one for one in found if one[0] != "file"} == expected
            await yard.pass_time(30 * DAY)
        assert await audit(yard) == []
        await yard.quiesce()
        assert sweep(read_rows(yard)) == set()
        await yard.close()

    with TemporaryDirectory() as folder:
        asyncio.run(check(opened(folder, sparse)))
