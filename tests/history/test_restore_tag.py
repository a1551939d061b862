"""What a tag pointed to, and pointing it there again."""

import asyncio

import pytest

from registry.errors import BlobUnknown, ManifestUnknown, NameUnknown
from registry.oci.names import RepositoryName, Tag
from tests.history.moving import DAY, START, Past
from tests.scenarios.images import Content, make_blob, make_index

pytestmark = pytest.mark.anyio

A, V = RepositoryName("a"), Tag("v")


async def set_at(past: Past, instant: int, image: Content | None) -> None:
    """Point the tag `v` to the image, or to nothing."""
    past.clock.now = START + instant
    if image is None:
        await past.untag("a", "v")
    else:
        await past.push_manifest("a", image, "v")


async def test_what_it_pointed_to(past: Past) -> None:
    """From the millisecond of its setting to the one before the next: nothing before, and nothing while deleted."""
    first, second = await past.push_image("a", "first"), await past.push_image("a", "second")
    for instant, image in ((10_000, first), (20_000, second), (30_000, None), (40_000, first)):
        await set_at(past, instant, image)
    expected = {
        0: None,
        9_999: None,
        10_000: first,
        19_999: first,
        20_000: second,
        29_999: second,
        30_000: None,
        39_999: None,
        40_000: first,
        DAY: first,
    }
    for instant, image in expected.items():
        found = await past.registry.tags.list_at(A, V, START + instant)
        assert [row.digest for row in found] == ([str(image.digest)] if image else []), instant


async def test_moves_within_a_millisecond(past: Past) -> None:
    """The last one counts: the others pointed nowhere for no time at all."""
    images = [await past.push_image("a", note) for note in ("one", "two", "three")]
    for image in images:
        await set_at(past, 10_000, image)
    found = await past.registry.tags.list_at(A, V, START + 10_000)
    assert [row.digest for row in found] == [str(images[-1].digest)]


async def test_a_deleted_tag_comes_back(past: Past) -> None:
    """It points to what it pointed to last; the manifest had stayed."""
    await past.push_image("a", "first", "v")
    second = await past.push_image("a", "second", "v")
    await past.untag("a", "v")
    restored = await past.restore_tag("a", "v")
    assert (restored.digest, restored.before, restored.revived) == (str(second.digest), None, [])
    assert await past.find("a", "v") == str(second.digest)


async def test_a_moved_tag_goes_back(past: Past) -> None:
    """To what it pointed to before its last move; once more, and it is where it was."""
    first, second = await past.push_image("a", "first", "v"), await past.push_image("a", "second", "v")
    for digest, before in ((first, second), (second, first), (first, second)):
        restored = await past.restore_tag("a", "v")
        assert (restored.digest, restored.before) == (str(digest.digest), str(before.digest))
        assert await past.find("a", "v") == str(digest.digest)


async def test_deleted_and_set_again(past: Past) -> None:
    """Between the same digest and the same digest there was no move: it goes back to another one."""
    first, second = await past.push_image("a", "first", "v"), await past.push_image("a", "second", "v")
    await past.untag("a", "v")
    await past.push_manifest("a", second, "v")
    assert (await past.restore_tag("a", "v")).digest == str(first.digest)


async def test_back_to_an_instant(past: Past) -> None:
    """--at says to when; what it points to already is no change."""
    images = [await past.push_image("a", note, "v") for note in ("one", "two", "three")]
    instants = [START + 1_000 * number for number in (1, 2, 3)]
    for image, instant in zip(images, instants, strict=True):
        past.clock.now += 1_000
        assert (await past.restore_tag("a", "v", instant)).digest == str(image.digest)
        assert await past.find("a", "v") == str(image.digest)
    before = await past.last_change()
    again = await past.restore_tag("a", "v", past.clock.now + DAY)
    assert (again.digest, again.before) == (str(images[-1].digest), str(images[-1].digest))
    assert await past.actions(before) == []


async def test_the_manifest_comes_with_it(past: Past) -> None:
    """A deleted manifest, its children and their blobs are there again, whole."""
    image = await past.push_image("a", "image")
    index = make_index([image])
    await past.push_manifest("a", index, "v")
    for manifest in (index, image):
        await past.delete_manifest("a", manifest.digest)
    restored = await past.restore_tag("a", "v")
    assert sorted(restored.revived) == sorted(map(str, (index.digest, image.digest)))
    assert await past.find("a", "v") == str(index.digest)
    assert await past.find("a", str(image.digest)) == str(image.digest)


async def test_the_log_says_so(past: Past) -> None:
    """What came back has its rows, and the tag's says that it was restored."""
    image = await past.push_image("a", "image", "v")
    await past.delete_manifest("a", image.digest)
    before = await past.last_change()
    await past.restore_tag("a", "v")
    digest = str(image.digest)
    assert await past.actions(before) == [("manifest.restore", digest, None, ""), ("tag.set", digest, "v", "restored")]


async def test_a_tag_that_never_was(past: Past) -> None:
    """There is nothing to go back to, and the refusal says why."""
    await past.push_image("a", "image", "v")
    for tag, at, said in (
        ("none", None, "never was a tag none"),
        ("v", None, "never pointed to anything else"),
        ("v", START, "pointed to nothing then"),
        ("none", START, "pointed to nothing then"),
    ):
        with pytest.raises(ManifestUnknown, match=said):
            await past.restore_tag("a", tag, at)
    with pytest.raises(NameUnknown):
        await past.restore_tag("b", "v")


async def test_what_is_gone_for_good(past: Past) -> None:
    """After its window, when the collector has come, the tag stays where it is."""
    first, second = await past.push_image("a", "first", "v"), await past.push_image("a", "second", "v")
    await past.delete_manifest("a", first.digest)
    await past.collect(8)
    before = await past.last_change()
    with pytest.raises(ManifestUnknown, match=f"{first.digest}, which is gone for good"):
        await past.restore_tag("a", "v")
    assert await past.find("a", "v") == str(second.digest)
    assert await past.actions(before) == []


@pytest.mark.parametrize("days", [0, 6, 8, 400])
async def test_as_long_as_it_is_there(past: Past, days: int) -> None:
    """Within its window the collector leaves it; after it, a collector that is late does not matter."""
    image = await past.push_image("a", "image", "v")
    await past.delete_manifest("a", image.digest)
    if days < 7:
        await past.collect(days)
    else:
        past.clock.now += days * DAY
    assert (await past.restore_tag("a", "v")).digest == str(image.digest)
    await past.collect(400)
    assert await past.find("a", "v") == str(image.digest)
    assert await past.check() == []


async def test_pushed_again_after_it_was_gone(past: Past) -> None:
    """The tag goes back to the same digest, whoever brought it."""
    image = await past.push_image("a", "image", "v")
    await past.delete_manifest("a", image.digest)
    await past.collect(8)
    await past.push_image("a", "image")
    assert (await past.restore_tag("a", "v")).digest == str(image.digest)


@pytest.mark.parametrize("turns", range(12))
async def test_while_the_collector_comes(past: Past, turns: int) -> None:
    """After its window the tag comes back whole or not at all, wherever the collector is."""
    image = await past.push_image("a", "image")
    index = make_index([image])
    await past.push_manifest("a", index, "v")
    for manifest in (index, image):
        await past.delete_manifest("a", manifest.digest)

    async def restore() -> bool:
        for _ in range(turns):
            await past.registry.garbage.step()
        try:
            await past.restore_tag("a", "v")
        except ManifestUnknown:
            return False
        return True

    past.clock.now += 400 * DAY
    is_restored, _ = await asyncio.gather(restore(), past.collect(0))
    await past.collect(1)
    assert await past.find("a", "v") == (str(index.digest) if is_restored else None)
    assert await past.find("a", str(image.digest)) == (str(image.digest) if is_restored else None)
    for name in ("config image", "layer image"):
        blob = make_blob(name)
        if is_restored:
            assert await past.read_blob("a", blob) == blob.content
        else:
            with pytest.raises(BlobUnknown):
                await past.read_blob("a", blob)
    assert await past.check() == []
