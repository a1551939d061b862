"""Rows for tests, made by the functions that make them in the product."""

from registry.identity import Actor, Deed
from registry.metadata import blobs, manifests, repositories
from registry.metadata.blobs import GivenRight, StoredBlob
from registry.metadata.database import Database, Row, Transaction, Value
from registry.oci.manifest import parse_manifest
from registry.oci.names import RepositoryName
from storage.digest import Digest
from tests.scenarios.images import Content, make_blob, make_image

DEED = Deed(Actor("tester", "127.0.0.1", "request"), 1_000)


def at(instant: int) -> Deed:
    return Deed(DEED.actor, instant)


def insert_repository(tx: Transaction, name: str = "a") -> int:
    return repositories.get_or_make(tx, RepositoryName.parse(name), "push", DEED)


def insert_blob(tx: Transaction, repository_id: int, blob: Content) -> Digest:
    if not blobs.find_stored(tx, blob.digest):
        blobs.insert(tx, StoredBlob(blob.digest, f"key {blob.digest.encoded}", len(blob.content)), DEED)
    blobs.give_right(tx, GivenRight(repository_id, blob.digest, "blob.push", DEED.at), DEED)
    return blob.digest


def insert_manifest(tx: Transaction, repository_id: int, manifest: Content | str) -> int:
    """Insert the manifest, whatever is absent; a text makes an image of its own."""
    if isinstance(manifest, str):
        manifest = make_image(make_blob("config"), annotations={"note": manifest})
    return manifests.put(tx, repository_id, parse_manifest(manifest.content, manifest.media_type), DEED)


async def rows(database: Database, sql: str, **parameters: Value) -> list[Row]:
    return await database.read(lambda tx: tx.run(sql, **parameters))
