"""Marks of a registry that moves, or comes.

One of a registry that has moved to another database or store: nothing is written here any more. One of a restore that
is not finished.
"""

from registry.metadata.database import Transaction

_NAME = "moved"
_RESTORE = "restore"


def begin(tx: Transaction, place: str) -> None:
    """The registry moves to `place`. What is written before this ends, who reads the rows afterwards sees."""
    tx.alone()
    tx.run(
        "INSERT INTO duty (name, holder, until) VALUES (:name, :place, 0)"
        " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder",
        name=_NAME,
        place=place,
    )


def find(tx: Transaction) -> str | None:
    """Where the registry moves or has moved to, None while it is here."""
    row = tx.one("SELECT holder FROM duty WHERE name = :name", name=_NAME)
    return str(row[0]) if row else None


def end(tx: Transaction) -> bool:
    """The registry is here. False when it was all the time."""
    return bool(tx.run("DELETE FROM duty WHERE name = :name RETURNING 1", name=_NAME))


def begin_restore(tx: Transaction, arrival: str) -> None:
    """A registry comes to this database, and nobody else's bytes come to the store that `arrival` names."""
    tx.run(
        "INSERT INTO duty (name, holder, until) VALUES (:name, :arrival, 0)"
        " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder",
        name=_RESTORE,
        arrival=arrival,
    )


def find_restore(tx: Transaction) -> str | None:
    """What a restore that was not finished began."""
    row = tx.one("SELECT holder FROM duty WHERE name = :name", name=_RESTORE)
    return str(row[0]) if row else None


def end_restore(tx: Transaction) -> None:
    """The registry is here."""
    tx.run("DELETE FROM duty WHERE name = :name", name=_RESTORE)
