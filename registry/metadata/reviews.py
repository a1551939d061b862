"""The queue of what the collector looks at next.

Whatever may have left something without a reference writes its row in the same transaction, so nothing ever scans.
A second reason postpones the first: dropping it would lose the signal, keeping the earlier instant would collect what
a push is about to name.

| kind       | key                                                  | is it garbage?                          |
| ---------- | ---------------------------------------------------- | --------------------------------------- |
| right      | repository id `:` digest                             | a repository's right to a blob          |
| blob       | digest                                               | a blob, with all rights to it           |
| manifest   | manifest id                                          | a manifest that is marked as deleted    |
| subject    | repository id `:` instant of its deletion `:` digest | the referrers of a manifest that is gone |
| upload     | storage key                                          | an upload session, or what it left      |
| repository | repository id                                        | a repository that is marked as deleted  |
"""

from dataclasses import dataclass

from registry.metadata.database import Transaction


@dataclass(frozen=True, slots=True)
class Review:
    """`due_at` in Unix milliseconds; `attempts` that have failed; `cause` is what happened."""

    kind: str
    key: str
    due_at: int
    attempts: int
    cause: str


def postpone(tx: Transaction, kind: str, key: str, cause: str, due_at: int) -> None:
    """Have it reviewed at `due_at`, or later if it is to be later already."""
    tx.run(
        "INSERT INTO review (kind, key, due_at, cause) VALUES (:kind, :key, :due_at, :cause)"
        " ON CONFLICT (kind, key) DO UPDATE SET cause = excluded.cause,"
        " due_at = CASE WHEN excluded.due_at > review.due_at THEN excluded.due_at ELSE review.due_at END",
        kind=kind,
        key=key,
        due_at=due_at,
        cause=cause,
    )


def advance(tx: Transaction, kind: str, key: str, cause: str, due_at: int) -> None:
    """Have it reviewed at `due_at`, or earlier if it is to be earlier: a lease that holds it is in its own row."""
    tx.run(
        "INSERT INTO review (kind, key, due_at, cause) VALUES (:kind, :key, :due_at, :cause)"
        " ON CONFLICT (kind, key) DO UPDATE SET cause = excluded.cause,"
        " due_at = CASE WHEN excluded.due_at < review.due_at THEN excluded.due_at ELSE review.due_at END",
        kind=kind,
        key=key,
        due_at=due_at,
        cause=cause,
    )


def set_due(tx: Transaction, review: Review, due_at: int, attempts: int = 0) -> None:
    """What the collector says of a review that it has looked at."""
    tx.run(
        "UPDATE review SET due_at = :due_at, attempts = :attempts WHERE kind = :kind AND key = :key",
        kind=review.kind,
        key=review.key,
        due_at=due_at,
        attempts=attempts,
    )


def list_due(tx: Transaction, now: int, limit: int) -> list[Review]:
    """Those that were due first come first."""
    rows = tx.run(
        "SELECT kind, key, due_at, attempts, cause FROM review WHERE due_at <= :now ORDER BY due_at, kind, key"
        " LIMIT :limit",
        now=now,
        limit=limit,
    )
    return [Review(*row) for row in rows]


def hasten(tx: Transaction, kinds: tuple[str, ...], now: int) -> None:
    """Have all of these kinds reviewed now: the window by which they are due has changed."""
    for kind in kinds:
        tx.run("UPDATE review SET due_at = :now WHERE kind = :kind AND due_at > :now", kind=kind, now=now)


def drop(tx: Transaction, kind: str, key: str) -> None:
    tx.run("DELETE FROM review WHERE kind = :kind AND key = :key", kind=kind, key=key)


def right_key(repository_id: int, digest: str) -> str:
    return f"{repository_id}:{digest}"


def find_last(tx: Transaction, kind: str, until: int) -> int | None:
    """When the last review of the kind is due, of those that are due by `until`."""
    row = tx.only("SELECT max(due_at) FROM review WHERE kind = :kind AND due_at <= :until", kind=kind, until=until)
    return None if row[0] is None else int(row[0])
