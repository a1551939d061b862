"""Whether the collector may work: how the last server ended, and by which window the reviews are due."""

from registry.metadata import reviews
from registry.metadata.database import Transaction


def begin_serving(tx: Transaction, now: int, quiet: int, file: int) -> None:
    """A server starts, as `note_end` has it."""
    note_end(tx, now, quiet, file)
    tx.run("UPDATE registry SET is_running = 1")


def end_serving(tx: Transaction) -> None:
    tx.run("UPDATE registry SET is_running = 0")


def note_end(tx: Transaction, now: int, quiet: int, file: int) -> None:
    """No server runs. Nothing is collected for `quiet` milliseconds when the last one did not end by itself.

    Nor when the database's `file` (its inode) is another one: it was restored from a backup, or copied.
    """
    tx.run(
        "UPDATE registry SET quiet_until = max(quiet_until, :until), is_running = 0"
        " WHERE is_running OR file_number <> :file",
        until=now + quiet,
        file=file,
    )
    tx.run("UPDATE registry SET file_number = :file WHERE file_number IS NOT :file", file=file)


def get_window(tx: Transaction) -> int | None:
    """The undelete window in days by which the reviews are due, None before the first."""
    row = tx.only("SELECT undelete_days FROM registry")
    return None if row[0] is None else int(row[0])


def get_rest(tx: Transaction) -> int:
    """Until when the collector rests, in Unix milliseconds."""
    return int(tx.only("SELECT quiet_until FROM registry")[0])


def note_window(tx: Transaction, undelete_days: int, now: int) -> None:
    """Have all that is deleted looked at again when the registry's window has changed."""
    if tx.run(
        "UPDATE registry SET undelete_days = :days WHERE undelete_days IS NOT :days RETURNING 1", days=undelete_days
    ):
        reviews.hasten(tx, ("manifest", "right", "repository"), now)
