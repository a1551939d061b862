"""A deleted manifest comes back whole, or not at all."""

import pytest

from registry.errors import ManifestUnknown, NameUnknown
from registry.metadata import manifests, repositories
from registry.metadata.database import Transaction
from registry.oci.names import RepositoryName
from storage.digest import Digest
from tests.history.moving import Past
from tests.metadata.rows import rows
from tests.scenarios.client import SOMEBODY
from tests.scenarios.images import Content, make_blob, make_image, make_index

pytestmark = pytest.mark.anyio

CONFIG, LAYER = make_blob("config image"), make_blob("layer image")  # those of push_image("image")


async def forget_blob(past: Past, digest: Digest) -> None:
    """Have the repository's right to a blob gone for good, as after a purge."""

    def work(tx: Transaction) -> None:
        tx.run("UPDATE reference SET blob_digest = NULL WHERE digest = :digest", digest=str(digest))
        tx.run("DELETE FROM repository_blob WHERE digest = :digest", digest=str(digest))

    await past.registry.database.write(work)


async def test_it_is_there_again(past: Past) -> None:
    """By its digest, as it was, with the instant of its push; its tags are not there."""
    image = await past.push_image("a", "image", "v")
    before = await rows(past.registry.database, "SELECT digest, pushed_at, pushed_by FROM manifest")
    await past.delete_manifest("a", image.digest)
    past.clock.now += 1_000
    assert await past.restore_manifest("a", image.digest) == [str(image.digest)]
    assert await rows(past.registry.database, "SELECT digest, pushed_at, pushed_by FROM manifest") == before
    assert await past.find("a", str(image.digest)) == str(image.digest)
    assert await past.find("a", "v") is None
    await past.collect(400)
    assert await past.find("a", str(image.digest)) == str(image.digest)
    assert await past.read_blob("a", LAYER) == LAYER.content


async def test_what_is_there_stays(past: Past) -> None:
    """A manifest that nobody has deleted is left as it is, and the log says nothing."""
    image = await past.push_image("a", "image")
    before = await past.last_change()
    assert await past.restore_manifest("a", image.digest) == []
    assert await past.actions(before) == []


async def test_its_blobs_come_with_it(past: Past) -> None:
    """Also one that was deleted after the manifest was, and one that the collector has condemned."""
    image = await past.push_image("a", "image")
    await past.delete_manifest("a", image.digest)
    await past.delete_blob("a", LAYER)
    await past.registry.database.write(lambda tx: tx.run("UPDATE repository_blob SET condemned_at = 1"))
    before = await past.last_change()
    await past.restore_manifest("a", image.digest)
    assert await past.read_blob("a", LAYER) == LAYER.content
    assert await rows(past.registry.database, "SELECT DISTINCT deleted_at, condemned_at FROM repository_blob") == [
        (None, None)
    ]
    assert [row[:2] for row in await past.actions(before)] == [
        ("manifest.restore", str(image.digest)),
        ("blob.restore", str(LAYER.digest)),
    ]
    await past.collect(400)
    assert await past.read_blob("a", LAYER) == LAYER.content


async def test_its_parts_come_with_it(past: Past) -> None:
    """Children of children, each once however many name it."""
    images = [await past.push_image("a", note) for note in ("one", "two")]
    inner = [make_index(images, annotations={"note": note}) for note in ("left", "right")]
    outer = make_index([*inner, images[0]])
    for index in (*inner, outer):
        await past.push_manifest("a", index, "v")
    everything = [outer, *inner, *images]
    for manifest in everything:
        await past.delete_manifest("a", manifest.digest)
    revived = await past.restore_manifest("a", outer.digest)
    assert sorted(revived) == sorted(str(manifest.digest) for manifest in everything)
    for manifest in everything:
        assert await past.find("a", str(manifest.digest)) == str(manifest.digest)


async def test_a_part_comes_without_the_whole(past: Past) -> None:
    """A child alone leaves its index deleted; another child stays deleted too."""
    one, two = await past.push_image("a", "one"), await past.push_image("a", "two")
    index = make_index([one, two])
    await past.push_manifest("a", index)
    for manifest in (index, one, two):
        await past.delete_manifest("a", manifest.digest)
    assert await past.restore_manifest("a", one.digest) == [str(one.digest)]
    assert await past.find("a", str(two.digest)) is None
    assert await past.restore_manifest("a", index.digest) == [str(index.digest), str(two.digest)]


async def test_what_it_needs_is_gone(past: Past) -> None:
    """All that is missing is named, and nothing has come back, not even the parts that are whole."""
    image, whole = await past.push_image("a", "image"), await past.push_image("a", "whole")
    index = make_index([image, whole])
    await past.push_manifest("a", index)
    for manifest in (index, image, whole):
        await past.delete_manifest("a", manifest.digest)
    for blob in (CONFIG, LAYER):
        await forget_blob(past, blob.digest)
    before = await past.last_change()
    for manifest in (index, image):
        with pytest.raises(ManifestUnknown, match="gone for good") as refusal:
            await past.restore_manifest("a", manifest.digest)
        assert str(CONFIG.digest) in refusal.value.text
        assert str(LAYER.digest) in refusal.value.text
    assert [await past.find("a", str(one.digest)) for one in (index, image, whole)] == [None] * 3
    assert await past.actions(before) == []
    for blob in (CONFIG, LAYER):
        await past.push_blob("a", blob)  # then it is whole again
    await past.restore_manifest("a", index.digest)
    assert await past.read_blob("a", LAYER) == LAYER.content


async def test_layers_that_may_be_absent(past: Past) -> None:
    """What the manifest never needed, such as foreign layers, does not keep it from coming back."""
    foreign = Content("application/vnd.oci.image.layer.nondistributable.v1.tar", b"never pushed")
    await past.push_blob("a", CONFIG)
    image = make_image(CONFIG, [foreign])
    await past.push_manifest("a", image)
    await past.delete_manifest("a", image.digest)
    assert await past.restore_manifest("a", image.digest) == [str(image.digest)]


async def test_sparse_manifests(sparse: Past) -> None:
    """Where anything may be absent, what is gone is absent; and parents that waited have their child again."""
    image = await sparse.push_image("a", "image")
    await sparse.delete_manifest("a", image.digest)
    index = make_index([image])
    await sparse.push_manifest("a", index)
    await forget_blob(sparse, LAYER.digest)
    assert await sparse.restore_manifest("a", image.digest) == [str(image.digest)]
    held = await rows(sparse.registry.database, "SELECT child_id IS NOT NULL FROM reference WHERE kind = 'child'")
    assert held == [(1,)]


async def test_gone_for_good(past: Past) -> None:
    """After the collector, and for what never was, nothing comes back."""
    image = await past.push_image("a", "image")
    await past.delete_manifest("a", image.digest)
    await past.collect(8)
    for digest in (image.digest, Digest.of(b"never")):
        with pytest.raises(ManifestUnknown, match="gone for good"):
            await past.restore_manifest("a", digest)
    with pytest.raises(NameUnknown):
        await past.restore_manifest("b", image.digest)


async def test_a_row_that_is_gone(past: Past) -> None:
    """Whoever remembers a row's id, as a lifecycle run does, hears that it is gone."""
    await past.push_image("a", "image")

    def work(tx: Transaction) -> None:
        repository = repositories.find(tx, RepositoryName("a"))
        assert repository is not None
        deed = past.deed(SOMEBODY)
        with pytest.raises(ManifestUnknown, match="gone for good"):
            manifests.revive(tx, repository.id, 4711, deed)

    await past.registry.database.write(work)


async def test_deleted_and_restored_and_deleted(past: Past) -> None:
    """The window begins anew with each delete."""
    image = await past.push_image("a", "image")
    for _ in range(3):
        await past.delete_manifest("a", image.digest)
        await past.collect(6)
        await past.restore_manifest("a", image.digest)
    await past.delete_manifest("a", image.digest)
    await past.collect(8)
    with pytest.raises(ManifestUnknown):
        await past.restore_manifest("a", image.digest)


async def test_a_window_that_is_shortened(past: Past) -> None:
    """What was deleted before goes by the new window at the collector's next round."""
    image = await past.push_image("a", "image")
    other = await past.push_image("b", "other")
    await past.delete_manifest("a", image.digest)
    await past.delete_manifest("b", other.digest)
    await past.collect(2)
    await past.set("a", undelete_days="1")
    await past.collect(0)
    with pytest.raises(ManifestUnknown):
        await past.restore_manifest("a", image.digest)
    assert await past.restore_manifest("b", other.digest) == [str(other.digest)]
