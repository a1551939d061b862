"""Rows of blobs (one for each digest) and of the repositories' right to them."""

from dataclasses import dataclass

from registry.identity import Deed
from registry.metadata import changes, reviews
from registry.metadata.database import Transaction
from registry.oci.names import RepositoryName
from storage.digest import Digest


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """`size` in bytes, stored under `key`."""

    digest: Digest
    key: str
    size: int


def find(tx: Transaction, name: RepositoryName, digest: Digest) -> StoredBlob | None:
    """The blob, if the repository has the right to it."""
    row = tx.one(
        "SELECT blob.storage_key, blob.size FROM repository"
        " JOIN repository_blob ON repository_blob.repository_id = repository.id"
        " JOIN blob ON blob.digest = repository_blob.digest"
        " WHERE repository.name = :name AND repository.deleted_at IS NULL"
        " AND repository_blob.digest = :digest AND repository_blob.deleted_at IS NULL",
        name=name.value,
        digest=str(digest),
    )
    return StoredBlob(digest, *row) if row else None


def find_stored(tx: Transaction, digest: Digest) -> StoredBlob | None:
    """The blob, whoever has the right to it."""
    row = tx.one("SELECT storage_key, size FROM blob WHERE digest = :digest", digest=str(digest))
    return StoredBlob(digest, *row) if row else None


@dataclass(frozen=True, slots=True)
class Source:
    """A repository that has the right to a blob."""

    id: int
    name: RepositoryName


def list_repositories(tx: Transaction, digest: Digest, only: RepositoryName | None) -> list[Source]:
    """Repositories that have the right to the blob, at most a hundred; `only` this one, if there is one."""
    rows = tx.run(
        "SELECT repository.id, name FROM repository_blob JOIN repository"
        " ON repository.id = repository_blob.repository_id"
        " WHERE repository_blob.digest = :digest AND repository_blob.deleted_at IS NULL"
        " AND repository.deleted_at IS NULL AND (:only IS NULL OR name = :only) LIMIT 100",
        digest=str(digest),
        only=only.value if only else None,
    )
    return [Source(row[0], RepositoryName(row[1])) for row in rows]


def insert(tx: Transaction, blob: StoredBlob, deed: Deed) -> None:
    tx.run(
        "INSERT INTO blob (digest, storage_key, size, stored_at) VALUES (:digest, :key, :size, :at)",
        digest=str(blob.digest),
        key=blob.key,
        size=blob.size,
        at=deed.at,
    )


def replace_key(tx: Transaction, damaged: StoredBlob, key: str) -> None:
    """Point the digest at a new copy of its bytes."""
    tx.run(
        "UPDATE blob SET storage_key = :key WHERE digest = :digest AND storage_key = :damaged",
        key=key,
        digest=str(damaged.digest),
        damaged=damaged.key,
    )


def has_right(tx: Transaction, repository_id: int, digest: Digest) -> bool:
    row = tx.one(
        "SELECT 1 FROM repository_blob WHERE repository_id = :id AND digest = :digest AND deleted_at IS NULL",
        id=repository_id,
        digest=str(digest),
    )
    return row is not None


def give_right(tx: Transaction, repository_id: int, digest: Digest, action: str, deed: Deed) -> None:
    """Let the repository read the blob, join the references that waited for it, and have it reviewed."""
    reviews.postpone(tx, "blob", str(digest), action, deed.at + reviews.GRACE)
    if has_right(tx, repository_id, digest):
        return
    tx.run(
        "INSERT INTO repository_blob (repository_id, digest, added_at) VALUES (:id, :digest, :at)"
        " ON CONFLICT (repository_id, digest) DO UPDATE SET added_at = excluded.added_at, deleted_at = NULL",
        id=repository_id,
        digest=str(digest),
        at=deed.at,
    )
    tx.run(
        "UPDATE reference SET blob_digest = digest WHERE repository_id = :id AND digest = :digest"
        " AND blob_digest IS NULL AND child_id IS NULL AND kind <> 'subject'",
        id=repository_id,
        digest=str(digest),
    )
    changes.append(tx, deed, action, repository_id, digest=str(digest))


def take_right(tx: Transaction, repository_id: int, digest: Digest, deed: Deed) -> bool:
    """Mark the repository's right to the blob as deleted. False when it had none."""
    rows = tx.run(
        "UPDATE repository_blob SET deleted_at = :at"
        " WHERE repository_id = :id AND digest = :digest AND deleted_at IS NULL RETURNING 1",
        id=repository_id,
        digest=str(digest),
        at=deed.at,
    )
    if rows:
        reviews.postpone(tx, "blob", str(digest), "blob.delete", deed.at + reviews.GRACE)
        changes.append(tx, deed, "blob.delete", repository_id, digest=str(digest))
    return bool(rows)


def list_manifests_naming(tx: Transaction, repository_id: int, digest: Digest) -> list[str]:
    """The digests of visible manifests that name the blob, at most ten."""
    rows = tx.run(
        "SELECT DISTINCT manifest.digest FROM reference JOIN manifest ON manifest.id = reference.manifest_id"
        " WHERE reference.repository_id = :id AND reference.digest = :digest AND reference.blob_digest IS NOT NULL"
        " AND manifest.deleted_at IS NULL LIMIT 10",
        id=repository_id,
        digest=str(digest),
    )
    return [row[0] for row in rows]


def is_any_stored(tx: Transaction) -> bool:
    return tx.one("SELECT 1 FROM blob LIMIT 1") is not None


def count(tx: Transaction) -> int:
    return int(tx.only("SELECT count(*) FROM blob")[0])


def list_stored(tx: Transaction, after: str, limit: int) -> list[StoredBlob]:
    """Every blob, in the order of digests: for checks."""
    rows = tx.run(
        "SELECT digest, storage_key, size FROM blob WHERE digest > :after ORDER BY digest LIMIT :limit",
        after=after,
        limit=limit,
    )
    return [StoredBlob(Digest.parse(row[0]), row[1], row[2]) for row in rows]
