"""Removes by name what is deleted and could still come back: for a secret that was pushed, or a full disk."""

from registry.errors import InUse
from registry.identity import Deed
from registry.metadata import changes, garbage
from registry.metadata.database import Transaction
from registry.metadata.garbage import Tally
from registry.metadata.judgements import Terms, judge_manifest, judge_right


def purge_manifest(tx: Transaction, manifest_id: int, terms: Terms, tally: Tally, deed: Deed) -> bool:
    """Remove a deleted manifest, what is deleted of its children, and the blobs that nothing else names.

    False when it is gone, or held by a deleted index that can still come back. Raises InUse when it is not deleted.
    """
    row = tx.one("SELECT digest FROM manifest WHERE id = :id", id=manifest_id)
    if row is not None and not is_deleted(tx, manifest_id):
        raise InUse(f"the manifest {row[0]} is not deleted: delete it first", detail={"digest": row[0]})
    waiting, removed = [manifest_id], 0
    for each in waiting:  # grows while it is walked
        if judge_manifest(tx, each, terms).is_due(terms):
            waiting += _purge_one(tx, each, terms, tally, deed)
            removed += 1
    return removed > 0


def _purge_one(tx: Transaction, manifest_id: int, terms: Terms, tally: Tally, deed: Deed) -> list[int]:
    """Returns its children, deleted or not."""
    repository_id, digest = tx.only("SELECT repository_id, digest FROM manifest WHERE id = :id", id=manifest_id)
    held = tx.run("SELECT blob_digest, child_id FROM reference WHERE manifest_id = :id", id=manifest_id)
    garbage.remove_manifest(tx, manifest_id, terms, tally)
    changes.append(tx, deed, "garbage.purge", repository_id, digest=digest)
    for row in held:
        if row[0] is not None:
            purge_right(tx, repository_id, row[0], terms, tally)
    return [row[1] for row in held if row[1] is not None]


def purge_right(
    tx: Transaction, repository_id: int, digest: str, terms: Terms, tally: Tally, deed: Deed | None = None
) -> str:
    """Remove a right that nothing names, leased or not. Returns what keeps it, nothing when it went."""
    judgement = judge_right(tx, repository_id, digest, terms)
    if not judgement.is_due(terms):
        return judgement.reason
    garbage.remove_right(tx, repository_id, digest, terms, tally)
    if deed is not None:
        changes.append(tx, deed, "garbage.purge", repository_id, digest=digest)
    return ""


def is_deleted(tx: Transaction, manifest_id: int) -> bool:
    """Whether it is deleted, or its repository is, and it is not gone."""
    row = tx.one(
        "SELECT 1 FROM manifest JOIN repository ON repository.id = repository_id WHERE manifest.id = :id"
        " AND (manifest.deleted_at IS NOT NULL OR repository.deleted_at IS NOT NULL)",
        id=manifest_id,
    )
    return row is not None


def list_deleted_manifests(tx: Transaction, repository_id: int, after: int, limit: int) -> list[int]:
    """Ids, in their order."""
    rows = tx.run(
        "SELECT id FROM manifest WHERE repository_id = :id AND deleted_at IS NOT NULL AND id > :after"
        " ORDER BY id LIMIT :limit",
        id=repository_id,
        after=after,
        limit=limit,
    )
    return [row[0] for row in rows]


def list_deleted_rights(tx: Transaction, repository_id: int) -> list[str]:
    """Digests of the blobs that were deleted from the repository, or that what was removed has left behind."""
    rows = tx.run(
        "SELECT digest FROM repository_blob WHERE repository_id = :id"
        " AND (deleted_at IS NOT NULL OR condemned_at IS NOT NULL)",
        id=repository_id,
    )
    return [row[0] for row in rows]


def list_repositories(tx: Transaction, name: str) -> list[tuple[int, bool]]:
    """All of the name, the deleted ones too: ids, and whether they are deleted."""
    live = tx.run("SELECT id FROM repository WHERE name = :name AND deleted_at IS NULL", name=name)
    deleted = tx.run("SELECT id FROM repository WHERE name = :name AND deleted_at IS NOT NULL", name=name)
    return [*((row[0], False) for row in live), *((row[0], True) for row in deleted)]


def list_run_manifests(tx: Transaction, run_id: int) -> list[int] | None:
    """The ids of the manifests that a run removed; None when there is no such run."""
    if tx.one("SELECT 1 FROM run WHERE id = :id", id=run_id) is None:
        return None
    rows = tx.run(
        "SELECT manifest_id FROM run_step WHERE run_id = :id AND takes_image = 1 AND outcome = 'done'"
        " ORDER BY position",
        id=run_id,
    )
    return [row[0] for row in rows]
