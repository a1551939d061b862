"""All that a request for a manifest asks the database, in one query: over a network it is what such a request costs."""

from dataclasses import dataclass

from registry.metadata.database import Transaction
from registry.oci.names import Reference, RepositoryName, Tag

_SELECT = (
    "SELECT registry.access_epoch, (SELECT coalesce(max(deleted_at), -1) FROM repository"
    " WHERE name = :name AND deleted_at IS NOT NULL),"
    " manifest.id, manifest.digest, manifest.media_type, manifest.size FROM registry"
    " LEFT JOIN repository ON repository.name = :name AND repository.deleted_at IS NULL"
)


@dataclass(frozen=True, slots=True)
class FoundManifest:
    """A visible manifest, without its `size` bytes."""

    id: int
    digest: str
    media_type: str
    size: int


@dataclass(frozen=True, slots=True)
class Lookup:
    """Of one moment: the epoch of access, what a reference in a repository names, and how old the repository is.

    `deleted_at` is when a repository of the name was deleted last, in Unix milliseconds; -1 for never.
    """

    access_epoch: int
    deleted_at: int
    manifest: FoundManifest | None


def look_up(tx: Transaction, name: RepositoryName, reference: Reference) -> Lookup:
    if isinstance(reference, Tag):
        row = tx.only(
            f"{_SELECT} LEFT JOIN tag"
            " ON tag.repository_id = repository.id AND tag.valid_to IS NULL AND tag.name = :tag"
            " LEFT JOIN manifest ON manifest.id = tag.manifest_id",
            name=name.value,
            tag=reference.value,
        )
    else:
        row = tx.only(
            f"{_SELECT} LEFT JOIN manifest ON manifest.repository_id = repository.id"
            " AND manifest.digest = :digest AND manifest.deleted_at IS NULL",
            name=name.value,
            digest=str(reference),
        )
    return Lookup(row[0], row[1], FoundManifest(*row[2:]) if row[2] is not None else None)


def find_content(tx: Transaction, manifest: FoundManifest) -> bytes | None:
    """The manifest's bytes; None when it has been removed meanwhile."""
    row = tx.one(
        "SELECT content FROM manifest WHERE id = :id AND digest = :digest", id=manifest.id, digest=manifest.digest
    )
    return row[0] if row else None
