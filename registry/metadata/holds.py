"""Whoever reads a registry's bytes for a long time holds the collector meanwhile: each with a row of its own.

A row that nobody extends any more lets go by itself, because whoever made it was killed.
"""

from registry.metadata.database import Transaction

_FIRST, _END = "hold:", "hold;"  # every name between them


def take(tx: Transaction, holder: str, milliseconds: int) -> None:
    """Take a hold, or extend it. Nothing that is collected meanwhile is overlooked by who reads the rows afterwards."""
    tx.alone()
    tx.run(
        "INSERT INTO duty (name, holder, until) VALUES (:name, :holder, :until)"
        " ON CONFLICT (name) DO UPDATE SET until = excluded.until",
        name=_FIRST + holder,
        holder=holder,
        until=tx.now() + milliseconds,
    )


def release(tx: Transaction, holder: str) -> None:
    tx.run("DELETE FROM duty WHERE name = :name", name=_FIRST + holder)


def find_end(tx: Transaction) -> int:
    """Until when the collector is held (Unix milliseconds), unless that is extended; 0 when nobody holds it."""
    row = tx.only(
        "SELECT max(until) FROM duty WHERE name >= :first AND name < :end AND until > :now",
        first=_FIRST,
        end=_END,
        now=tx.now(),
    )
    return 0 if row[0] is None else int(row[0])
