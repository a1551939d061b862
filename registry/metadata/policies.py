"""Rows of lifecycle policies, and when each may have something to do."""

from dataclasses import dataclass

from registry.identity import Deed
from registry.lifecycle.policy import parse_policy
from registry.metadata import changes
from registry.metadata.database import Row, Transaction
from registry.oci.names import RepositoryName

_MOST_CHANGES = 10_000  # that one transaction looks at


@dataclass(frozen=True, slots=True)
class StoredPolicy:
    """Instants are Unix milliseconds; `due_at` is None when it has nothing to do before something changes."""

    repository_id: int
    repository: RepositoryName
    text: str
    set_at: int
    set_by: str
    due_at: int | None


_COLUMNS = "policy.repository_id, repository.name, policy.text, policy.set_at, policy.set_by, policy.due_at"
_VISIBLE = "policy JOIN repository ON repository.id = policy.repository_id AND repository.deleted_at IS NULL"


def find(tx: Transaction, name: RepositoryName) -> StoredPolicy | None:
    row = tx.one(f"SELECT {_COLUMNS} FROM {_VISIBLE} WHERE repository.name = :name", name=name.value)
    return _policy(row) if row else None


def find_text(tx: Transaction, repository_id: int) -> str | None:
    """None also for a repository that is deleted."""
    row = tx.one(f"SELECT policy.text FROM {_VISIBLE} WHERE policy.repository_id = :id", id=repository_id)
    return str(row[0]) if row else None


def put(tx: Transaction, repository_id: int, text: str, deed: Deed) -> None:
    """In the place of the one that is there. It is due at once."""
    tx.run(
        "INSERT INTO policy (repository_id, text, set_at, set_by, due_at) VALUES (:id, :text, :at, :by, :at)"
        " ON CONFLICT (repository_id) DO UPDATE SET text = excluded.text, set_at = excluded.set_at,"
        " set_by = excluded.set_by, due_at = excluded.due_at",
        id=repository_id,
        text=text,
        at=deed.at,
        by=deed.actor.name,
    )
    number = len(parse_policy(text, is_strict=False).rules)
    changes.append(tx, deed, "policy.set", repository_id, detail="1 rule" if number == 1 else f"{number} rules")


def remove(tx: Transaction, repository_id: int, deed: Deed) -> bool:
    """False when there was none."""
    rows = tx.run("DELETE FROM policy WHERE repository_id = :id RETURNING 1", id=repository_id)
    if rows:
        changes.append(tx, deed, "policy.remove", repository_id)
    return bool(rows)


def list_all(tx: Transaction, after: str, limit: int) -> list[StoredPolicy]:
    """In the order of their repositories' names, those after `after`."""
    rows = tx.run(
        f"SELECT {_COLUMNS} FROM repository CROSS JOIN policy WHERE policy.repository_id = repository.id"
        " AND repository.name > :after AND repository.deleted_at IS NULL ORDER BY repository.name LIMIT :limit",
        after=after,
        limit=limit,
    )
    return [_policy(row) for row in rows]


def transfer_changes(tx: Transaction, now: int) -> bool:
    """Make those policies due whose repositories had changes that no call has looked at. True while more are left.

    A deleted repository's is due again when it comes back. That there was a run is no change of the repository: what
    it took has changes of its own, and a run that took nothing must not make the policy due again.
    """
    if get_sequence(tx) >= changes.get_last(tx):
        return False
    tx.alone()  # or a change under way could come behind the last one with a lower number
    start, last = get_sequence(tx), changes.get_last(tx)
    end = min(last, start + _MOST_CHANGES)
    if start < end:
        tx.run(
            "UPDATE policy SET due_at = (SELECT CASE WHEN deleted_at IS NULL THEN :now END FROM repository"
            " WHERE repository.id = policy.repository_id) WHERE repository_id IN"
            " (SELECT change.repository_id FROM change WHERE sequence > :start AND sequence <= :end"
            " AND substr(action, 1, 10) <> 'lifecycle.')",
            now=now,
            start=start,
            end=end,
        )
        tx.run("UPDATE registry SET policy_sequence = :end", end=end)
    return end < last


def get_sequence(tx: Transaction) -> int:
    """The number of the last change that policies know of."""
    return int(tx.only("SELECT policy_sequence FROM registry")[0])


def list_due(tx: Transaction, now: int, limit: int) -> list[RepositoryName]:
    """Their repositories; those that were due first come first."""
    rows = tx.run(
        f"SELECT repository.name FROM {_VISIBLE} WHERE policy.due_at <= :now ORDER BY policy.due_at LIMIT :limit",
        now=now,
        limit=limit,
    )
    return [RepositoryName(row[0]) for row in rows]


def set_due(tx: Transaction, repository_id: int, due_at: int | None, sequence: int) -> None:
    """Unless policies have heard of changes after `sequence`: whoever says so has not seen them."""
    if get_sequence(tx) == sequence:
        tx.run("UPDATE policy SET due_at = :due_at WHERE repository_id = :id", due_at=due_at, id=repository_id)


def _policy(row: Row) -> StoredPolicy:
    return StoredPolicy(row[0], RepositoryName(row[1]), *row[2:])
