"""Rows of manifests, of what they name, and of what names them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from registry.identity import Deed
from registry.metadata import blobs, changes, reviews, tags
from registry.metadata.database import Row, Transaction
from registry.oci.manifest import Kind, Manifest, ManifestReference
from registry.oci.names import Reference, RepositoryName, Tag
from storage.digest import Digest


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest as it was pushed."""

    id: int
    digest: str
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Referrer:
    """A manifest as the list of its subject's referrers shows it; `annotations` is JSON text."""

    digest: str
    media_type: str
    size: int
    artifact_type: str | None
    annotations: str


_COLUMNS = "manifest.id, manifest.digest, manifest.media_type, manifest.content"


def find(tx: Transaction, name: RepositoryName, reference: Reference) -> StoredManifest | None:
    if isinstance(reference, Tag):
        row = tx.one(
            f"SELECT {_COLUMNS} FROM repository"
            " JOIN tag ON tag.repository_id = repository.id AND tag.valid_to IS NULL AND tag.name = :tag"
            " JOIN manifest ON manifest.id = tag.manifest_id"
            " WHERE repository.name = :name AND repository.deleted_at IS NULL",
            name=name.value,
            tag=reference.value,
        )
    else:
        row = tx.one(
            f"SELECT {_COLUMNS} FROM repository JOIN manifest ON manifest.repository_id = repository.id"
            " WHERE repository.name = :name AND repository.deleted_at IS NULL"
            " AND manifest.digest = :digest AND manifest.deleted_at IS NULL",
            name=name.value,
            digest=str(reference),
        )
    return StoredManifest(*row) if row else None


def list_missing(tx: Transaction, repository_id: int, manifest: Manifest) -> list[ManifestReference]:
    """What the manifest needs and the repository lacks. Children are sought as manifests, then as blobs."""
    return [
        reference
        for reference in manifest.references
        if reference.is_required
        and not blobs.has_right(tx, repository_id, reference.digest)
        and not (reference.kind is Kind.CHILD and _find_id(tx, repository_id, reference.digest))
    ]


def put(tx: Transaction, repository_id: int, manifest: Manifest, deed: Deed) -> int:
    """Insert the manifest, or bring a deleted one back, with its references. Returns its id."""
    if found := _find_id(tx, repository_id, manifest.digest):
        return found
    row = tx.only(
        "INSERT INTO manifest (repository_id, digest, media_type, size, artifact_type, subject, annotations,"
        " pushed_at, pushed_by, content) VALUES (:repository_id, :digest, :media_type, :size, :artifact_type,"
        " :subject, :annotations, :at, :by, :content)"
        " ON CONFLICT (repository_id, digest) DO UPDATE SET deleted_at = NULL, media_type = excluded.media_type,"
        " artifact_type = excluded.artifact_type, subject = excluded.subject, annotations = excluded.annotations,"
        " pushed_at = excluded.pushed_at, pushed_by = excluded.pushed_by RETURNING id",
        repository_id=repository_id,
        digest=str(manifest.digest),
        media_type=manifest.media_type,
        size=len(manifest.content),
        artifact_type=manifest.artifact_type,
        subject=str(manifest.subject) if manifest.subject else None,
        annotations=json.dumps(manifest.annotations if manifest.subject else {}, ensure_ascii=False),
        at=deed.at,
        by=deed.actor.name,
        content=manifest.content,
    )
    tx.run("DELETE FROM reference WHERE manifest_id = :id", id=row[0])
    for reference in manifest.references:
        _put_reference(tx, repository_id, row[0], reference)
    _join_waiting_parents(tx, repository_id, row[0], manifest.digest)
    reviews.postpone(tx, "manifest", str(row[0]), "manifest.push", deed.at + reviews.GRACE)
    changes.append(tx, deed, "manifest.push", repository_id, digest=str(manifest.digest))
    return int(row[0])


def list_parents(tx: Transaction, manifest_id: int) -> list[str]:
    """The digests of visible indexes that name the manifest, at most ten."""
    rows = tx.run(
        "SELECT manifest.digest FROM reference JOIN manifest ON manifest.id = reference.manifest_id"
        " WHERE reference.child_id = :id AND manifest.deleted_at IS NULL LIMIT 10",
        id=manifest_id,
    )
    return [row[0] for row in rows]


def mark_deleted(tx: Transaction, repository_id: int, manifest: StoredManifest, deed: Deed) -> None:
    """Hide the manifest and close its tags."""
    tx.run("UPDATE manifest SET deleted_at = :at WHERE id = :id", at=deed.at, id=manifest.id)
    for name in tags.close_those_of(tx, manifest.id, deed):
        changes.append(tx, deed, "tag.delete", repository_id, digest=manifest.digest, tag=name)
    changes.append(tx, deed, "manifest.delete", repository_id, digest=manifest.digest)
    reviews.postpone(tx, "manifest", str(manifest.id), "manifest.delete", deed.at + reviews.GRACE)


def list_referrers(
    tx: Transaction, name: RepositoryName, subject: Digest, artifact_type: str | None, after: str
) -> Iterator[Referrer]:
    """The referrers of a subject in the order of their digests, those after the digest `after`."""
    rows = tx.each(
        "SELECT manifest.digest, media_type, size, artifact_type, annotations FROM repository"
        " JOIN manifest ON manifest.repository_id = repository.id"
        " WHERE repository.name = :name AND repository.deleted_at IS NULL"
        " AND subject = :subject AND manifest.deleted_at IS NULL AND manifest.digest > :after"
        " AND (:artifact_type IS NULL OR artifact_type = :artifact_type) ORDER BY manifest.digest",
        name=name.value,
        subject=str(subject),
        after=after,
        artifact_type=artifact_type,
    )
    return (Referrer(*row) for row in rows)


def _find_id(tx: Transaction, repository_id: int, digest: Digest) -> int | None:
    row: Row | None = tx.one(
        "SELECT id FROM manifest WHERE repository_id = :id AND digest = :digest AND deleted_at IS NULL",
        id=repository_id,
        digest=str(digest),
    )
    return row[0] if row else None


def _put_reference(tx: Transaction, repository_id: int, manifest_id: int, reference: ManifestReference) -> None:
    """A subject keeps nothing alive and is kept by nothing, so it never carries a foreign key."""
    is_subject = reference.kind is Kind.SUBJECT
    child = _find_id(tx, repository_id, reference.digest) if reference.kind is Kind.CHILD else None
    has_blob = not is_subject and child is None and blobs.has_right(tx, repository_id, reference.digest)
    tx.run(
        "INSERT INTO reference (manifest_id, kind, digest, repository_id, blob_digest, child_id)"
        " VALUES (:manifest_id, :kind, :digest, :repository_id, :blob_digest, :child_id)",
        manifest_id=manifest_id,
        kind=reference.kind.value,
        digest=str(reference.digest),
        repository_id=repository_id,
        blob_digest=str(reference.digest) if has_blob else None,
        child_id=child,
    )


def _join_waiting_parents(tx: Transaction, repository_id: int, manifest_id: int, digest: Digest) -> None:
    tx.run(
        "UPDATE reference SET child_id = :id, blob_digest = NULL"
        " WHERE repository_id = :repository_id AND digest = :digest AND kind = 'child' AND child_id IS NULL",
        id=manifest_id,
        repository_id=repository_id,
        digest=str(digest),
    )
