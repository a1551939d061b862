"""All images of one repository as its policy sees them: a few queries, each for all of them."""

from collections.abc import Mapping
from dataclasses import dataclass

from registry.lifecycle.images import Blob, Image
from registry.metadata.database import Transaction


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image with the ids of its manifest's row and of its tags'."""

    id: int
    image: Image
    tag_ids: Mapping[str, int]


def list_images(tx: Transaction, repository_id: int, *, with_sizes: bool) -> list[StoredImage]:
    """Every visible manifest. Without sizes `blobs` are empty; `size` is the manifest's own, always."""
    tags, tag_ids = _list_tags(tx, repository_id)
    pulls = _list_pulls(tx, repository_id)
    children = _list_children(tx, repository_id)
    blobs = list_blobs(tx, repository_id) if with_sizes else {}
    tagged_once = _list_tagged_once(tx, repository_id)
    return [
        StoredImage(
            manifest_id,
            Image(
                digest=digest,
                media_type=media_type,
                pushed_at=pushed_at,
                tags=tags.get(manifest_id, {}),
                pulls=pulls.get(manifest_id, {}),
                size=size,
                blobs=blobs.get(manifest_id, ()),
                children=tuple(children.get(manifest_id, ())),
                subject=subject,
                was_tagged=digest in tagged_once,
            ),
            tag_ids.get(manifest_id, {}),
        )
        for manifest_id, digest, media_type, size, subject, pushed_at in tx.each(
            "SELECT id, digest, media_type, size, subject, pushed_at FROM manifest"
            " WHERE repository_id = :id AND deleted_at IS NULL",
            id=repository_id,
        )
    ]


def _list_tagged_once(tx: Transaction, repository_id: int) -> set[str]:
    """The digests that a tag pointed to and does not any more."""
    rows = tx.each(
        "SELECT DISTINCT digest FROM tag WHERE repository_id = :id AND valid_to IS NOT NULL", id=repository_id
    )
    return {row[0] for row in rows}


def list_blobs(tx: Transaction, repository_id: int) -> dict[int, tuple[Blob, ...]]:
    """The blobs that each manifest of the repository names, each once, by the manifest's id; also of deleted ones."""
    blobs = {
        digest: Blob(digest, size)
        for digest, size in tx.each(
            "SELECT blob.digest, blob.size FROM repository_blob JOIN blob ON blob.digest = repository_blob.digest"
            " WHERE repository_blob.repository_id = :id",
            id=repository_id,
        )
    }
    named: dict[int, list[Blob]] = {}
    for manifest_id, digest in tx.each(
        "SELECT DISTINCT manifest_id, blob_digest FROM reference WHERE repository_id = :id AND blob_digest IS NOT NULL",
        id=repository_id,
    ):
        named.setdefault(manifest_id, []).append(blobs[digest])
    return {manifest_id: tuple(each) for manifest_id, each in named.items()}


def list_shared(tx: Transaction, repository_id: int) -> set[str]:
    """The blobs of the repository to which another one has the right too."""
    rows = tx.each(
        "SELECT mine.digest FROM repository_blob AS mine WHERE mine.repository_id = :id AND EXISTS"
        " (SELECT 1 FROM repository_blob AS other JOIN repository ON repository.id = other.repository_id"
        " WHERE other.digest = mine.digest AND other.repository_id <> :id AND other.deleted_at IS NULL"
        " AND repository.deleted_at IS NULL)",
        id=repository_id,
    )
    return {row[0] for row in rows}


def _list_tags(tx: Transaction, repository_id: int) -> tuple[dict[int, dict[str, int]], dict[int, dict[str, int]]]:
    """By the manifest's id and the tag's name: since when it points there, and the id of its row."""
    instants: dict[int, dict[str, int]] = {}
    ids: dict[int, dict[str, int]] = {}
    for manifest_id, name, tag_id, valid_from in tx.each(
        "SELECT manifest_id, name, id, valid_from FROM tag WHERE repository_id = :id AND valid_to IS NULL",
        id=repository_id,
    ):
        instants.setdefault(manifest_id, {})[name] = valid_from
        ids.setdefault(manifest_id, {})[name] = tag_id
    return instants, ids


def _list_pulls(tx: Transaction, repository_id: int) -> dict[int, dict[str, int]]:
    pulls: dict[int, dict[str, int]] = {}
    for manifest_id, identity, at in tx.each(
        "SELECT pull.manifest_id, pull.identity, pull.at FROM manifest JOIN pull ON pull.manifest_id = manifest.id"
        " WHERE manifest.repository_id = :id AND manifest.deleted_at IS NULL",
        id=repository_id,
    ):
        pulls.setdefault(manifest_id, {})[identity] = at
    return pulls


def _list_children(tx: Transaction, repository_id: int) -> dict[int, list[str]]:
    children: dict[int, list[str]] = {}
    for manifest_id, digest in tx.each(
        "SELECT manifest_id, digest FROM reference WHERE repository_id = :id AND kind = 'child'", id=repository_id
    ):
        children.setdefault(manifest_id, []).append(digest)
    return children
