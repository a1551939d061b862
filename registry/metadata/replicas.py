"""The servers that serve this registry now, each with a row that it renews. All by the database's clock."""

from dataclasses import dataclass

from registry.metadata.database import Transaction


@dataclass(frozen=True, slots=True)
class Replica:
    """One start of a server. `address` is where it listens, for people. Instants: Unix milliseconds."""

    id: str
    address: str
    version: str
    started_at: int = 0
    seen_at: int = 0


def beat(tx: Transaction, replica: Replica) -> bool:
    """Say that the server lives. Returns whether it was among the living; else it is from now on."""
    now = tx.now()
    if tx.run("UPDATE replica SET seen_at = :now WHERE id = :id RETURNING 1", now=now, id=replica.id):
        return True
    tx.run(
        "INSERT INTO replica (id, address, version, started_at, seen_at) VALUES (:id, :address, :version, :now, :now)",
        id=replica.id,
        address=replica.address,
        version=replica.version,
        now=now,
    )
    return False


def end(tx: Transaction, replica_id: str) -> None:
    """The server ends by itself, and has written all that it had noted."""
    tx.run("DELETE FROM replica WHERE id = :id", id=replica_id)


def list_live(tx: Transaction, within: int) -> list[Replica]:
    """Those that were seen within so many milliseconds, the oldest first."""
    now = tx.now()
    rows = tx.run("SELECT id, address, version, started_at, seen_at FROM replica")
    live = [Replica(*row) for row in rows if -within <= now - row[4] <= within]
    return sorted(live, key=lambda replica: (replica.started_at, replica.id))


def is_any_silent(tx: Transaction, within: int) -> bool:
    """Whether one was not seen for longer than so many milliseconds: what it has noted may be lost."""
    now = tx.now()
    return any(now - row[0] > within for row in tx.run("SELECT seen_at FROM replica"))


def bury(tx: Transaction, within: int) -> list[Replica]:
    """Forget those that were not seen for longer, or in what is the future for a clock that was set back."""
    now = tx.now()
    rows = tx.run("SELECT id, address, version, started_at, seen_at FROM replica")
    dead = [Replica(*row) for row in rows if not -within <= now - row[4] <= within]
    for each in dead:
        end(tx, each.id)
    return dead
