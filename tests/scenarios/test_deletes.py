"""What holds what: deletes that are refused, allowed again, and undone by a new push."""

from pathlib import Path

import pytest

from registry.errors import BlobUnknown, InUse, ManifestBlobUnknown, ManifestInvalid, ManifestUnknown
from registry.manifests import ManifestPush
from registry.oci.media_types import DOCKER_MANIFEST
from registry.oci.names import RepositoryName, Tag
from tests.places import Place
from tests.scenarios.client import ANYTHING, SOMEBODY, Client, open_registry
from tests.scenarios.images import Content, make_blob, make_image, make_index

pytestmark = pytest.mark.anyio

CONFIG, LAYER = make_blob("config"), make_blob("layer")
IMAGE = make_image(CONFIG, [LAYER])
INDEX = make_index([IMAGE])


async def push_all(client: Client, name: str = "a") -> None:
    for blob in (CONFIG, LAYER):
        await client.push_blob(name, blob)
    await client.push_manifest(name, IMAGE)
    await client.push_manifest(name, INDEX, "latest")


async def refused(client: Client, content: Content, *parents: Content, name: str = "a") -> None:
    """The delete is refused and names the parents."""
    with pytest.raises(InUse) as raised:
        await delete(client, content, name)
    assert raised.value.detail == {"manifests": [str(parent.digest) for parent in parents]}


async def delete(client: Client, content: Content, name: str = "a") -> None:
    if content in (CONFIG, LAYER):
        await client.delete_blob(name, content)
    else:
        await client.delete_manifest(name, content.digest)


async def test_from_the_top_everything_can_go(client: Client) -> None:
    """What is named is held by what names it, and by nothing once that is deleted."""
    await push_all(client)
    for content, parent in ((LAYER, IMAGE), (CONFIG, IMAGE), (IMAGE, INDEX)):
        await refused(client, content, parent)
    for content in (INDEX, IMAGE, LAYER, CONFIG):
        await delete(client, content)
        with pytest.raises((ManifestUnknown, BlobUnknown)):
            await delete(client, content)


async def test_only_what_is_whole_comes_back(client: Client) -> None:
    """A deleted index comes back with a push of its bytes, when its children are back, and holds them again."""
    await push_all(client)
    for content in (INDEX, IMAGE, LAYER):
        await delete(client, content)
    for manifest, missing in ((INDEX, IMAGE), (IMAGE, LAYER)):
        with pytest.raises(ManifestBlobUnknown) as raised:
            await client.push_manifest("a", manifest)
        assert raised.value.missing == [str(missing.digest)]
    assert await client.mount("a", LAYER, "a") is False
    await push_all(client)
    for content, parent in ((LAYER, IMAGE), (IMAGE, INDEX)):
        await refused(client, content, parent)


async def test_repositories_do_not_hold_each_other(client: Client) -> None:
    """A manifest holds what it names in its own repository, and only there."""
    await push_all(client)
    assert await client.mount("b", LAYER, "a")
    await client.delete_blob("b", LAYER)
    await push_all(client, "b")
    await client.delete_repository("a")
    await refused(client, LAYER, IMAGE, name="b")
    assert await client.read_blob("b", LAYER) == LAYER.content


async def test_new_repository_of_an_old_name_is_empty(client: Client) -> None:
    """Deleting a repository deletes all of it: one of the same name begins with nothing."""
    await push_all(client)
    await client.delete_repository("a")
    await client.push_blob("a", CONFIG)
    with pytest.raises(ManifestBlobUnknown) as raised:
        await client.push_manifest("a", IMAGE, "latest")
    assert raised.value.missing == [str(LAYER.digest)]
    with pytest.raises(ManifestUnknown):
        await client.registry.manifests.get(RepositoryName("a"), Tag("latest"))
    with pytest.raises(BlobUnknown):
        await client.read_blob("a", LAYER)


async def test_manifest_is_no_blob(client: Client) -> None:
    """Where a blob is expected, a manifest of that digest does not do; a blob does where a child is expected."""
    await push_all(client)
    with pytest.raises(ManifestBlobUnknown):
        await client.push_manifest("a", make_image(IMAGE))
    await client.push_manifest("a", make_index([LAYER, IMAGE]))


async def test_refused_push_makes_no_repository(client: Client) -> None:
    """A repository exists from its first content on, not from a push that failed."""
    with pytest.raises(ManifestBlobUnknown):
        await client.push_manifest("new", IMAGE, "latest")
    assert await client.registry.repositories.list_names("", 10) == []


async def test_type_of_a_manifest_never_flips(client: Client) -> None:
    """The same bytes pushed with another Content-Type are refused: the first type stays."""
    await client.push_blob("a", CONFIG)
    untyped = make_image(CONFIG, mediaType=None)
    await client.push_manifest("a", untyped)
    push = ManifestPush(RepositoryName("a"), untyped.digest, DOCKER_MANIFEST, untyped.content)
    with pytest.raises(ManifestInvalid, match="its type cannot change"):
        await client.registry.manifests.put(push, SOMEBODY, ANYTHING)
    stored = await client.registry.manifests.get(RepositoryName("a"), untyped.digest)
    assert stored.media_type == untyped.media_type


@pytest.mark.parametrize("first", ["index", "accept"])
async def test_late_content_is_held(tmp_path: Path, place: Place, first: str) -> None:
    """What comes after the manifest that names it is held from then on, as if it had come before."""
    sparse = Client(await open_registry(tmp_path, place, sparse_manifests=first))
    late = [CONFIG, LAYER, IMAGE] if first == "accept" else [IMAGE]
    for blob in (CONFIG, LAYER):
        if blob not in late:
            await sparse.push_blob("a", blob)
    await sparse.push_manifest("a", INDEX)
    if first == "accept":
        await sparse.push_manifest("a", IMAGE)
        for blob in (CONFIG, LAYER):
            await sparse.push_blob("a", blob)
    else:
        await sparse.push_manifest("a", IMAGE)
    sparse.registry.close()
    client = Client(await open_registry(tmp_path, place))
    for content, parent in ((LAYER, IMAGE), (CONFIG, IMAGE), (IMAGE, INDEX)):
        await refused(client, content, parent)
    client.registry.close()


async def test_sparse_registry_lets_go(tmp_path: Path, place: Place) -> None:
    """Where anything may be absent, anything can be deleted, and come back."""
    client = Client(await open_registry(tmp_path, place, sparse_manifests="accept"))
    await push_all(client)
    for content in (CONFIG, LAYER, IMAGE):
        await delete(client, content)
    assert (await client.registry.manifests.get(RepositoryName("a"), Tag("latest"))).digest == str(INDEX.digest)
    await push_all(client)
    assert await client.read_blob("a", LAYER) == LAYER.content
    client.registry.close()
