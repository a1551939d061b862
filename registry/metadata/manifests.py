"""Rows of manifests, of what they name, and of what names them."""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from registry.errors import ManifestUnknown
from registry.identity import Deed
from registry.metadata import blobs, changes, pulls, reviews, tags
from registry.metadata.database import Row, Transaction
from registry.oci.manifest import Kind, Manifest, ManifestReference, parse_manifest
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


@dataclass(frozen=True, slots=True)
class ListedManifest:
    """A manifest and who names it; `blob_bytes` counts each blob once that it names itself, of its children none.

    Instants are Unix milliseconds; `tags` are in byte order.
    """

    digest: str
    media_type: str
    artifact_type: str | None
    blob_bytes: int
    pushed_at: int
    pushed_by: str
    deleted_at: int | None
    tags: tuple[str, ...]


_COLUMNS = "manifest.id, manifest.digest, manifest.media_type, manifest.content"
_CHILDREN = "SELECT DISTINCT child_id FROM reference WHERE manifest_id = :id AND child_id IS NOT NULL"


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
        and not blobs.is_served(tx, repository_id, reference.digest)
        and not (reference.kind is Kind.CHILD and _find_id(tx, repository_id, reference.digest))
    ]


def put(tx: Transaction, repository_id: int, manifest: Manifest, deed: Deed) -> int:
    """Insert the manifest, or bring a deleted one back, with its references. Returns its id."""
    if found := _find_id(tx, repository_id, manifest.digest):
        pulls.put(tx, [(found, pulls.PUSHED_AGAIN, deed.at)])
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
    _put_references(tx, repository_id, row[0], manifest, deed)
    _join_waiting_parents(tx, repository_id, row[0], str(manifest.digest), deed)
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
    """Hide the manifest and close its tags. Raises Denied: one of them is protected."""
    for name in tags.close_those_of(tx, repository_id, manifest.id, deed):
        changes.append(tx, deed, "tag.delete", repository_id, digest=manifest.digest, tag=name)
    tx.run("UPDATE manifest SET deleted_at = :at WHERE id = :id", at=deed.at, id=manifest.id)
    changes.append(tx, deed, "manifest.delete", repository_id, digest=manifest.digest)
    reviews.postpone(tx, "manifest", str(manifest.id), "manifest.delete", deed.at)


def find_stored(tx: Transaction, repository_id: int, digest: str) -> int | None:
    """The id of the manifest, also of one that is marked as deleted."""
    row = tx.one(
        "SELECT id FROM manifest WHERE repository_id = :id AND digest = :digest", id=repository_id, digest=digest
    )
    return int(row[0]) if row else None


def revive(
    tx: Transaction, repository_id: int, manifest_id: int, deed: Deed, may_lack: Collection[Kind] = ()
) -> list[str]:
    """Bring back a manifest that is marked as deleted, with all that it names: whole, but for kinds it `may_lack`.

    Returns the digests of the manifests that were hidden. Raises ManifestUnknown, naming what is gone for good.
    """
    revived: list[str] = []
    gone: dict[str, None] = {}
    waiting, visited = [manifest_id], {manifest_id}
    while waiting:
        part = waiting.pop()
        digest = _unhide(tx, repository_id, part, deed)
        revived += [digest] if digest else []
        _revive_rights(tx, repository_id, part, deed)
        gone |= dict.fromkeys(_list_gone(tx, part, may_lack))
        children = [row[0] for row in tx.run(_CHILDREN, id=part) if row[0] not in visited]
        visited.update(children)
        waiting += children
    if gone:
        raise ManifestUnknown(
            next(iter(gone)), f"it cannot be restored, for what it needs is gone for good: {', '.join(gone)}"
        )
    return revived


def is_any_incomplete(tx: Transaction, repository_id: int, may_lack: Collection[Kind]) -> bool:
    """Whether any manifest of the repository lacks a child that it needs."""
    if Kind.CHILD in may_lack:
        return False
    rows = tx.run(
        "SELECT DISTINCT manifest_id FROM reference WHERE repository_id = :id AND kind = 'child'"
        " AND blob_digest IS NULL AND child_id IS NULL",
        id=repository_id,
    )
    return any(_list_gone(tx, row[0], may_lack) for row in rows)


def list_page(
    tx: Transaction, repository_id: int, after: str, limit: int, *, is_deleted: bool, is_untagged: bool
) -> list[ListedManifest]:
    """Those after the digest `after`, by digest: the visible ones or those marked as deleted."""
    rows = tx.run(
        "SELECT digest, media_type, artifact_type, (SELECT coalesce(sum(blob.size), 0) FROM blob WHERE blob.digest IN"
        " (SELECT blob_digest FROM reference WHERE manifest_id = manifest.id AND kind IN ('config', 'layer'))),"
        " pushed_at, pushed_by, deleted_at, (SELECT string_agg(name, ',') FROM tag WHERE manifest_id = manifest.id)"
        " FROM manifest WHERE repository_id = :id AND digest > :after AND (deleted_at IS NOT NULL) = :is_deleted"
        " AND NOT (:is_untagged AND EXISTS (SELECT 1 FROM tag WHERE manifest_id = manifest.id))"
        " ORDER BY digest LIMIT :limit",
        id=repository_id,
        after=after,
        limit=limit,
        is_deleted=is_deleted,
        is_untagged=is_untagged,
    )
    return [ListedManifest(*(*row[:-1], tuple(sorted(row[-1].split(","))) if row[-1] else ())) for row in rows]


def list_referrers(
    tx: Transaction, name: RepositoryName, subject: Digest, artifact_type: str | None, after: str
) -> Iterator[Referrer]:
    """The referrers of a subject in the order of their digests, those after the digest `after`."""
    rows = tx.each_large(
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


def _put_references(tx: Transaction, repository_id: int, manifest_id: int, manifest: Manifest, deed: Deed) -> None:
    """In the place of those that it has. What it held and holds no more is reviewed."""
    before = _list_held(tx, manifest_id)
    tx.run("DELETE FROM reference WHERE manifest_id = :id", id=manifest_id)
    for reference in manifest.references:
        _put_reference(tx, repository_id, manifest_id, reference)
    for kind, key in before - _list_held(tx, manifest_id) if before else ():
        reviews.postpone(tx, kind, key, "manifest.push", deed.at)


def _list_held(tx: Transaction, manifest_id: int) -> set[tuple[str, str]]:
    """What the manifest's references keep, as the kinds and keys of reviews."""
    rows = tx.run(
        "SELECT repository_id, blob_digest, child_id FROM reference WHERE manifest_id = :id"
        " AND (blob_digest IS NOT NULL OR child_id IS NOT NULL)",
        id=manifest_id,
    )
    return {("right", reviews.right_key(row[0], row[1])) if row[1] else ("manifest", str(row[2])) for row in rows}


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


def _join_waiting_parents(tx: Transaction, repository_id: int, manifest_id: int, digest: str, deed: Deed) -> None:
    """Those that have taken it for a blob until now hold that no more."""
    held = tx.one(
        "SELECT 1 FROM reference WHERE repository_id = :id AND blob_digest = :digest AND kind = 'child' LIMIT 1",
        id=repository_id,
        digest=digest,
    )
    tx.run(
        "UPDATE reference SET child_id = :id, blob_digest = NULL"
        " WHERE repository_id = :repository_id AND digest = :digest AND kind = 'child' AND child_id IS NULL",
        id=manifest_id,
        repository_id=repository_id,
        digest=digest,
    )
    if held:
        reviews.postpone(tx, "right", reviews.right_key(repository_id, digest), "manifest.push", deed.at)


def _unhide(tx: Transaction, repository_id: int, manifest_id: int, deed: Deed) -> str | None:
    """The manifest's digest; None when it was visible already. Raises ManifestUnknown when its row is gone."""
    row = tx.one(
        "SELECT digest, deleted_at FROM manifest WHERE id = :id AND repository_id = :repository_id",
        id=manifest_id,
        repository_id=repository_id,
    )
    if row is None:
        raise ManifestUnknown("", "the manifest is gone for good: push it again")
    digest, deleted_at = row
    if deleted_at is None:
        return None
    tx.run("UPDATE manifest SET deleted_at = NULL WHERE id = :id", id=manifest_id)
    _join_waiting_parents(tx, repository_id, manifest_id, digest, deed)
    changes.append(tx, deed, "manifest.restore", repository_id, digest=digest)
    return str(digest)


def _revive_rights(tx: Transaction, repository_id: int, manifest_id: int, deed: Deed) -> None:
    rows = tx.run(
        "SELECT DISTINCT repository_blob.digest, repository_blob.deleted_at IS NOT NULL FROM reference"
        " JOIN repository_blob ON repository_blob.repository_id = reference.repository_id"
        " AND repository_blob.digest = reference.blob_digest WHERE reference.manifest_id = :id"
        " AND (repository_blob.deleted_at IS NOT NULL OR repository_blob.condemned_at IS NOT NULL)",
        id=manifest_id,
    )
    for digest, was_deleted in rows:
        tx.run(
            "UPDATE repository_blob SET deleted_at = NULL, condemned_at = NULL"
            " WHERE repository_id = :id AND digest = :digest",
            id=repository_id,
            digest=digest,
        )
        if was_deleted:
            _join_waiting_manifests(tx, repository_id, digest)
            changes.append(tx, deed, "blob.restore", repository_id, digest=digest)


def _join_waiting_manifests(tx: Transaction, repository_id: int, digest: str) -> None:
    tx.run(
        "UPDATE reference SET blob_digest = digest WHERE repository_id = :id AND digest = :digest"
        " AND blob_digest IS NULL AND child_id IS NULL AND kind <> 'subject'",
        id=repository_id,
        digest=digest,
    )


def _list_gone(tx: Transaction, manifest_id: int, may_lack: Collection[Kind]) -> list[str]:
    """What the manifest needs, and no row holds for it."""
    rows = tx.run(
        "SELECT kind, digest FROM reference WHERE manifest_id = :id AND blob_digest IS NULL AND child_id IS NULL",
        id=manifest_id,
    )
    absent = {(kind, digest) for kind, digest in rows if kind not in may_lack and kind != Kind.SUBJECT}
    if not absent:
        return []
    media_type, content = tx.only("SELECT media_type, content FROM manifest WHERE id = :id", id=manifest_id)
    references = parse_manifest(content, media_type).references
    return [str(each.digest) for each in references if each.is_required and (each.kind, str(each.digest)) in absent]
