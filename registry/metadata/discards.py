"""Storage keys that no row names any more. Their bytes go outside of any transaction; until then the row is here.

A crash leaves bytes, never a row without bytes: who reads the row of a blob finds what it names.
"""

from registry.metadata.database import Transaction
from storage.blobstore import UploadState


def add(tx: Transaction, key: str, size: int, now: int, progress: str = "") -> None:
    """`size` in bytes; `progress` of an upload, that its store may forget it."""
    tx.run(
        "INSERT INTO discard (storage_key, size, due_at, progress) VALUES (:key, :size, :now, :progress)"
        " ON CONFLICT DO NOTHING",
        key=key,
        size=size,
        now=now,
        progress=progress,
    )


def list_due(tx: Transaction, now: int, limit: int) -> list[UploadState]:
    """As uploads to abort: an offset and a digest no longer matter."""
    rows = tx.run(
        "SELECT storage_key, progress FROM discard WHERE due_at <= :now ORDER BY due_at LIMIT :limit",
        now=now,
        limit=limit,
    )
    return [UploadState(row[0], 0, progress=row[1]) for row in rows]


def postpone(tx: Transaction, key: str, due_at: int) -> None:
    """The store failed: it is tried again."""
    tx.run("UPDATE discard SET due_at = :due_at WHERE storage_key = :key", key=key, due_at=due_at)


def drop(tx: Transaction, key: str) -> None:
    """Its bytes are gone."""
    tx.run("DELETE FROM discard WHERE storage_key = :key", key=key)
