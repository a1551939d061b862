"""The review queue: whatever may leave something without a reference writes its row in the same transaction."""

from functools import partial

import pytest

from registry.garbage import Windows
from registry.metadata import reviews
from registry.metadata.database import Database
from registry.oci.names import RepositoryName
from registry.uploads import Chunk
from storage.digest import Digest
from tests.metadata.rows import rows
from tests.metadata.test_changes import Act
from tests.scenarios.client import SOMEBODY, Client, pieces
from tests.scenarios.images import Content, make_blob, make_image, make_index

pytestmark = pytest.mark.anyio

BLOB, CONFIG = make_blob("blob"), make_blob("config")
IMAGE, OTHER = make_image(CONFIG, [BLOB]), make_image(CONFIG)
A = RepositoryName("a")
LEASE = Windows(7).lease


async def prepare(client: Client) -> None:
    """Repository 1, `a`, with a blob and manifest 1 under the tag `1`; and an empty queue."""
    await client.push_blob("a", BLOB)
    await client.push_manifest("a", IMAGE, "1")
    await client.registry.database.write(lambda tx: tx.run("DELETE FROM review"))


async def queue(client: Client) -> dict[tuple[str, str], tuple[str, int]]:
    found = await rows(client.registry.database, "SELECT kind, key, cause, due_at FROM review")
    return {(kind, key): (cause, due_at) for kind, key, cause, due_at in found}


EVENTS: dict[str, tuple[Act, str, str, str, int]] = {
    "a new blob": (lambda client: client.push_blob("a", CONFIG), "right", f"1:{CONFIG.digest}", "blob.push", LEASE),
    "a blob in chunks": (
        lambda client: client.push_blob("a", CONFIG, 2),
        "right",
        f"1:{CONFIG.digest}",
        "blob.push",
        LEASE,
    ),
    "a blob again": (lambda client: client.push_blob("a", BLOB), "right", f"1:{BLOB.digest}", "blob.push", LEASE),
    "a blob for another repository": (
        lambda client: client.push_blob("b", BLOB),
        "right",
        f"2:{BLOB.digest}",
        "blob.push",
        LEASE,
    ),
    "a mount": (lambda client: client.mount("b", BLOB, "a"), "right", f"2:{BLOB.digest}", "blob.mount", LEASE),
    "a mount again": (lambda client: client.mount("a", BLOB, "a"), "right", f"1:{BLOB.digest}", "blob.mount", LEASE),
    "a deleted blob": (lambda client: client.delete_blob("a", BLOB), "right", f"1:{BLOB.digest}", "blob.delete", 0),
    "a deleted manifest": (
        lambda client: client.delete_manifest("a", IMAGE.digest),
        "manifest",
        "1",
        "manifest.delete",
        0,
    ),
    "a deleted repository": (lambda client: client.delete_repository("a"), "repository", "1", "repository.delete", 0),
}


@pytest.mark.parametrize(("act", "kind", "key", "cause", "later"), EVENTS.values(), ids=EVENTS)
async def test_events_are_reviewed(client: Client, act: Act, kind: str, key: str, cause: str, later: int) -> None:
    """Each event has its row, due when the lease that it gave has ended, or at once: the collector postpones that."""
    await prepare(client)
    before = client.registry.clock()
    await act(client)
    found = {(each, name): row for (each, name), row in (await queue(client)).items() if each != "upload"}
    assert list(found) == [(kind, key)]
    found_cause, due_at = found[kind, key]
    assert found_cause == cause
    assert before + later <= due_at <= client.registry.clock() + later


KEPT: dict[str, Act] = {
    "a new manifest": lambda client: client.push_manifest("a", OTHER),
    "a moved tag": lambda client: client.push_manifest("a", OTHER, "1"),
    "a deleted tag": lambda client: client.untag("a", "1"),
}


@pytest.mark.parametrize("act", KEPT.values(), ids=KEPT)
async def test_untagged_manifests_are_not_reviewed(client: Client, act: Act) -> None:
    """A manifest without a tag stays until somebody deletes it: nothing is to be looked at."""
    await prepare(client)
    await act(client)
    assert await queue(client) == {}


async def test_what_a_manifest_held_is_reviewed(client: Client) -> None:
    """A manifest that comes again without content that it had before leaves that to nobody: it is looked at."""
    index = make_index([IMAGE])
    await prepare(client)
    await client.push_manifest("a", index)
    for digest in (index.digest, IMAGE.digest):
        await client.delete_manifest("a", digest)
    await client.delete_blob("a", BLOB)
    await client.registry.database.write(lambda tx: tx.run("DELETE FROM review"))
    await client.push_manifest("a", index)
    await client.push_manifest("a", IMAGE)
    found = await queue(client)
    assert {key: cause for key, (cause, _) in found.items()} == {
        ("manifest", "1"): "manifest.push",
        ("right", f"1:{BLOB.digest}"): "manifest.push",
    }


async def test_a_blob_that_becomes_a_child_is_reviewed(client: Client) -> None:
    """An index that took its child for a blob holds the manifest once that is pushed, and the blob no more."""
    index = make_index([IMAGE])
    await client.push_blob("a", Content(IMAGE.media_type, IMAGE.content))
    await client.push_manifest("a", index)
    await client.registry.database.write(lambda tx: tx.run("DELETE FROM review"))
    await client.push_manifest("a", IMAGE)
    assert list(await queue(client)) == [("right", f"1:{IMAGE.digest}")]


async def test_upload_is_reviewed_when_it_expires(client: Client) -> None:
    """An opened upload has its row at once; each chunk moves it; the blob's row takes its place."""
    uploads = client.registry.uploads
    session = await uploads.start(A, "sha256", SOMEBODY)
    key = ("upload", session.state.key)
    assert await queue(client) == {key: ("upload.start", session.expires_at)}
    session = await uploads.append(A, session.id, Chunk(pieces(b"bl")), SOMEBODY)
    assert await queue(client) == {key: ("upload.append", session.expires_at)}
    await client.complete("a", session.id, b"ob", BLOB.digest)
    assert set(await queue(client)) == {("right", f"1:{BLOB.digest}")}


async def test_spare_copy_is_reviewed(client: Client) -> None:
    """The second copy of a blob is removed after its commit; its row stays for the case that it is not."""
    await client.push_blob("a", BLOB)
    session = await client.registry.uploads.start(A, "sha256", SOMEBODY)
    await client.complete("a", session.id, b"blob", BLOB.digest)
    assert ("upload", session.state.key) in await queue(client)
    assert await client.check() == []


async def test_refused_requests_are_not_reviewed(client: Client) -> None:
    """What a refused request would have removed is not looked at: its transaction is undone."""
    await prepare(client)
    for act in (
        client.untag("a", "absent"),
        client.delete_blob("b", BLOB),
        client.delete_manifest("a", Digest.of(b"")),
    ):
        with pytest.raises(Exception, match="there is no such"):
            await act
    assert await queue(client) == {}


async def test_second_reason_postpones_the_first(database: Database) -> None:
    """Of two reasons for a review the later instant and the later cause count; it is never brought forward."""
    for due_at, cause in ((100, "first"), (300, "second"), (200, "third")):
        await database.write(partial(reviews.postpone, kind="blob", key="x", cause=cause, due_at=due_at))
    assert await rows(database, "SELECT due_at, cause FROM review") == [(300, "third")]
    await database.write(lambda tx: reviews.drop(tx, "blob", "x"))
    assert await rows(database, "SELECT * FROM review") == []
