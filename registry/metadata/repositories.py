"""Rows of repositories."""

from dataclasses import dataclass

from registry.errors import NameUnknown
from registry.identity import Deed
from registry.lifecycle.settings import RepositorySettings
from registry.metadata import changes, reviews, settings, tags, uploads
from registry.metadata.database import Row, Transaction
from registry.oci.names import RepositoryName
from storage.blobstore import UploadState


@dataclass(frozen=True, slots=True)
class Repository:
    """Instants are Unix milliseconds; `cause` is push, mount or explicit."""

    id: int
    name: RepositoryName
    created_at: int
    created_by: str
    cause: str
    settings: RepositorySettings
    deleted_at: int | None


@dataclass(frozen=True, slots=True)
class Totals:
    """What a repository holds; `blob_bytes` counts each of its blobs once, shared with others or not."""

    manifests: int
    tags: int
    has_policy: bool
    blobs: int
    blob_bytes: int


_COLUMNS = "id, name, created_at, created_by, cause, settings, deleted_at"
_HOLDS_SOMETHING = (  # and the collector has not begun to take it
    "emptied_at IS NULL AND (EXISTS (SELECT 1 FROM repository_blob WHERE repository_id = repository.id)"
    " OR EXISTS (SELECT 1 FROM manifest WHERE repository_id = repository.id)"
    " OR settings <> '{}' OR EXISTS (SELECT 1 FROM policy WHERE repository_id = repository.id))"
)


def find(tx: Transaction, name: RepositoryName) -> Repository | None:
    row = tx.one(f"SELECT {_COLUMNS} FROM repository WHERE name = :name AND deleted_at IS NULL", name=name.value)
    return _repository(row) if row else None


def get(tx: Transaction, name: RepositoryName) -> Repository:
    """Raises NameUnknown."""
    repository = find(tx, name)
    if repository is None:
        raise NameUnknown(name.value)
    return repository


def get_id(tx: Transaction, name: RepositoryName) -> int:
    """Raises NameUnknown."""
    return get(tx, name).id


def find_deleted(tx: Transaction, name: RepositoryName) -> Repository | None:
    """The one that was deleted last, of those of this name that hold something still."""
    row = tx.one(
        f"SELECT {_COLUMNS} FROM repository WHERE name = :name AND deleted_at IS NOT NULL AND {_HOLDS_SOMETHING}"
        " ORDER BY deleted_at DESC, id DESC LIMIT 1",
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


def list_deleted(tx: Transaction, after: Repository | None, limit: int) -> list[Repository]:
    """Those that are marked as deleted and can come back, by name and deletion, after the one given."""
    rows = tx.run(
        f"SELECT {_COLUMNS} FROM repository WHERE deleted_at IS NOT NULL AND {_HOLDS_SOMETHING}"
        " AND (name, deleted_at, id) > (:name, :deleted_at, :id) ORDER BY name, deleted_at, id LIMIT :limit",
        name=after.name.value if after else "",
        deleted_at=after.deleted_at if after else 0,
        id=after.id if after else 0,
        limit=limit,
    )
    return [_repository(row) for row in rows]


def get_settings(tx: Transaction, repository_id: int) -> RepositorySettings:
    return settings.get(tx, repository_id)


def set_settings(tx: Transaction, repository_id: int, wanted: RepositorySettings, deed: Deed) -> None:
    """Nothing happens when they are so already."""
    settings.put(tx, repository_id, wanted, deed)


def get_totals(tx: Transaction, repository: Repository) -> Totals:
    row = tx.only(
        "SELECT (SELECT count(*) FROM manifest WHERE repository_id = :id AND deleted_at IS NULL),"
        " (SELECT count(*) FROM tag WHERE repository_id = :id AND valid_to IS NULL),"
        " EXISTS (SELECT 1 FROM policy WHERE repository_id = :id),"
        " count(*), coalesce(sum(blob.size), 0) FROM repository_blob JOIN blob USING (digest)"
        " WHERE repository_id = :id AND deleted_at IS NULL",
        id=repository.id,
    )
    return Totals(row[0], row[1], bool(row[2]), row[3], row[4])


def mark_deleted(tx: Transaction, repository: Repository, deed: Deed) -> list[UploadState]:
    """Hide the repository, close its tags, end its upload sessions. Returns what their store must forget.

    Raises Denied: a tag is protected.
    """
    changes.append(tx, deed, "repository.delete", repository.id)
    tx.run("UPDATE repository SET deleted_at = :at WHERE id = :id", at=deed.at, id=repository.id)
    tags.close_all(tx, repository.id, deed)  # one change row for the repository, not one for each tag
    reviews.postpone(tx, "repository", str(repository.id), "repository.delete", deed.at)
    return uploads.remove_all(tx, repository.name)


def revive(tx: Transaction, repository: Repository, deed: Deed) -> int:
    """Show a deleted repository again, with the tags that it had. Returns how many."""
    tx.run("UPDATE repository SET deleted_at = NULL WHERE id = :id", id=repository.id)
    count = tags.reopen_all(tx, repository.id, repository.deleted_at or 0, deed)
    changes.append(tx, deed, "repository.restore", repository.id)
    return count


def _repository(row: Row) -> Repository:
    return Repository(row[0], RepositoryName(row[1]), row[2], row[3], row[4], settings.load(row[5]), row[6])
