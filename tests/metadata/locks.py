"""What a PostgreSQL database says of the locks that are waited for in it."""

from registry.metadata.database import Transaction

_OWN = "SELECT oid FROM pg_database WHERE datname = current_database()"


def is_any_waiting(tx: Transaction) -> bool:
    """Whether a lock is asked for in this database that is not granted."""
    return tx.one(f"SELECT 1 FROM pg_locks WHERE NOT granted AND database = ({_OWN})") is not None
