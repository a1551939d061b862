"""The rows of a registry as lines of JSON, in the order in which a database can take them.

{"table": "repository", "columns": ["id", "name", ...]}
[1, "demo/app", ...]                     a row; bytes are {"base64": "..."}
{"numbers": {"repository": 7, ...}}      the last line: the highest id that each table ever gave
"""

import base64
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from registry.metadata import transfer
from registry.metadata.database import Row, Transaction
from registry.metadata.transfer import RowRefused, Table
from storage.digest import Digest, InvalidDigest

_BATCH, _LARGE_BATCH = 500, 8  # rows that are decoded together
_KEY = re.compile(r"[0-9A-Za-z_-]{4,64}", re.ASCII)
_MOST = 2**63 - 1  # of a number in a database


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
        size = _LARGE_BATCH if table.has_large_rows else _BATCH
        while batch := [row for _, row in itertools.islice(rows, size)]:
            try:
                transfer.insert(tx, table, batch)
            except RowRefused as problem:
                raise RowsDamaged(f"a row of {table.name} is none that a registry has: {problem}") from None
    transfer.set_numbers(tx, reading.numbers)


def verify(file: IO[bytes], tables: Sequence[Table]) -> None:
    """Read all rows, before anything is made of them. Raises RowsDamaged."""
    for _ in _Reading(file, tables).each():
        pass


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
        self._refusals = {"blob": _refuse_blob, "review": _refuse_review}
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
                self._verify(table, value, number)
                yield table, tuple(value)
            elif is_ended := "numbers" in value:
                self.numbers = _verify_numbers(value["numbers"])
            else:
                table = self._find_table(value, number)
        if not is_ended:
            raise RowsDamaged("the rows end early")

    def _verify(self, table: Table, row: list[Any], number: int) -> None:
        """What a row names is removed one day: nobody who wrote the file says what that is."""
        if not all(value is None or isinstance(value, str | bytes) or _is_number(value) for value in row):
            raise RowsDamaged(f"line {number} has what no row can have")
        if refuse := self._refusals.get(table.name):
            refuse(dict(zip(table.columns, row, strict=True)), number)

    def _find_table(self, value: dict[str, Any], number: int) -> Table:
        name, columns = value.get("table"), value.get("columns")
        table = self._tables.get(name) if isinstance(name, str) else None
        if table is None or columns != list(table.columns):
            raise RowsDamaged(f"line {number} is a table that this version does not know: {value.get('table')}")
        return table


def _decode(line: bytes, number: int) -> Any:
    try:
        value = json.loads(line.decode("ascii"))
    except (ValueError, RecursionError):
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


def _refuse_blob(blob: dict[str, Any], number: int) -> None:
    key, size = blob["storage_key"], blob["size"]
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise RowsDamaged(f"line {number}: {str(key)[:80]!r} is no storage key")
    try:
        Digest.parse(str(blob["digest"]))
    except InvalidDigest:
        raise RowsDamaged(f"line {number} is a blob without a digest") from None
    if not _is_number(size) or size < 0:
        raise RowsDamaged(f"line {number} is a blob without a size")


def _refuse_review(review: dict[str, Any], number: int) -> None:
    if review["kind"] == "upload":  # never written, and its key is that of bytes to remove
        raise RowsDamaged(f"line {number} is a review of an upload, which no backup has")


def _verify_numbers(numbers: Any) -> dict[str, int]:
    if not isinstance(numbers, dict) or not all(_is_number(number) and number >= 0 for number in numbers.values()):
        raise RowsDamaged("the last line has no numbers")
    return numbers


def _is_number(value: Any) -> bool:
    return type(value) is int and abs(value) <= _MOST


def _plain(value: Any) -> Any:
    return {"base64": base64.b64encode(value).decode("ascii")} if isinstance(value, bytes | memoryview) else value


def _line(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"
