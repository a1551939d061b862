"""Scrubbing: every kind of damage is found, kept from clients, told with what it breaks, and repaired by a push."""

import errno
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from registry.errors import BlobDamaged, Unavailable
from registry.metadata import changes
from registry.oci.names import RepositoryName
from registry.scrub import Broken, Damage, Step, find_pause
from storage.blobstore import ForeignStore
from tests.garbage.turns import Side, Turns
from tests.garbage.yard import DAY, SECOND, HandClock, Yard
from tests.places import only_on
from tests.scenarios.images import Content, make_blob, make_image, make_index

pytestmark = pytest.mark.anyio

MIB = 1 << 20
CONFIG, LAYER, OTHER = make_blob("{}"), make_blob("layer" * 100), make_blob("other")
IMAGE = make_image(CONFIG, [LAYER])
INDEX = make_index([IMAGE])
OUTER = make_index([INDEX, IMAGE])


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def yard(tmp_path: Path, clock: HandClock) -> AsyncIterator[Yard]:
    """A registry with an image `a:1`, the same within indexes as `a:2` and `a:3`, and a blob of its own in `b`."""
    opened = await Yard(tmp_path, clock).open()
    for blob in (CONFIG, LAYER):
        await opened.push_blob("a", blob)
    for manifest, tag in ((IMAGE, "1"), (INDEX, "2"), (OUTER, "3")):
        await opened.push_manifest("a", manifest, tag)
    await opened.push_blob("b", OTHER)
    yield opened
    await opened.close()


def key_of(yard: Yard, blob: Content) -> str:
    return str(yard.rows("SELECT storage_key FROM blob WHERE digest = ?", str(blob.digest))[0][0])


def marks(yard: Yard) -> dict[str, tuple[int, int | None]]:
    """By the content of each blob: when it was scrubbed, and since when it is damaged."""
    known = {str(blob.digest): blob.content.decode()[:5] for blob in (CONFIG, LAYER, OTHER)}
    return {known[row[0]]: row[1:] for row in yard.rows("SELECT digest, scrubbed_at, damaged_at FROM blob")}


async def told(yard: Yard) -> list[tuple[str, str, str, str]]:
    """What the change log says about damage."""
    found = await yard.registry.database.read(lambda tx: changes.list_after(tx, 0, 0, 1000))
    actions = ("blob.damaged", "blob.repaired")
    return [(one.actor, one.action, one.subject, one.detail) for one in found if one.action in actions]


async def scrub(yard: Yard) -> list[Damage]:
    return [damage async for damage in yard.registry.scrub.run(lambda _size: None)]


def truncate(content: bytes) -> bytes:
    return content[:3]


def lengthen(content: bytes) -> bytes:
    return content + b"\0"


def flip(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def zero_fill(content: bytes) -> bytes:
    return bytes(len(content))


def lose(_content: bytes) -> None:
    pass


Harm: TypeAlias = Callable[[bytes], bytes | None]


def spoil(yard: Yard, blob: Content, harm: Harm = flip) -> None:
    """Have the store lose the blob, or have other bytes of it."""
    key = key_of(yard, blob)
    left = harm(yard.stored.read(key))
    yard.stored.remove(key)
    if left is not None:
        yard.stored.write(key, left)


DAMAGES: list[tuple[Harm, str]] = [
    (lose, "missing"),
    (truncate, "truncated"),
    (lengthen, "truncated"),
    (flip, "changed"),
    (zero_fill, "changed"),
]


async def test_whole_blobs_are_noted(yard: Yard, clock: HandClock) -> None:
    """A scrub reads every blob, tells the size of each, and finds nothing where nothing is wrong."""
    sizes: list[int] = []
    assert [damage async for damage in yard.registry.scrub.run(sizes.append)] == []
    assert sorted(sizes) == sorted(len(blob.content) for blob in (CONFIG, LAYER, OTHER))
    assert await yard.registry.scrub.measure() == (3, sum(sizes))
    assert marks(yard) == dict.fromkeys(("{}", "layer", "other"), (clock.now, None))
    assert await told(yard) == []


@pytest.mark.parametrize(("harm", "problem"), DAMAGES)
async def test_damage_is_found_and_told(yard: Yard, clock: HandClock, harm: Harm, problem: str) -> None:
    """Damage is told with the tags that lead to it, each time; it is marked and written to the change log once."""
    spoil(yard, LAYER, harm)
    expected = Damage(
        str(LAYER.digest), key_of(yard, LAYER), problem, (Broken(RepositoryName("a"), ("1", "2", "3")),), has_more=False
    )
    first = clock.now
    assert await scrub(yard) == [expected]
    clock.now += SECOND
    assert await scrub(yard) == [expected]
    assert marks(yard)["layer"] == (clock.now, first)
    assert await told(yard) == [
        ("entrepot", "blob.damaged", str(LAYER.digest), f"{problem}; it breaks a:1, a:2, a:3"),
    ]


@pytest.mark.parametrize(("harm", "problem"), DAMAGES)
async def test_damaged_blob_is_as_good_as_gone(yard: Yard, harm: Harm, problem: str) -> None:
    """A damaged blob is not served and not mounted, and its next push repairs it: nothing of the damage is left."""
    spoil(yard, LAYER, harm)
    damaged = key_of(yard, LAYER)
    assert [damage.problem for damage in await scrub(yard)] == [problem]
    assert len(await yard.check()) == 1
    with pytest.raises(BlobDamaged):
        await yard.read_blob("a", LAYER)
    with pytest.raises(BlobDamaged):
        await yard.head("a", LAYER)
    assert not await yard.mount("b", LAYER, "a")
    await yard.push_blob("b", LAYER)
    for name in ("a", "b"):
        assert await yard.read_blob(name, LAYER) == LAYER.content
    assert await scrub(yard) == []
    assert await yard.check() == []
    await yard.collect()
    assert damaged not in yard.files()


async def test_bytes_of_a_damaged_blob_stay_until_it_is_pushed(yard: Yard, clock: HandClock) -> None:
    """Somebody may want to save what is left: the collector leaves the damaged bytes of a blob that is named."""
    spoil(yard, LAYER)
    await scrub(yard)
    clock.now += 30 * DAY
    await yard.collect()
    assert yard.stored.read(key_of(yard, LAYER)) == flip(LAYER.content)


async def test_blob_that_is_whole_again_is_served_again(yard: Yard) -> None:
    """A file that came back from a backup is whole: the next scrub takes the mark away, and says so."""
    spoil(yard, LAYER)
    assert len(await scrub(yard)) == 1
    yard.stored.write(key_of(yard, LAYER), LAYER.content)
    assert await scrub(yard) == []
    assert await yard.read_blob("a", LAYER) == LAYER.content
    assert [one[1:3] for one in await told(yard)] == [
        ("blob.damaged", str(LAYER.digest)),
        ("blob.repaired", str(LAYER.digest)),
    ]


async def test_what_is_broken_is_what_can_be_seen(yard: Yard) -> None:
    """Repositories without a tag for it are told as well; deleted repositories, manifests and tags are not."""
    for name in ("gone", "untagged"):
        await yard.push_blob(name, LAYER)
        await yard.push_blob(name, CONFIG)
        await yard.push_manifest(name, IMAGE, "1" if name == "gone" else "")
    await yard.delete_repository("gone")
    await yard.untag("a", "2")
    await yard.delete_manifest("a", OUTER.digest)
    spoil(yard, LAYER)
    (found,) = await scrub(yard)
    assert [(one.repository.value, one.tags) for one in found.broken] == [("a", ("1",)), ("untagged", ())]
    assert found.describe() == "a:1"


async def test_blob_that_nothing_names_breaks_nothing(yard: Yard) -> None:
    """Damage to a blob that no manifest names breaks the repository's copy of it, and no tag."""
    spoil(yard, OTHER, lose)
    (found,) = await scrub(yard)
    assert [(one.repository.value, one.tags) for one in found.broken] == [("b", ())]
    assert found.describe() == "b"


async def test_list_of_what_is_broken_is_bounded(yard: Yard) -> None:
    """A layer below a thousand tags and more: the list says that it is not all."""
    for start in range(0, 1200, 100):
        await yard.push_manifest("a", IMAGE, also=[f"t{number:04}" for number in range(start, start + 100)])
    spoil(yard, LAYER)
    (found,) = await scrub(yard)
    assert found.has_more
    assert len(found.broken[0].tags) == 1000
    assert found.describe().endswith("a:t0015, a:t0016 and 980 or more")


async def test_steps_begin_with_what_was_read_longest_ago(yard: Yard, clock: HandClock) -> None:
    """Each step reads one blob, new ones first, so that every blob has its turn."""
    assert await scrub(yard) == []
    clock.now += SECOND
    fresh = make_blob("fresh")
    await yard.push_blob("a", fresh)
    spoil(yard, LAYER)
    steps = []
    for _ in range(4):
        clock.now += SECOND
        step = await yard.registry.scrub.step()
        assert step is not None
        steps.append(step)
    assert steps[0] == Step(len(fresh.content), None)
    assert sorted(step.read for step in steps) == sorted(len(blob.content) for blob in (CONFIG, LAYER, OTHER, fresh))
    assert [step.damage.digest for step in steps if step.damage] == [str(LAYER.digest)]


async def test_background_rests_when_all_is_read(yard: Yard, clock: HandClock) -> None:
    """The background reads each blob at most once a week, at its rate, and then only looks for new ones."""
    pauses = [await yard.registry.scrub.tend(1.0) for _ in range(4)]
    assert pauses == [0.25, 0.25, 0.25, 60.0]  # small blobs count as a quarter of a MiB
    clock.now += 7 * DAY
    assert await yard.registry.scrub.tend(2.0) == 0.125


async def test_server_reads_its_blobs_again(yard: Yard) -> None:
    """It is one of the server's duties, as its twin, the auditor, is: nobody has to ask for it."""
    spoil(yard, LAYER)
    duties = {duty.name: duty.work for duty in yard.registry.list_duties()}
    pauses = [await duties["scrub"]() for _ in range(4)]
    assert pauses == [0.25, 0.25, 0.25, 60.0]
    with pytest.raises(BlobDamaged):
        await yard.read_blob("a", LAYER)
    assert await duties["auditor"]() == 1.0


async def test_step_without_blobs(tmp_path: Path, clock: HandClock) -> None:
    """An empty registry has nothing to read."""
    yard = await Yard(tmp_path / "empty", clock).open()
    assert await yard.registry.scrub.step() is None
    await yard.close()


@pytest.mark.parametrize(
    ("read", "took", "rate", "pause"),
    [
        (MIB, 0, 1.0, 1.0),
        (10 * MIB, 0, 2.0, 5.0),
        (10 * MIB, 3_000, 2.0, 2.0),
        (10 * MIB, 7_000, 2.0, 0.0),
        (0, 0, 0.5, 0.5),
        (1 << 34, 0, 1.0, 16_384.0),
    ],
)
def test_pause_keeps_the_rate(read: int, took: int, rate: float, pause: float) -> None:
    """Reading and pausing together take as long as the bytes would at the rate."""
    assert find_pause(read, took, rate) == pause


@only_on("files", "they are on a volume")
async def test_store_that_is_not_there_damages_nothing(yard: Yard) -> None:
    """Without its volume the store has lost every blob: that is told, and no blob is marked."""
    store = yard.folder / "blobs"
    store.rename(store.with_name("unmounted"))
    (store / "data").mkdir(parents=True)
    with pytest.raises(ForeignStore):
        await scrub(yard)
    with pytest.raises(Unavailable, match="is its volume mounted"):
        await yard.registry.scrub.step()
    assert {mark[1] for mark in marks(yard).values()} == {None}


@only_on("files", "the kernel's failures are theirs")
@pytest.mark.parametrize(("number", "is_marked"), [(errno.EIO, True), (errno.EUCLEAN, True), (errno.ENOMEM, False)])
async def test_blob_that_cannot_be_read(
    yard: Yard, clock: HandClock, monkeypatch: pytest.MonkeyPatch, number: int, is_marked: bool
) -> None:
    """What the disk has lost is damage; what cannot be read for another reason is told, and stays what it was."""
    spoil(yard, CONFIG)
    assert len(await scrub(yard)) == 1
    first = clock.now
    clock.now += SECOND

    def fail(_descriptor: int, _size: int) -> bytes:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "read", fail)  # the kernel's failure, which no disk here can be asked for
        assert {(one.problem, one.cause) for one in await scrub(yard)} == {("unreadable", os.strerror(number))}
    assert marks(yard)["layer"] == (clock.now, clock.now if is_marked else None)
    assert marks(yard)["{}"] == (clock.now, first)
    await scrub(yard)
    assert marks(yard)["layer"] == (clock.now, None)


async def test_repair_while_it_is_read(yard: Yard) -> None:
    """A blob that was replaced, or removed, since its row was read is not told as damaged."""
    for blob in (CONFIG, LAYER, OTHER):
        spoil(yard, blob, lose)
    found = []
    async for damage in yard.registry.scrub.run(lambda _size: None):
        found.append(damage.digest)
        for blob in (CONFIG, LAYER, OTHER):
            if str(blob.digest) not in found:
                await yard.push_blob("a", blob)
    assert len(found) == 1
    assert len(await yard.check()) == 1


@pytest.mark.parametrize("stops_at", range(14))
@pytest.mark.parametrize("is_push_first", [False, True])
async def test_push_beside_a_scrub(
    tmp_path: Path, clock: HandClock, monkeypatch: pytest.MonkeyPatch, stops_at: int, is_push_first: bool
) -> None:
    """Wherever a push or a scrub stops while the other runs: a push after the mark has replaced the damaged copy."""
    yard = await Yard(tmp_path, clock).open()
    await yard.push_blob("a", LAYER)
    spoil(yard, LAYER)
    turns = Turns()
    turns.rule(yard.registry, monkeypatch)
    sides: list[Side[Any]] = [await turns.begin(yard.push_blob("b", LAYER)), await turns.begin(scrub(yard))]
    stopped, other = sides if is_push_first else sides[::-1]
    for _ in range(stops_at):
        if not stopped.is_over:
            await stopped.advance()
    await other.end()
    await stopped.end()
    monkeypatch.undo()
    actions = [row[0] for row in yard.rows("SELECT action FROM change ORDER BY sequence")]
    if actions[-1] == "blob.push":
        assert await scrub(yard) == []
        assert await yard.read_blob("b", LAYER) == LAYER.content
        assert await yard.check() == []
    else:
        assert actions[-1] == "blob.damaged"  # the push came first, and took the copy for whole by its size
    await yard.close()
