"""Rows of blobs (one for each digest) and of the repositories' right to them."""

from dataclasses import dataclass

from registry.identity import Deed
from registry.metadata import changes, discards, reviews
from registry.metadata.database import Row, Transaction
from registry.oci.names import RepositoryName
from storage.digest import Digest


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """`size` in bytes, stored under `key`. A damaged one has other bytes there than it should."""

    digest: Digest
    key: str
    size: int
    is_damaged: bool = False


@dataclass(frozen=True, slots=True)
class Right:
    """A repository's right to a blob: is it named by a manifest, and until when is it leased (Unix milliseconds)."""

    repository_id: int
    is_named: bool
    lease_until: int
    is_condemned: bool


def find(tx: Transaction, name: RepositoryName, digest: Digest) -> StoredBlob | None:
    """The blob, if the repository has the right to it."""
    row = tx.one(
        "SELECT blob.storage_key, blob.size, blob.damaged_at IS NOT NULL FROM repository"
        " JOIN repository_blob ON repository_blob.repository_id = repository.id"
        " JOIN blob ON blob.digest = repository_blob.digest"
        " WHERE repository.name = :name AND repository.deleted_at IS NULL"
        " AND repository_blob.digest = :digest AND repository_blob.deleted_at IS NULL",
        name=name.value,
        digest=str(digest),
    )
    return _blob(digest, row) if row else None


def find_stored(tx: Transaction, digest: Digest) -> StoredBlob | None:
    """The blob, whoever has the right to it."""
    row = tx.one(
        "SELECT storage_key, size, damaged_at IS NOT NULL FROM blob WHERE digest = :digest", digest=str(digest)
    )
    return _blob(digest, row) if row else None


def find_right(tx: Transaction, name: RepositoryName, digest: Digest) -> Right | None:
    """The visible repository's right to the blob."""
    row = tx.one(
        "SELECT repository.id, EXISTS (SELECT 1 FROM reference"
        " WHERE reference.repository_id = repository.id AND blob_digest = :digest), lease_until,"
        " condemned_at IS NOT NULL FROM repository"
        " JOIN repository_blob ON repository_blob.repository_id = repository.id"
        " WHERE repository.name = :name AND repository.deleted_at IS NULL"
        " AND repository_blob.digest = :digest AND repository_blob.deleted_at IS NULL",
        name=name.value,
        digest=str(digest),
    )
    return Right(row[0], bool(row[1]), row[2], bool(row[3])) if row else None


def lease(tx: Transaction, repository_id: int, digest: Digest, until: int) -> bool:
    """Keep the right until then, also if it is condemned. False when it is gone."""
    rows = tx.run(
        "UPDATE repository_blob SET condemned_at = NULL,"
        " lease_until = CASE WHEN lease_until < :until THEN :until ELSE lease_until END"
        " WHERE repository_id = :id AND digest = :digest AND deleted_at IS NULL RETURNING 1",
        id=repository_id,
        digest=str(digest),
        until=until,
    )
    return bool(rows)


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


def replace_key(tx: Transaction, damaged: StoredBlob, key: str, now: int) -> None:
    """Point the digest at a new copy of its bytes; the old one is discarded."""
    discards.add(tx, damaged.key, damaged.size, now)
    tx.run(
        "UPDATE blob SET storage_key = :key, damaged_at = NULL, scrubbed_at = 0"
        " WHERE digest = :digest AND storage_key = :damaged",
        key=key,
        digest=str(damaged.digest),
        damaged=damaged.key,
    )


@dataclass(frozen=True, slots=True)
class GivenRight:
    """What gives a repository the right to a blob (`action`: blob.push, blob.mount), and a lease with it."""

    repository_id: int
    digest: Digest
    action: str
    lease_until: int


def has_right(tx: Transaction, repository_id: int, digest: Digest) -> bool:
    row = tx.one(
        "SELECT 1 FROM repository_blob WHERE repository_id = :id AND digest = :digest AND deleted_at IS NULL",
        id=repository_id,
        digest=str(digest),
    )
    return row is not None


def is_served(tx: Transaction, repository_id: int, digest: Digest) -> bool:
    """Whether the repository has the right to the blob, and its bytes are not known to be damaged."""
    row = tx.one(
        "SELECT 1 FROM repository_blob JOIN blob USING (digest)"
        " WHERE repository_id = :id AND digest = :digest AND deleted_at IS NULL AND damaged_at IS NULL",
        id=repository_id,
        digest=str(digest),
    )
    return row is not None


def give_right(tx: Transaction, right: GivenRight, deed: Deed) -> None:
    """Let the repository read the blob, join the references that waited for it, and have it reviewed."""
    repository_id, digest = right.repository_id, right.digest
    reviews.postpone(tx, "right", reviews.right_key(repository_id, str(digest)), right.action, right.lease_until)
    if lease(tx, repository_id, digest, right.lease_until):
        return
    tx.run(
        "INSERT INTO repository_blob (repository_id, digest, added_at, lease_until)"
        " VALUES (:id, :digest, :at, :lease_until)"
        " ON CONFLICT (repository_id, digest) DO UPDATE SET added_at = excluded.added_at, deleted_at = NULL,"
        " lease_until = excluded.lease_until, condemned_at = NULL",
        id=repository_id,
        digest=str(digest),
        at=deed.at,
        lease_until=right.lease_until,
    )
    tx.run(
        "UPDATE reference SET blob_digest = digest WHERE repository_id = :id AND digest = :digest"
        " AND blob_digest IS NULL AND child_id IS NULL AND kind <> 'subject'",
        id=repository_id,
        digest=str(digest),
    )
    changes.append(tx, deed, right.action, repository_id, digest=str(digest))


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
        reviews.advance(tx, "right", reviews.right_key(repository_id, str(digest)), "blob.delete", deed.at)
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
        "SELECT digest, storage_key, size, damaged_at IS NOT NULL FROM blob WHERE digest > :after"
        " ORDER BY digest LIMIT :limit",
        after=after,
        limit=limit,
    )
    return [_blob(Digest.parse(row[0]), row[1:]) for row in rows]


def _blob(digest: Digest, row: Row) -> StoredBlob:
    return StoredBlob(digest, row[0], row[1], bool(row[2]))
