"""All rows of a registry, as they leave a database and come into another one, whichever of the two kinds each is.

Left out is what only means something where it is: uploads that are not finished, bytes that are to be removed, servers.
The statements are made of the names below once, when the module is loaded: no value becomes part of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from registry.metadata.database import Row, Transaction, Value

_TOGETHER = 50  # rows of one INSERT


class RowRefused(Exception):
    """The schema does not allow a row; the message is the database's."""


@dataclass(frozen=True, slots=True)
class Table:
    """`columns` in the order of its rows, the first `keys` of them are what the rows are sorted by.

    `condition` limits which rows go. A table that `numbers` gives ids that are never used again.
    One that `has_large_rows` has some of several mebibytes.
    """

    name: str
    columns: tuple[str, ...]
    keys: int = 1
    condition: str = ""
    numbers: bool = False
    has_large_rows: bool = False
    select: str = field(init=False)
    insert_one: str = field(init=False)
    insert_many: str = field(init=False)

    def __post_init__(self) -> None:
        names, order = ", ".join(self.columns), ", ".join(self.columns[: self.keys])
        where = f" WHERE {self.condition}" if self.condition else ""
        object.__setattr__(self, "select", f"SELECT {names} FROM {self.name}{where} ORDER BY {order}")
        object.__setattr__(self, "insert_one", f"INSERT INTO {self.name} ({names}) VALUES {self._places(1)}")
        object.__setattr__(self, "insert_many", f"INSERT INTO {self.name} ({names}) VALUES {self._places(_TOGETHER)}")

    def _places(self, rows: int) -> str:
        return ", ".join(
            f"({', '.join(f':v{row}_{place}' for place in range(len(self.columns)))})" for row in range(rows)
        )


def _table(name: str, columns: str, *, keys: int = 1, condition: str = "", numbers: bool = False) -> Table:
    return Table(name, tuple(columns.split()), keys, condition, numbers, has_large_rows=name == "manifest")


# Each table after those that its foreign keys name.
TABLES = (
    _table(
        "registry",
        "one instance registry_id created_at access_epoch is_guarded is_running file_number quiet_until undelete_days"
        " policy_sequence seen_at",
    ),
    _table(
        "repository",
        "id name kind settings created_at created_by cause deleted_at emptied_at",
        numbers=True,
    ),
    _table("blob", "digest storage_key size stored_at damaged_at scrubbed_at"),
    _table("repository_blob", "repository_id digest added_at deleted_at lease_until condemned_at", keys=2),
    _table(
        "manifest",
        "id repository_id digest media_type size artifact_type subject annotations pushed_at pushed_by deleted_at"
        " content",
        numbers=True,
    ),
    _table("reference", "manifest_id kind digest repository_id blob_digest child_id", keys=3),
    _table("tag", "id repository_id name digest manifest_id valid_from valid_to set_by", numbers=True),
    _table("review", "kind key due_at attempts cause", keys=2, condition="kind <> 'upload'"),
    _table(
        "identity",
        "id kind name secret stamp is_admin rule created_at created_by expires_at disabled_at last_used_at",
        numbers=True,
    ),
    _table("membership", "group_id user_id", keys=2),
    _table("access_grant", "identity_id repositories actions tags", keys=2),
    _table("pull", "manifest_id identity at", keys=2),
    _table("policy", "repository_id text set_at set_by due_at"),
    _table(
        "run",
        "id repository_id repository policy planned_at planned_by images status ended_at ended_by",
        numbers=True,
    ),
    _table("run_step", "run_id position manifest_id digest tags takes_image rule reason size outcome done_at", keys=2),
    _table(
        "change",
        "sequence at actor address request_id action repository_id repository digest tag subject detail times",
        numbers=True,
    ),
)
# They sign tokens: whoever restores a registry as it was some time ago has given out others since.
SIGNING_KEYS = _table("signing_key", "kid private_key created_at retired_at")
# Of the migrations' tables, those whose rows stay where they are.
LEFT_OUT = ("migration", "upload", "discard", "replica", "duty")


def each_row(tx: Transaction, table: Table) -> Iterator[Row]:
    """In the order of the keys, which is the same in every database."""
    if table.has_large_rows:
        return tx.each_large(table.select)
    return tx.each(table.select)


def insert(tx: Transaction, table: Table, rows: Sequence[Sequence[Value]]) -> None:
    """Add the rows as they are, with their ids. Raises RowRefused."""
    rest = len(rows) % _TOGETHER
    try:
        for start in range(0, len(rows) - rest, _TOGETHER):
            tx.run(table.insert_many, **_places(rows[start : start + _TOGETHER]))
        for row in rows[len(rows) - rest :]:
            tx.run(table.insert_one, **_places([row]))
    except tx.refusals as problem:
        raise RowRefused(str(problem).partition("\n")[0]) from problem


def clear_seeds(tx: Transaction) -> None:
    """Remove what the migrations put into a new database: it comes with the rows."""
    tx.run("DELETE FROM identity WHERE name = 'anonymous'")


def is_empty(tx: Transaction) -> bool:
    """Whether no registry is in the database."""
    return tx.one("SELECT 1 FROM registry") is None


def find_schema(tx: Transaction) -> int:
    """The number of the schema that the rows have."""
    return int(tx.only("SELECT max(number) FROM migration")[0])


def note_arrival(tx: Transaction) -> None:
    """No server has served the registry here: the collector rests at its start, for clients know of what came later."""
    tx.run("UPDATE registry SET is_running = 0, file_number = 0, seen_at = 0")


def note_bytes(tx: Transaction, missing: Sequence[str], now: int) -> None:
    """The bytes of all blobs came and are what they should be, but for the `missing` digests."""
    tx.run("UPDATE blob SET damaged_at = NULL WHERE damaged_at IS NOT NULL")
    note_damage(tx, missing, now)


def note_damage(tx: Transaction, missing: Sequence[str], now: int) -> None:
    """The bytes of these blobs did not come: they are not served, and the next push of one repairs it."""
    for digest in missing:
        tx.run("UPDATE blob SET damaged_at = :now WHERE digest = :digest", digest=digest, now=now)


def find_numbers(tx: Transaction) -> dict[str, int]:
    """The highest id that each table ever gave; rows that are gone may have had it."""
    given = {table.name: _find_number(tx, table) for table in TABLES if table.numbers}
    return {name: number for name, number in given.items() if number}


def set_numbers(tx: Transaction, numbers: Mapping[str, int]) -> None:
    """Go on behind these ids."""
    for table in TABLES:
        if table.numbers and (number := numbers.get(table.name, 0)):
            if tx.is_shared:
                tx.run(
                    "SELECT setval(pg_get_serial_sequence(:name, :column), :number)",
                    name=table.name,
                    column=table.columns[0],
                    number=number,
                )
            else:
                tx.run("DELETE FROM sqlite_sequence WHERE name = :name", name=table.name)
                tx.run("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :seq)", name=table.name, seq=number)


def _find_number(tx: Transaction, table: Table) -> int:
    if tx.is_shared:
        row = tx.one(
            "SELECT pg_sequence_last_value(CAST(pg_get_serial_sequence(:name, :column) AS regclass))",
            name=table.name,
            column=table.columns[0],
        )
    else:
        row = tx.one("SELECT seq FROM sqlite_sequence WHERE name = :name", name=table.name)
    return int(row[0]) if row and row[0] is not None else 0


def _places(rows: Sequence[Sequence[Value]]) -> dict[str, Value]:
    return {f"v{number}_{place}": value for number, row in enumerate(rows) for place, value in enumerate(row)}
