"""The rows of a registry as lines of JSON, in the order in which a database can take them.

{"table": "repository", "columns": ["id", "name", ...]}
[1, "demo/app", ...]                     a row; bytes are {"base64": "..."}
{"numbers": {"repository": 7, ...}}      the last line: the highest id that each table ever gave
"""

import base64
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from registry.metadata import transfer
from registry.metadata.database import Row, Transaction
from registry.metadata.transfer import Table

_BATCH = 500  # rows that are decoded together


class RowsDamaged(Exception):
    """The lines are not what was written; the message says where that shows."""


@dataclass(slots=True)
class Written:
    """What a database had: rows by table, the blobs among them, and their bytes."""

    rows: dict[str, int] = field(default_factory=dict)
    blobs: int = 0
    blob_bytes: int = 0


@dataclass(frozen=True, slots=True)
class NamedBlob:
    """A blob that the rows name, of `size` bytes; `is_damaged` as the last scrub or pull found it."""

    digest: str
    key: str
    size: int
    is_damaged: bool


def write(tx: Transaction, file: IO[bytes], tables: Sequence[Table]) -> Written:
    """Write all lines to the file, over what an earlier try has left there: a transaction may be run twice."""
    file.seek(0)
    file.truncate()
    written = Written()
    for table in tables:
        file.write(_line({"table": table.name, "columns": table.columns}))
        size = table.columns.index("size") if table.name == "blob" else None
        count = 0
        for row in transfer.each_row(tx, table):
            file.write(_line([_plain(value) for value in row]))
            count += 1
            if size is not None:
                written.blob_bytes += row[size]
        written.rows[table.name] = count
    file.write(_line({"numbers": transfer.find_numbers(tx)}))
    written.blobs = written.rows.get("blob", 0)
    return written


def insert(tx: Transaction, file: IO[bytes], tables: Sequence[Table]) -> None:
    """Add all rows to a database that has none. Raises RowsDamaged."""
    transfer.clear_seeds(tx)
    reading = _Reading(file, tables)
    for table, rows in itertools.groupby(reading.each(), key=lambda pair: pair[0]):
        while batch := [row for _, row in itertools.islice(rows, _BATCH)]:
            transfer.insert(tx, table, batch)
    transfer.set_numbers(tx, reading.numbers)


def each_blob(file: IO[bytes], tables: Sequence[Table]) -> Iterator[NamedBlob]:
    """Raises RowsDamaged."""
    blobs = next(table for table in tables if table.name == "blob")
    places = [blobs.columns.index(name) for name in ("digest", "storage_key", "size", "damaged_at")]
    for table, row in _Reading(file, tables).each():
        if table is blobs:
            digest, key, size, damaged_at = (row[place] for place in places)
            yield NamedBlob(str(digest), str(key), int(size), damaged_at is not None)
        elif tables.index(table) > tables.index(blobs):
            return


class _Reading:
    """The lines of `file`; `numbers` are known at their end."""

    def __init__(self, file: IO[bytes], tables: Sequence[Table]) -> None:
        self._file = file
        self._tables = {table.name: table for table in tables}
        self.numbers: dict[str, int] = {}

    def each(self) -> Iterator[tuple[Table, Row]]:
        """Raises RowsDamaged, also at the end when the last line is not there."""
        self._file.seek(0)
        table: Table | None = None
        is_ended = False
        for number, line in enumerate(self._file, start=1):
            value = _decode(line, number)
            if is_ended:
                raise RowsDamaged(f"line {number} follows the end")
            if isinstance(value, list):
                if table is None or len(value) != len(table.columns):
                    raise RowsDamaged(f"line {number} is no row of a table")
                if b'{"base64"' in line:  # asked once for the line: most have no bytes in them
                    value = [_exact(item, number) for item in value]
                yield table, tuple(value)
            elif is_ended := "numbers" in value:
                self.numbers = value["numbers"]
            else:
                table = self._find_table(value, number)
        if not is_ended:
            raise RowsDamaged("the rows end early")

    def _find_table(self, value: dict[str, Any], number: int) -> Table:
        table = self._tables.get(value.get("table", ""))
        if table is None or tuple(value.get("columns", ())) != table.columns:
            raise RowsDamaged(f"line {number} is a table that this version does not know: {value.get('table')}")
        return table


def _decode(line: bytes, number: int) -> Any:
    try:
        value = json.loads(line.decode("ascii"))
    except ValueError:
        raise RowsDamaged(f"line {number} is no JSON") from None
    if not isinstance(value, list | dict):
        raise RowsDamaged(f"line {number} is neither a row nor a table")
    return value


def _exact(value: Any, number: int) -> Any:
    if isinstance(value, dict):
        try:
            return base64.b64decode(value["base64"], validate=True)
        except (KeyError, TypeError, ValueError):
            raise RowsDamaged(f"line {number} has bytes that cannot be read") from None
    return value


def _plain(value: Any) -> Any:
    return {"base64": base64.b64encode(value).decode("ascii")} if isinstance(value, bytes | memoryview) else value


def _line(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"
