"""What is garbage, derived from the rows alone, page by page: each of it must have its row in the review queue.

The queue is fed by events. Whatever is found here was forgotten by one, or lost, and would stay for ever. What the end
of another thing brings into the queue (a part of a deleted index, the content of a deleted repository) may wait for it.
A referrer whose subject is gone is no garbage by its own rows: it may have been pushed before its subject.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from registry.metadata import reviews
from registry.metadata.database import Row, Transaction

Cursor: TypeAlias = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Unreviewed:
    """Garbage that has no review: the kind and key that its review would have, and what it is, as a sentence."""

    kind: str
    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class Page:
    """What was found among some rows. `next` is where the following ones begin, None after the last."""

    found: list[Unreviewed]
    next: Cursor | None


@dataclass(frozen=True, slots=True)
class Glance:
    """At the rows behind `after`, at most `limit`; `now` in Unix milliseconds."""

    after: Cursor
    limit: int
    now: int


Look: TypeAlias = Callable[[Transaction, Glance], Page]
START: Cursor = (0, "")


def look_at_repositories(tx: Transaction, glance: Glance) -> Page:
    rows = tx.run(
        "SELECT id, '', deleted_at IS NOT NULL AND NOT EXISTS"
        " (SELECT 1 FROM review WHERE kind = 'repository' AND key = CAST(repository.id AS TEXT))"
        " FROM repository WHERE id > :id ORDER BY id LIMIT :limit",
        id=glance.after[0],
        limit=glance.limit,
    )
    return _page(rows, glance.limit, lambda row: Unreviewed("repository", str(row[0]), "the repository is deleted"))


def look_at_manifests(tx: Transaction, glance: Glance) -> Page:
    """Deleted ones that are not part of an index which is deleted as well, and not of a deleted repository."""
    rows = tx.run(
        "SELECT id, '', deleted_at IS NOT NULL"
        " AND NOT EXISTS (SELECT 1 FROM repository WHERE id = repository_id AND deleted_at IS NOT NULL)"
        " AND NOT EXISTS (SELECT 1 FROM reference JOIN manifest AS parent ON parent.id = manifest_id"
        " WHERE child_id = manifest.id AND parent.deleted_at IS NOT NULL)"
        " AND NOT EXISTS (SELECT 1 FROM review WHERE kind = 'manifest' AND key = CAST(manifest.id AS TEXT))"
        " FROM manifest WHERE id > :id ORDER BY id LIMIT :limit",
        id=glance.after[0],
        limit=glance.limit,
    )
    return _page(rows, glance.limit, lambda row: Unreviewed("manifest", str(row[0]), "the manifest is deleted"))


def look_at_rights(tx: Transaction, glance: Glance) -> Page:
    """Rights that nothing names and no lease holds, and deleted ones that no deleted manifest waits with."""
    rows = tx.run(
        "SELECT repository_id, digest, CASE WHEN deleted_at IS NULL THEN lease_until <= :now"
        " AND NOT EXISTS (SELECT 1 FROM reference WHERE reference.repository_id = repository_blob.repository_id"
        " AND blob_digest = repository_blob.digest)"
        " ELSE EXISTS (SELECT 1 FROM reference JOIN manifest ON manifest.id = manifest_id"
        " WHERE reference.repository_id = repository_blob.repository_id AND blob_digest = repository_blob.digest"
        " AND manifest.deleted_at IS NULL)"
        " OR NOT EXISTS (SELECT 1 FROM reference WHERE reference.repository_id = repository_blob.repository_id"
        " AND blob_digest = repository_blob.digest) END"
        " AND NOT EXISTS (SELECT 1 FROM repository WHERE id = repository_id AND deleted_at IS NOT NULL)"
        " AND NOT EXISTS (SELECT 1 FROM review WHERE kind = 'right' AND key = repository_id || ':' || digest)"
        " AND NOT EXISTS (SELECT 1 FROM review WHERE kind = 'blob' AND key = digest)"
        " FROM repository_blob WHERE (repository_id, digest) > (:id, :digest)"
        " ORDER BY repository_id, digest LIMIT :limit",
        now=glance.now,
        id=glance.after[0],
        digest=glance.after[1],
        limit=glance.limit,
    )
    reason = "nothing names the blob in the repository, or it is deleted there"
    return _page(rows, glance.limit, lambda row: Unreviewed("right", reviews.right_key(row[0], row[1]), reason))


def look_at_blobs(tx: Transaction, glance: Glance) -> Page:
    rows = tx.run(
        "SELECT 0, digest, NOT EXISTS (SELECT 1 FROM repository_blob WHERE digest = blob.digest)"
        " AND NOT EXISTS (SELECT 1 FROM review WHERE kind = 'blob' AND key = blob.digest)"
        " FROM blob WHERE digest > :digest ORDER BY digest LIMIT :limit",
        digest=glance.after[1],
        limit=glance.limit,
    )
    return _page(rows, glance.limit, lambda row: Unreviewed("blob", row[1], "no repository has the right to the blob"))


def look_at_uploads(tx: Transaction, glance: Glance) -> Page:
    rows = tx.run(
        "SELECT 0, id, expires_at <= :now AND NOT EXISTS"
        " (SELECT 1 FROM review WHERE kind = 'upload' AND key = storage_key), storage_key"
        " FROM upload WHERE id > :id ORDER BY id LIMIT :limit",
        now=glance.now,
        id=glance.after[1],
        limit=glance.limit,
    )
    return _page(rows, glance.limit, lambda row: Unreviewed("upload", row[3], "the upload has expired"))


LOOKS: tuple[Look, ...] = (look_at_repositories, look_at_manifests, look_at_rights, look_at_blobs, look_at_uploads)


def list_unnamed(tx: Transaction, keys: list[str]) -> list[str]:
    """Those of the storage keys that no blob, no upload, no discard and no review has."""
    return [
        key
        for key in keys
        if not tx.one(
            "SELECT 1 WHERE EXISTS (SELECT 1 FROM blob WHERE storage_key = :key)"
            " OR EXISTS (SELECT 1 FROM upload WHERE storage_key = :key)"
            " OR EXISTS (SELECT 1 FROM discard WHERE storage_key = :key)"
            " OR EXISTS (SELECT 1 FROM review WHERE kind = 'upload' AND key = :key)",
            key=key,
        )
    ]


def list_ended(tx: Transaction, keys: list[str]) -> list[str]:
    """Those of the uploads' storage keys that no session has, and that nobody is going to look at."""
    return [
        key
        for key in keys
        if not tx.one(
            "SELECT 1 WHERE EXISTS (SELECT 1 FROM upload WHERE storage_key = :key)"
            " OR EXISTS (SELECT 1 FROM discard WHERE storage_key = :key)"
            " OR EXISTS (SELECT 1 FROM review WHERE kind = 'upload' AND key = :key)",
            key=key,
        )
    ]


def _page(rows: list[Row], limit: int, describe: Callable[[Row], Unreviewed]) -> Page:
    found = [describe(row) for row in rows if row[2]]
    return Page(found, (rows[-1][0], rows[-1][1]) if len(rows) == limit else None)
