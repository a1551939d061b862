"""What only one server does at a time: a duty has one holder until its term ends. All by the database's clock."""

from registry.errors import Unavailable
from registry.metadata.database import Transaction


class DutyLost(Unavailable):
    """Another server may have the duty by now: what this one was about to do must not happen."""


def take(tx: Transaction, name: str, holder: str, milliseconds: int) -> bool:
    """Hold the duty for so long from now on, if it is free, its term is over, or `holder` has it. False: it is taken.

    All ask for the same length, so a term that ends later than that was begun by a clock that has been set back since.
    """
    now = tx.now()
    row = tx.one("SELECT holder, until FROM duty WHERE name = :name", name=name)
    if row is not None and row[0] != holder and now < row[1] <= now + milliseconds:
        return False  # told without a write: most servers ask most of the time
    tx.run(
        "INSERT INTO duty (name, holder, term, until) VALUES (:name, :holder, 1, :until)"
        " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until,"
        " term = CASE WHEN duty.holder = excluded.holder THEN duty.term ELSE duty.term + 1 END",
        name=name,
        holder=holder,
        until=now + milliseconds,
    )
    return True


def require(tx: Transaction, name: str, holder: str) -> None:
    """Raises DutyLost unless `holder` has the duty and its term is not over."""
    if not tx.one(
        "SELECT 1 FROM duty WHERE name = :name AND holder = :holder AND until > :now",
        name=name,
        holder=holder,
        now=tx.now(),
    ):
        raise DutyLost(f"another server may do the duty {name} by now: this one was not heard of for too long")


def release_all(tx: Transaction, holder: str, names: list[str]) -> None:
    """Let others take what `holder` has of these at once."""
    for name in names:
        tx.run("DELETE FROM duty WHERE name = :name AND holder = :holder", name=name, holder=holder)
