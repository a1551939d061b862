"""A backup as one file: a plain tar, written and read from its beginning to its end.

entrepot.json         what it is a backup of; see Title
rows.jsonl            every row; see rows.py
blobs/sha256/HEX      the bytes of each blob
end.json              {"damaged": [...]}: the blobs whose bytes could not be saved; without it the file was cut off
"""

import dataclasses
import hashlib
import json
import re
import tarfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from typing import IO, Any, Protocol

from storage.digest import Digest

FORMAT = 1
_TITLE, ROWS, _END = "entrepot.json", "rows.jsonl", "end.json"
_BLOB = re.compile(r"blobs/(sha256|sha512)/([0-9a-f]{64,128})", re.ASCII)
_PIECE = 1 << 20  # bytes
_MOST_JSON = 256 << 20  # bytes: the list of what is damaged may be long
_LAST_INSTANT = 253_402_300_800_000  # Unix milliseconds: what comes then has a year of five digits
_UNREADABLE = (tarfile.TarError, ValueError)  # tarfile leaves some of what is wrong with numbers to Python


class ArchiveInvalid(Exception):
    """The file is no backup, not one that this version can read, or it was cut off; the message says which."""


@dataclass(frozen=True, slots=True)
class Title:
    """The first member. `taken_at` in Unix milliseconds, sizes in bytes; `rows` by table."""

    version: str
    schema: int
    instance: str
    taken_at: int
    rows: dict[str, int]
    rows_size: int
    rows_sha256: str
    blobs: int
    blob_bytes: int
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class ArchivedBlob:
    """A blob of `size` bytes; they can be read until the next one is asked for."""

    digest: Digest
    size: int
    file: IO[bytes]

    async def read(self) -> AsyncIterator[bytes]:
        """Yield the bytes in pieces. Raises ArchiveInvalid where the file was cut off."""
        left = self.size
        while left:
            try:
                piece = self.file.read(min(left, _PIECE))
            except _UNREADABLE as problem:
                raise ArchiveInvalid(f"the backup was cut off: {problem}") from None
            if not piece:
                raise ArchiveInvalid("the backup was cut off: a blob ends early")
            left -= len(piece)
            yield piece


class Sink(Protocol):
    """Where a backup goes."""

    def write(self, content: bytes, /) -> object: ...

    def flush(self) -> None: ...


class ArchiveWriter:
    """Writes to `file`, which need not be able to seek."""

    def __init__(self, file: Sink) -> None:
        self._file = file
        self.size = 0  # bytes written

    def write_title(self, title: Title, rows: IO[bytes]) -> None:
        self._write_member(_TITLE, json.dumps(asdict(title), indent=2).encode() + b"\n", title.taken_at)
        self._write_header(ROWS, title.rows_size, title.taken_at)
        rows.seek(0)
        while piece := rows.read(_PIECE):
            self._write(piece)
        self._pad(title.rows_size)

    async def write_blob(self, digest: Digest, size: int, taken_at: int, content: AsyncIterator[bytes]) -> bool:
        """False when the content is another one. What it raises comes out here, and the member is filled with zeros."""
        self._write_header(f"blobs/{digest.algorithm}/{digest.encoded}", size, taken_at)
        hasher, left = hashlib.new(digest.algorithm), size
        try:
            async for piece in content:
                hasher.update(piece)
                self._write(piece[:left])
                left = max(0, left - len(piece))
        finally:
            while left:
                zeros = bytes(min(left, _PIECE))
                self._write(zeros)
                left -= len(zeros)
            self._pad(size)
        return hasher.hexdigest() == digest.encoded

    def end(self, damaged: list[str], taken_at: int) -> None:
        self._write_member(_END, json.dumps({"damaged": damaged}).encode() + b"\n", taken_at)
        self._write(bytes(2 * tarfile.BLOCKSIZE))
        self._file.flush()

    def _write_member(self, name: str, content: bytes, taken_at: int) -> None:
        self._write_header(name, len(content), taken_at)
        self._write(content)
        self._pad(len(content))

    def _write_header(self, name: str, size: int, taken_at: int) -> None:
        member = tarfile.TarInfo(name)
        member.size, member.mode, member.mtime = size, 0o600, taken_at // 1000
        self._write(member.tobuf(tarfile.PAX_FORMAT))

    def _pad(self, size: int) -> None:
        self._write(bytes(-size % tarfile.BLOCKSIZE))

    def _write(self, piece: bytes) -> None:
        self._file.write(piece)
        self.size += len(piece)


class ArchiveReader:
    """Reads `file` once. `title` is there from the beginning, `damaged` after the blobs.

    When that is None then, `problem` says what is wrong with the end. Raises ArchiveInvalid, OSError.
    """

    def __init__(self, file: IO[bytes]) -> None:
        try:
            self._tar = tarfile.open(fileobj=file, mode="r|")  # noqa: SIM115 - the caller closes the file
            self.title = self._read_title()
        except _UNREADABLE as problem:
            raise ArchiveInvalid(f"this is no backup: {problem}") from None
        self.damaged: list[str] | None = None
        self.problem = "the backup was cut off"

    def copy_rows(self, file: IO[bytes]) -> None:
        """Raises ArchiveInvalid when they are not those that were written."""
        hasher = hashlib.sha256()
        try:
            content = self._next(ROWS)
            while piece := content.read(_PIECE):
                hasher.update(piece)
                file.write(piece)
        except _UNREADABLE as problem:
            raise ArchiveInvalid(f"the backup was cut off: {problem}") from None
        if hasher.hexdigest() != self.title.rows_sha256:
            raise ArchiveInvalid("the backup is damaged: its rows are not those that were written")

    def each_blob(self) -> Iterator[ArchivedBlob]:
        """To the end, or to where the file was cut off. Raises nothing: see `problem`."""
        try:
            while member := self._tar.next():
                content = self._tar.extractfile(member)
                if content is None:
                    continue
                if member.name == _END:
                    self.damaged = _read_end(content)
                    return
                if match := _BLOB.fullmatch(member.name):
                    yield ArchivedBlob(Digest.parse(f"{match[1]}:{match[2]}"), member.size, content)
        except ArchiveInvalid as problem:
            self.problem = str(problem)
        except _UNREADABLE:
            return

    def _read_title(self) -> Title:
        fields = _decode(self._next(_TITLE).read(_MOST_JSON), _TITLE)
        if fields.get("format") != FORMAT:
            raise ArchiveInvalid(f"the backup has format {fields.get('format')}, this version reads {FORMAT}")
        try:
            title = Title(**fields)
        except TypeError:
            raise ArchiveInvalid(f"this is no backup: {_TITLE} lacks something") from None
        if not _is_sound(title):
            raise ArchiveInvalid(f"this is no backup: {_TITLE} has something that it cannot have")
        return title

    def _next(self, name: str) -> IO[bytes]:
        member = self._tar.next()
        content = self._tar.extractfile(member) if member and member.name == name else None
        if content is None:
            raise ArchiveInvalid(f"this is no backup: {name} is not where it should be")
        return content


def _is_sound(title: Title) -> bool:
    """Whether all is of the type that it should be: whoever has the file may have written it."""
    fields = {each.name: getattr(title, each.name) for each in dataclasses.fields(title)}
    texts, rows = [fields.pop(name) for name in ("version", "instance", "rows_sha256")], fields.pop("rows")
    if not all(isinstance(text, str) for text in texts) or not isinstance(rows, dict):
        return False
    return all(map(_is_count, (*fields.values(), *rows.values()))) and title.taken_at < _LAST_INSTANT


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0  # a bool is an int, too


def _read_end(content: IO[bytes]) -> list[str]:
    damaged = _decode(content.read(_MOST_JSON), _END).get("damaged")
    if not isinstance(damaged, list) or not all(isinstance(digest, str) for digest in damaged):
        raise ArchiveInvalid(f"{_END} in the backup is damaged")
    return damaged


def _decode(content: bytes, name: str) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        raise ArchiveInvalid(f"{name} in the backup is damaged") from None
    if not isinstance(value, dict):
        raise ArchiveInvalid(f"{name} in the backup is damaged")
    return value
