"""The review queue: whatever may leave something without a reference writes its row in the same transaction."""

from functools import partial

import pytest

from registry.metadata import reviews
from registry.metadata.database import Database
from registry.oci.names import RepositoryName
from registry.uploads import Chunk
from storage.digest import Digest
from tests.metadata.rows import rows
from tests.metadata.test_changes import Act
from tests.scenarios.client import SOMEBODY, Client, pieces
from tests.scenarios.images import make_blob, make_image

pytestmark = pytest.mark.anyio

BLOB, CONFIG = make_blob("blob"), make_blob("config")
IMAGE, OTHER = make_image(CONFIG, [BLOB]), make_image(CONFIG)
A = RepositoryName("a")
NAMED = {"blob": str(BLOB.digest), "manifest": "1", "repository": "1"}


async def prepare(client: Client) -> None:
    """Repository 1, `a`, with a blob and manifest 1 under the tag `1`; and an empty queue."""
    await client.push_blob("a", BLOB)
    await client.push_manifest("a", IMAGE, "1")
    await client.registry.database.write(lambda tx: tx.run("DELETE FROM review"))


async def queue(client: Client) -> dict[tuple[str, str], tuple[str, int]]:
    found = await rows(client.registry.database, "SELECT kind, key, cause, due_at FROM review")
    return {(kind, key): (cause, due_at) for kind, key, cause, due_at in found}


EVENTS: dict[str, tuple[Act, str, str, str]] = {
    "a new blob": (lambda client: client.push_blob("a", CONFIG), "blob", str(CONFIG.digest), "blob.push"),
    "a blob in chunks": (lambda client: client.push_blob("a", CONFIG, 2), "blob", str(CONFIG.digest), "blob.push"),
    "a blob again": (lambda client: client.push_blob("a", BLOB), "blob", str(BLOB.digest), "blob.push"),
    "a blob for another repository": (
        lambda client: client.push_blob("b", BLOB),
        "blob",
        str(BLOB.digest),
        "blob.push",
    ),
    "a mount": (lambda client: client.mount("b", BLOB, "a"), "blob", str(BLOB.digest), "blob.mount"),
    "a mount again": (lambda client: client.mount("a", BLOB, "a"), "blob", str(BLOB.digest), "blob.mount"),
    "a deleted blob": (lambda client: client.delete_blob("a", BLOB), "blob", str(BLOB.digest), "blob.delete"),
    "a new manifest": (lambda client: client.push_manifest("a", OTHER), "manifest", "2", "manifest.push"),
    "a moved tag": (lambda client: client.push_manifest("a", OTHER, "1"), "manifest", "1", "tag.delete"),
    "a deleted tag": (lambda client: client.untag("a", "1"), "manifest", "1", "tag.delete"),
    "a deleted manifest": (
        lambda client: client.delete_manifest("a", IMAGE.digest),
        "manifest",
        "1",
        "manifest.delete",
    ),
    "a deleted repository": (lambda client: client.delete_repository("a"), "repository", "1", "repository.delete"),
}


@pytest.mark.parametrize(("act", "kind", "key", "cause"), EVENTS.values(), ids=EVENTS)
async def test_events_are_reviewed(client: Client, act: Act, kind: str, key: str, cause: str) -> None:
    """Each event has its row, due when every push that may name the content again has ended."""
    await prepare(client)
    before = client.registry.clock()
    await act(client)
    found_cause, due_at = (await queue(client))[kind, key]
    assert found_cause == cause
    assert before + reviews.GRACE <= due_at <= client.registry.clock() + reviews.GRACE


async def test_upload_is_reviewed_when_it_expires(client: Client) -> None:
    """An opened upload has its row at once; each chunk moves it; the blob's row takes its place."""
    uploads = client.registry.uploads
    session = await uploads.start(A, "sha256", SOMEBODY)
    key = ("upload", session.state.key)
    assert await queue(client) == {key: ("upload.start", session.expires_at)}
    session = await uploads.append(A, session.id, Chunk(pieces(b"bl")), SOMEBODY)
    assert await queue(client) == {key: ("upload.append", session.expires_at)}
    await client.complete("a", session.id, b"ob", BLOB.digest)
    assert set(await queue(client)) == {("blob", str(BLOB.digest))}


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
