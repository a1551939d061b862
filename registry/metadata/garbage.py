"""Removes for good what is garbage. Each decision is made in the transaction that acts on it.

The foreign keys refuse whatever a decision overlooked: a right that a reference names, a blob that a right names, a
manifest that a tag or an index names cannot go.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from registry.identity import Actor, Deed
from registry.metadata import discards, manifests, reviews
from registry.metadata.database import Transaction
from registry.metadata.judgements import (
    TOKEN_LIFE,
    Terms,
    judge_manifest,
    judge_repository,
    judge_right,
    judge_upload,
)
from registry.metadata.reviews import Review

COLLECTOR = Actor("entrepot")
MOST_ROWS = 1_000  # of a transaction: SQLite keeps the pages that it touches in memory until it ends
_BATCH = 200  # rows of a large thing that one step removes


@dataclass(slots=True)
class Tally:
    """What was removed. `bytes` are those of blobs and uploads, which are free once their discards are done."""

    manifests: int = 0
    rights: int = 0
    blobs: int = 0
    uploads: int = 0
    repositories: int = 0
    bytes: int = 0
    rows: int = 0  # with references: what a transaction costs

    def add(self, other: "Tally") -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


def review(tx: Transaction, what: Review, terms: Terms, tally: Tally) -> None:
    """Look at what is due: remove it, look again later, or forget it."""
    at = _REVIEWS[what.kind](tx, what.key, terms, tally)
    if at is None:
        reviews.drop(tx, what.kind, what.key)
    else:
        reviews.set_due(tx, what, at)


def remove_manifest(tx: Transaction, manifest_id: int, terms: Terms, tally: Tally) -> None:
    """Remove a manifest that is deleted, or whose repository is, and have looked at what it held."""
    repository_id, digest, pushed_at, deleted_at = tx.only(
        "SELECT repository_id, digest, pushed_at, coalesce(manifest.deleted_at, repository.deleted_at) FROM manifest"
        " JOIN repository ON repository.id = repository_id WHERE manifest.id = :id"
        " AND (manifest.deleted_at IS NOT NULL OR repository.deleted_at IS NOT NULL)",
        id=manifest_id,
    )
    _end_leases(tx, repository_id, manifest_id, pushed_at + terms.lease)
    _review_held(tx, repository_id, manifest_id, terms)
    reviews.postpone(tx, "subject", f"{repository_id}:{deleted_at}:{digest}", "manifest.end", terms.now)
    # Only indexes of registries that accept sparse manifests still name it: they wait for it to come again.
    tx.run("UPDATE reference SET child_id = NULL WHERE child_id = :id", id=manifest_id)
    _delete_manifest(tx, manifest_id, tally)


def remove_right(tx: Transaction, repository_id: int, digest: str, terms: Terms, tally: Tally) -> None:
    """Remove a right that nothing names, and with the last one the blob: its key becomes a discard."""
    right: dict[str, str | int] = {"id": repository_id, "digest": digest}
    tx.run(  # of registries that accept sparse manifests: these wait for it to come again
        "UPDATE reference SET blob_digest = NULL WHERE repository_id = :id AND blob_digest = :digest"
        " AND EXISTS (SELECT 1 FROM repository_blob WHERE repository_id = :id AND digest = :digest"
        " AND deleted_at IS NOT NULL)",
        **right,
    )
    tx.run("DELETE FROM repository_blob WHERE repository_id = :id AND digest = :digest", **right)
    reviews.drop(tx, "right", reviews.right_key(repository_id, digest))
    tally.rights += 1
    _remove_blob(tx, digest, terms, tally)


def _review_manifest(tx: Transaction, key: str, terms: Terms, tally: Tally) -> int | None:
    judgement = judge_manifest(tx, int(key), terms)
    if not judgement.is_due(terms):
        return judgement.at
    remove_manifest(tx, int(key), terms, tally)
    return None


def _review_right(tx: Transaction, key: str, terms: Terms, tally: Tally) -> int | None:
    repository_id, _, digest = key.partition(":")
    judgement = judge_right(tx, int(repository_id), digest, terms)
    if judgement.is_due(terms):
        remove_right(tx, int(repository_id), digest, terms, tally)
        return None
    tx.run(
        "UPDATE repository_blob SET condemned_at = CASE WHEN :condemns THEN coalesce(condemned_at, :now) END"
        " WHERE repository_id = :id AND digest = :digest AND (:condemns OR condemned_at IS NOT NULL)",
        condemns=judgement.condemns,
        now=terms.now,
        id=int(repository_id),
        digest=digest,
    )
    return judgement.at


def _review_blob(tx: Transaction, key: str, terms: Terms, tally: Tally) -> int | None:
    """As older versions wrote them: each right to the blob is looked at on its own."""
    rows = tx.run("SELECT repository_id FROM repository_blob WHERE digest = :digest", digest=key)
    for row in rows:
        reviews.postpone(tx, "right", reviews.right_key(row[0], key), "blob.review", terms.now)
    if not rows:
        _remove_blob(tx, key, terms, tally)
    return None


def _review_subject(tx: Transaction, key: str, terms: Terms, _tally: Tally) -> int | None:
    """Mark the referrers of a subject that is gone, unless they came after its end or something else holds them."""
    repository_id, deleted_at, digest = key.split(":", 2)
    if tx.one(
        "SELECT 1 FROM manifest WHERE repository_id = :id AND digest = :digest", id=int(repository_id), digest=digest
    ):
        return None  # it was pushed again
    rows = tx.run(
        "SELECT id, digest, media_type FROM manifest WHERE repository_id = :id AND subject = :digest"
        " AND deleted_at IS NULL AND pushed_at <= :deleted_at"
        " AND NOT EXISTS (SELECT 1 FROM tag WHERE manifest_id = manifest.id)"
        " AND NOT EXISTS (SELECT 1 FROM reference WHERE child_id = manifest.id) LIMIT :limit",
        id=int(repository_id),
        digest=digest,
        deleted_at=int(deleted_at),
        limit=_BATCH,
    )
    for row in rows:
        referrer = manifests.StoredManifest(row[0], row[1], row[2], content=b"")
        manifests.mark_deleted(tx, int(repository_id), referrer, Deed(COLLECTOR, terms.now))
    return terms.now if len(rows) == _BATCH else None


def _review_upload(tx: Transaction, key: str, terms: Terms, tally: Tally) -> int | None:
    judgement = judge_upload(tx, key, terms)
    if not judgement.is_due(terms):
        return judgement.at
    ended = tx.one("DELETE FROM upload WHERE storage_key = :key RETURNING progress", key=key)
    if ended:
        tally.uploads += 1
        tally.bytes += judgement.size
    discards.add(tx, key, judgement.size, terms.now, progress=ended[0] if ended else "")
    return None


def _review_repository(tx: Transaction, key: str, terms: Terms, tally: Tally) -> int | None:
    """A step of the removal. Nobody can push into it meanwhile: its id is never used again."""
    judgement = judge_repository(tx, int(key), terms)
    if not judgement.is_due(terms):
        return judgement.at
    tx.run("UPDATE repository SET emptied_at = coalesce(emptied_at, :now) WHERE id = :id", now=terms.now, id=int(key))
    if _empty(tx, int(key), terms, tally):
        return terms.now
    deleted_at = tx.only("SELECT deleted_at FROM repository WHERE id = :id", id=int(key))[0]
    if deleted_at + TOKEN_LIFE > terms.now:
        return int(deleted_at) + TOKEN_LIFE
    tx.run("DELETE FROM repository WHERE id = :id", id=int(key))
    tally.repositories += 1
    return None


def _empty(tx: Transaction, repository_id: int, terms: Terms, tally: Tally) -> bool:
    """Remove some of what the repository has. False when there is nothing left."""
    gone = tx.run("SELECT id FROM manifest WHERE repository_id = :id LIMIT :limit", id=repository_id, limit=_BATCH)
    for row in gone:
        if tally.rows < MOST_ROWS:
            tx.run("UPDATE reference SET child_id = NULL WHERE child_id = :id", id=row[0])
            _delete_manifest(tx, row[0], tally)
    if gone:
        return True
    rights = tx.run(
        "SELECT digest FROM repository_blob WHERE repository_id = :id LIMIT :limit", id=repository_id, limit=_BATCH
    )
    for row in rights:
        remove_right(tx, repository_id, row[0], terms, tally)
    tags = tx.run(
        "DELETE FROM tag WHERE id IN (SELECT id FROM tag WHERE repository_id = :id LIMIT :limit) RETURNING 1",
        id=repository_id,
        limit=_BATCH,
    )
    return bool(rights or tags)


def _remove_blob(tx: Transaction, digest: str, terms: Terms, tally: Tally) -> None:
    rows = tx.run(
        "DELETE FROM blob WHERE digest = :digest"
        " AND NOT EXISTS (SELECT 1 FROM repository_blob WHERE digest = :digest) RETURNING storage_key, size",
        digest=digest,
    )
    for key, size in rows:
        discards.add(tx, key, size, terms.now)
        tally.blobs += 1
        tally.bytes += size


def _delete_manifest(tx: Transaction, manifest_id: int, tally: Tally) -> None:
    references = tx.only("SELECT count(*) FROM reference WHERE manifest_id = :id", id=manifest_id)[0]
    tx.run("DELETE FROM manifest WHERE id = :id", id=manifest_id)
    reviews.drop(tx, "manifest", str(manifest_id))
    tally.manifests += 1
    tally.rows += 1 + references


def _end_leases(tx: Transaction, repository_id: int, manifest_id: int, until: int) -> None:
    """The leases of the push that brought the manifest have done their work; a later one is another push's."""
    tx.run(
        "UPDATE repository_blob SET lease_until = 0 WHERE repository_id = :repository_id AND lease_until <= :until"
        " AND digest IN (SELECT blob_digest FROM reference WHERE manifest_id = :id)",
        repository_id=repository_id,
        until=until,
        id=manifest_id,
    )


def _review_held(tx: Transaction, repository_id: int, manifest_id: int, terms: Terms) -> None:
    """In two statements, however much it holds: it may be thousands, and pushes wait."""
    tx.run(
        "INSERT INTO review (kind, key, due_at, cause)"
        " SELECT DISTINCT 'right', :repository_id || ':' || blob_digest, :now, 'manifest.end' FROM reference"
        " WHERE manifest_id = :id AND blob_digest IS NOT NULL"
        " ON CONFLICT (kind, key) DO UPDATE SET cause = excluded.cause,"
        " due_at = CASE WHEN excluded.due_at < review.due_at THEN excluded.due_at ELSE review.due_at END",
        repository_id=repository_id,
        now=terms.now,
        id=manifest_id,
    )
    tx.run(
        "INSERT INTO review (kind, key, due_at, cause)"
        " SELECT DISTINCT 'manifest', CAST(child_id AS TEXT), :now, 'index.end' FROM reference"
        " WHERE manifest_id = :id AND child_id IS NOT NULL"
        " ON CONFLICT (kind, key) DO UPDATE SET cause = excluded.cause,"
        " due_at = CASE WHEN excluded.due_at < review.due_at THEN excluded.due_at ELSE review.due_at END",
        now=terms.now,
        id=manifest_id,
    )


_REVIEWS: Mapping[str, Callable[[Transaction, str, Terms, Tally], int | None]] = {
    "manifest": _review_manifest,
    "right": _review_right,
    "blob": _review_blob,
    "subject": _review_subject,
    "upload": _review_upload,
    "repository": _review_repository,
}
