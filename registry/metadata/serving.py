"""Whether the collector may work: how the last server ended, and by which window the reviews are due."""

from registry.metadata import reviews
from registry.metadata.database import Transaction

_LEAP = 24 * 3_600_000  # milliseconds: a clock that is so far from where it was last seen was not only waiting
_SEEN_EVERY = 3_600_000  # milliseconds between two notes of where it is


def begin_serving(tx: Transaction, now: int, quiet: int, file: int) -> None:
    """The only server starts, as `note_end` has it: who served before it is gone."""
    note_end(tx, now, quiet, file)
    tx.run("DELETE FROM replica")
    tx.run("UPDATE registry SET is_running = 1")
    set_seen(tx, now)


def begin_sharing(tx: Transaction, now: int, quiet: int, file: int) -> None:
    """One of several servers starts. How others have ended is in their own rows."""
    if tx.run("UPDATE registry SET file_number = :file WHERE file_number <> :file RETURNING 1", file=file):
        rest(tx, now + quiet)
    tx.run("UPDATE registry SET file_number = :file WHERE file_number IS NULL", file=file)


def end_serving(tx: Transaction) -> None:
    tx.run("UPDATE registry SET is_running = 0")


def note_end(tx: Transaction, now: int, quiet: int, file: int) -> None:
    """No server runs. Nothing is collected for `quiet` milliseconds when the last one did not end by itself.

    Nor when the database's `file` (its inode) is another one: it was restored from a backup, or copied.
    """
    tx.run(
        "UPDATE registry SET quiet_until = CASE WHEN quiet_until < :until THEN :until ELSE quiet_until END,"
        " is_running = 0 WHERE is_running = 1 OR file_number <> :file",
        until=now + quiet,
        file=file,
    )
    tx.run("UPDATE registry SET file_number = :file WHERE file_number IS DISTINCT FROM :file", file=file)


def rest(tx: Transaction, until: int) -> None:
    """Nothing is collected before that instant."""
    tx.run("UPDATE registry SET quiet_until = :until WHERE quiet_until < :until", until=until)


def find_leap(tx: Transaction, now: int) -> int:
    """By how many milliseconds the clock has leapt, forward or (negative) back, since it was last seen; mostly 0."""
    seen_at = int(tx.only("SELECT seen_at FROM registry")[0])
    return now - seen_at if seen_at and abs(now - seen_at) > _LEAP else 0


def note_clock(tx: Transaction, now: int, quiet: int) -> int:
    """See the clock, and have the collector rest when it has leapt. Returns by how much, as `find_leap`."""
    leap = find_leap(tx, now)
    if leap:  # also when it rests until an instant that was the future's
        tx.run("UPDATE registry SET quiet_until = :until", until=now + quiet)
    due = leap or tx.one("SELECT 1 FROM registry WHERE seen_at < :due", due=now - _SEEN_EVERY)
    if due:
        set_seen(tx, now)
    return leap


def set_seen(tx: Transaction, now: int) -> None:
    """No server was there to see the clock: where it is says nothing about it."""
    tx.run("UPDATE registry SET seen_at = :now", now=now)


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
        "UPDATE registry SET undelete_days = :days WHERE undelete_days IS DISTINCT FROM :days RETURNING 1",
        days=undelete_days,
    ):
        reviews.hasten(tx, ("manifest", "right", "repository"), now)
