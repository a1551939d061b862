"""Rows of repositories."""

from dataclasses import dataclass

from registry.identity import Deed
from registry.metadata import changes, reviews, tags, uploads
from registry.metadata.database import Row, Transaction
from registry.oci.names import RepositoryName


@dataclass(frozen=True, slots=True)
class Repository:
    """Instants are Unix milliseconds; `cause` is push, mount or explicit."""

    id: int
    name: RepositoryName
    created_at: int
    created_by: str
    cause: str


@dataclass(frozen=True, slots=True)
class Totals:
    """What a repository holds; `blob_bytes` counts each of its blobs once, shared with others or not."""

    manifests: int
    tags: int
    blobs: int
    blob_bytes: int


def find(tx: Transaction, name: RepositoryName) -> Repository | None:
    row = tx.one(
        "SELECT id, name, created_at, created_by, cause FROM repository WHERE name = :name AND deleted_at IS NULL",
        name=name.value,
    )
    return _repository(row) if row else None


def is_visible(tx: Transaction, repository_id: int) -> bool:
    return tx.one("SELECT 1 FROM repository WHERE id = :id AND deleted_at IS NULL", id=repository_id) is not None


def get_or_make(tx: Transaction, name: RepositoryName, cause: str, deed: Deed) -> int:
    """The id of the repository, which begins to exist with its first content."""
    if repository := find(tx, name):
        return repository.id
    row = tx.only(
        "INSERT INTO repository (name, created_at, created_by, cause) VALUES (:name, :at, :by, :cause) RETURNING id",
        name=name.value,
        at=deed.at,
        by=deed.actor.name,
        cause=cause,
    )
    changes.append(tx, deed, "repository.create", row[0])
    return int(row[0])


def find_deletion(tx: Transaction, name: RepositoryName) -> int:
    """When a repository of this name was deleted last, in Unix milliseconds; -1 for never."""
    row = tx.only(
        "SELECT coalesce(max(deleted_at), -1) FROM repository WHERE name = :name AND deleted_at IS NOT NULL",
        name=name.value,
    )
    return int(row[0])


def list_names(tx: Transaction, after: str, limit: int) -> list[RepositoryName]:
    """Names after `after`, in byte order."""
    rows = tx.run(
        "SELECT name FROM repository WHERE name > :after AND deleted_at IS NULL ORDER BY name LIMIT :limit",
        after=after,
        limit=limit,
    )
    return [RepositoryName(row[0]) for row in rows]


def get_totals(tx: Transaction, repository: Repository) -> Totals:
    row = tx.only(
        "SELECT (SELECT count(*) FROM manifest WHERE repository_id = :id AND deleted_at IS NULL),"
        " (SELECT count(*) FROM tag WHERE repository_id = :id AND valid_to IS NULL),"
        " count(*), coalesce(sum(blob.size), 0) FROM repository_blob JOIN blob USING (digest)"
        " WHERE repository_id = :id AND deleted_at IS NULL",
        id=repository.id,
    )
    return Totals(*row)


def mark_deleted(tx: Transaction, repository: Repository, deed: Deed) -> list[str]:
    """Hide the repository, close its tags, end its upload sessions. Returns the sessions' storage keys."""
    changes.append(tx, deed, "repository.delete", repository.id)
    tx.run("UPDATE repository SET deleted_at = :at WHERE id = :id", at=deed.at, id=repository.id)
    tags.close_all(tx, repository.id, deed)  # one change row for the repository, not one for each tag
    reviews.postpone(tx, "repository", str(repository.id), "repository.delete", deed.at + reviews.GRACE)
    return uploads.remove_all(tx, repository.name)


def _repository(row: Row) -> Repository:
    return Repository(row[0], RepositoryName(row[1]), *row[2:])
