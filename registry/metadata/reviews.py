"""The queue of what the collector looks at next.

Whatever may have left something without a reference writes its row in the same transaction, so nothing ever scans.
A second reason postpones the first: dropping it would lose the signal, keeping the earlier instant would collect what
a push is about to name.
"""

from registry.metadata.database import Transaction

GRACE = 24 * 3_600_000  # milliseconds: longer than any push


def postpone(tx: Transaction, kind: str, key: str, cause: str, due_at: int) -> None:
    tx.run(
        "INSERT INTO review (kind, key, due_at, cause) VALUES (:kind, :key, :due_at, :cause)"
        " ON CONFLICT (kind, key) DO UPDATE SET due_at = max(excluded.due_at, due_at), cause = excluded.cause",
        kind=kind,
        key=key,
        due_at=due_at,
        cause=cause,
    )


def drop(tx: Transaction, kind: str, key: str) -> None:
    tx.run("DELETE FROM review WHERE kind = :kind AND key = :key", kind=kind, key=key)
