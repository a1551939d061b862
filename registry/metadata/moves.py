"""The mark of a registry that moves, or has moved, to another database or store: nothing is written here any more."""

from registry.metadata.database import Transaction

_NAME = "moved"


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
