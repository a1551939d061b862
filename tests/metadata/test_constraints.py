"""What the database refuses by itself, whoever asks: the last line against a lost race."""

from collections.abc import Callable
from functools import partial

import apsw
import psycopg
import pytest

from registry.metadata import manifests, repositories, tags
from registry.metadata.database import Database, Transaction, Value
from registry.metadata.manifests import StoredManifest
from registry.metadata.repositories import Repository
from registry.oci.manifest import parse_manifest
from registry.oci.names import RepositoryName, Tag
from tests.metadata.rows import DEED, insert_blob, insert_manifest, insert_repository, rows
from tests.scenarios.images import make_blob, make_image, make_index

pytestmark = pytest.mark.anyio

CONFIG, LAYER, LOOSE = make_blob("config"), make_blob("layer"), make_blob("loose")
IMAGE = make_image(CONFIG, [LAYER])
INDEX = make_index([IMAGE])


def fill(tx: Transaction) -> tuple[int, int, int]:
    """A repository with an index of one image, tagged `latest`. Returns the ids of all three."""
    repository_id = insert_repository(tx)
    for blob in (CONFIG, LAYER, LOOSE):
        insert_blob(tx, repository_id, blob)
    image_id = insert_manifest(tx, repository_id, IMAGE)
    index_id = insert_manifest(tx, repository_id, INDEX)
    tags.set_tag(tx, repository_id, Tag("latest"), str(INDEX.digest), index_id, DEED)
    return repository_id, image_id, index_id


def statement(sql: str, **parameters: Value) -> Callable[[Transaction], None]:
    def work(tx: Transaction) -> None:
        fill(tx)
        tx.run(sql, **parameters)

    return work


REFUSED = {
    "a blob that a repository has": statement("DELETE FROM blob WHERE digest = :d", d=str(LOOSE.digest)),
    "the config of a manifest": statement("DELETE FROM repository_blob WHERE digest = :d", d=str(CONFIG.digest)),
    "the layer of a manifest": statement("DELETE FROM repository_blob WHERE digest = :d", d=str(LAYER.digest)),
    "the child of an index": statement("DELETE FROM manifest WHERE digest = :d", d=str(IMAGE.digest)),
    "a tagged manifest": statement("DELETE FROM manifest WHERE digest = :d", d=str(INDEX.digest)),
    "a repository with content": statement("DELETE FROM repository"),
    "another digest of a blob in use": statement("UPDATE blob SET digest = 'x' WHERE digest = :d", d=str(LOOSE.digest)),
    "an open tag without manifest": statement("UPDATE tag SET manifest_id = NULL"),
    "a closed tag with a manifest": statement("UPDATE tag SET valid_to = 5"),
    "a second open tag of one name": statement(
        "INSERT INTO tag (repository_id, name, digest, manifest_id, valid_from, set_by)"
        " SELECT repository_id, name, digest, manifest_id, 7, 'x' FROM tag"
    ),
    "a tag of no manifest": statement("UPDATE tag SET manifest_id = 999"),
    "a tag of no repository": statement("UPDATE tag SET repository_id = 999"),
    "a right to no blob": statement("UPDATE repository_blob SET digest = 'x' WHERE digest = :d", d=str(LOOSE.digest)),
    "a right of no repository": statement("UPDATE repository_blob SET repository_id = 999"),
    "a manifest of no repository": statement("UPDATE manifest SET repository_id = 999"),
    "a reference to another blob than it names": statement(
        "UPDATE reference SET blob_digest = :d WHERE kind = 'layer'", d=str(CONFIG.digest)
    ),
    "a reference to a blob that the repository lacks": statement(
        "UPDATE reference SET digest = 'x', blob_digest = 'x' WHERE kind = 'layer'"
    ),
    "a reference to no manifest": statement("UPDATE reference SET child_id = 999 WHERE kind = 'child'"),
    "an unknown kind of reference": statement("UPDATE reference SET kind = 'friend'"),
    "an unknown kind of review": statement("UPDATE review SET kind = 'friend'"),
    "two repositories of one name": statement(
        "INSERT INTO repository (name, created_at, created_by, cause) VALUES ('a', 1, 'x', 'push')"
    ),
    "two blobs under one key": statement("UPDATE blob SET storage_key = 'same'"),
    "a blob of negative size": statement("UPDATE blob SET size = -1"),
    "a manifest twice": statement(
        "INSERT INTO manifest (repository_id, digest, media_type, size, annotations, pushed_at, pushed_by, content)"
        " SELECT repository_id, digest, media_type, size, annotations, 9, 'x', content FROM manifest"
    ),
    "text for a number": statement("UPDATE blob SET size = 'large'"),
    "a second registry": statement(
        "INSERT INTO registry (one, instance, registry_id, created_at) VALUES (2, 'x', 'x', 1)"
    ),
}


@pytest.mark.fault("F40")
@pytest.mark.parametrize("work", REFUSED.values(), ids=REFUSED)
async def test_refused(database: Database, work: Callable[[Transaction], None]) -> None:
    """The database refuses it, and the whole transaction with it."""
    with pytest.raises((apsw.ConstraintError, psycopg.IntegrityError, psycopg.DataError)):
        await database.write(work)
    assert await rows(database, "SELECT * FROM repository") == []


def run(tx: Transaction, sql: str) -> None:
    tx.run(sql)


async def test_removed_in_order(database: Database) -> None:
    """From the tag down everything can be removed, and a manifest takes its references with it."""
    _, image_id, index_id = await database.write(fill)
    for sql in (
        "UPDATE tag SET valid_to = 5, manifest_id = NULL",
        f"DELETE FROM manifest WHERE id = {index_id}",
        f"DELETE FROM manifest WHERE id = {image_id}",
        "DELETE FROM repository_blob",
        "DELETE FROM blob",
        "DELETE FROM tag",
        "DELETE FROM repository",
    ):
        await database.write(partial(run, sql=sql))
    assert await rows(database, "SELECT * FROM reference") == []
    if not database.is_shared:
        assert await rows(database, "PRAGMA foreign_key_check") == []


async def test_closed_tag_keeps_no_manifest(database: Database) -> None:
    """A manifest that only the history of a tag names can go; the history keeps its digest."""
    _, _, index_id = await database.write(fill)
    await database.write(lambda tx: tags.delete(tx, 1, Tag("latest"), DEED))
    await database.write(lambda tx: tx.run("DELETE FROM manifest WHERE id = :id", id=index_id))
    assert await rows(database, "SELECT digest, manifest_id FROM tag") == [(str(INDEX.digest), None)]


async def test_ids_are_never_used_again(database: Database) -> None:
    """A new repository, manifest or tag never has the id of a removed one."""

    def work(tx: Transaction) -> list[int]:
        repository_id = insert_repository(tx, "x")
        manifest_id = insert_manifest(tx, repository_id, "x")
        tags.set_tag(tx, repository_id, Tag("x"), "sha256:x", manifest_id, DEED)
        row = tx.one("SELECT max(id) FROM tag")
        for table in ("tag", "manifest", "repository"):
            tx.run(f"DELETE FROM {table}")
        return [repository_id, manifest_id, row[0] if row else 0]

    assert [await database.write(work) for _ in range(3)] == [[1, 1, 1], [2, 2, 2], [3, 3, 3]]


async def test_deleted_repository_leaves_its_name(database: Database) -> None:
    """Any number of deleted repositories may have had a name; one that exists has it."""

    def make_and_delete(tx: Transaction) -> int:
        repository = repositories.find(tx, RepositoryName("a"))
        assert repository is None
        repository_id = insert_repository(tx)
        found = repositories.find(tx, RepositoryName("a"))
        assert isinstance(found, Repository)
        repositories.mark_deleted(tx, found, DEED)
        return repository_id

    assert [await database.write(make_and_delete) for _ in range(3)] == [1, 2, 3]


async def test_manifest_comes_back_with_its_id(database: Database) -> None:
    """Pushed again, a deleted manifest is the same row with a new instant, its references made anew."""
    repository_id, image_id, index_id = await database.write(fill)

    def delete_and_put(tx: Transaction) -> int:
        manifests.mark_deleted(tx, repository_id, StoredManifest(index_id, str(INDEX.digest), "", b""), DEED)
        return manifests.put(tx, repository_id, parse_manifest(INDEX.content, None), DEED)

    assert await database.write(delete_and_put) == index_id
    found = await rows(database, "SELECT child_id FROM reference WHERE manifest_id = :id", id=index_id)
    assert found == [(image_id,)]
