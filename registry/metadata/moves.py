"""Marks of a registry that moves, or comes.

One of a registry that has moved to another database or store: nothing is written here any more. One of a restore that
is not finished.
"""

from registry.metadata.database import Transaction

_MOVE, _RESTORE = "moved", "restore"


def begin(tx: Transaction, place: str) -> None:
    """The registry moves to `place`. What is written before this ends, who reads the rows afterwards sees."""
    tx.alone()
    _mark(tx, _MOVE, place)


def find(tx: Transaction) -> str | None:
    """Where the registry moves or has moved to, None while it is here."""
    return _find(tx, _MOVE)


def find_with_schema(tx: Transaction) -> tuple[str | None, int]:
    """The same, and the number of the database's schema: one query, since each write asks it."""
    place, number = tx.only(
        "SELECT (SELECT holder FROM duty WHERE name = :name), max(number) FROM migration", name=_MOVE
    )
    return place, number


def end(tx: Transaction) -> bool:
    """The registry is here. False when it was all the time."""
    return _unmark(tx, _MOVE)


def begin_restore(tx: Transaction, arrival: str) -> None:
    """A registry comes to this database, and nobody else's bytes come to the store that `arrival` names."""
    _mark(tx, _RESTORE, arrival)


def find_restore(tx: Transaction) -> str | None:
    """What a restore that was not finished began."""
    return _find(tx, _RESTORE)


def end_restore(tx: Transaction) -> None:
    """The registry is here."""
    _unmark(tx, _RESTORE)


def _mark(tx: Transaction, name: str, holder: str) -> None:
    tx.run(
        "INSERT INTO duty (name, holder, until) VALUES (:name, :holder, 0)"
        " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder",
        name=name,
        holder=holder,
    )


def _find(tx: Transaction, name: str) -> str | None:
    row = tx.one("SELECT holder FROM duty WHERE name = :name", name=name)
    return str(row[0]) if row else None


def _unmark(tx: Transaction, name: str) -> bool:
    return bool(tx.run("DELETE FROM duty WHERE name = :name RETURNING 1", name=name))
