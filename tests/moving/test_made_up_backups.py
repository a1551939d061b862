"""`entrepot restore` of files that are no backups, or that somebody has made up."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests import places
from tests.cli.access import done, refused
from tests.metadata.databases import KINDS
from tests.places import DatabaseKind, Place

Use: TypeAlias = Callable[[Path, Place | None], None]


def rewritten(file: Path, change: Callable[[bytes], bytes], end: bytes | None = None, **fields: Any) -> Path:
    """The backup with changed rows, with another end, and with other fields in its title."""
    other = file.with_name("rewritten.tar")
    with tarfile.open(file) as source, tarfile.open(other, "w") as target:
        contents = {member.name: source.extractfile(member).read() for member in source}  # type: ignore[union-attr]
        contents["rows.jsonl"] = change(contents["rows.jsonl"])
        contents["end.json"] = contents["end.json"] if end is None else end
        fields = {"rows_sha256": hashlib.sha256(contents["rows.jsonl"]).hexdigest()} | fields
        contents["entrepot.json"] = json.dumps(json.loads(contents["entrepot.json"]) | fields).encode()
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            target.addfile(member, io.BytesIO(content))
    return other


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"format": 2}, "the backup has format 2, this version reads 1"),
        ({"schema": 1, "version": "0.0.1"}, "restore it with version 0.0.1"),
        ({"rows_sha256": "00"}, "the backup is damaged: its rows are not those that were written"),
        ({"blobs_": 1}, "this is no backup"),
        ({"blob_bytes": "many"}, "this is no backup"),
        ({"instance": ["a"]}, "this is no backup"),
        ({"taken_at": 10**30}, "this is no backup"),
        ({"rows": []}, "this is no backup"),
        ({"rows": {}}, "this is no backup"),
    ],
)
def test_other_backups_are_refused(file: Path, tmp_path: Path, use: Use, fields: dict[str, Any], problem: str) -> None:
    """One of another format or schema says which version reads it; nothing is made of it."""
    other = rewritten(file, bytes, **fields)
    use(tmp_path / "other", None)
    assert problem in refused("restore", str(other))
    assert "there is no registry" in refused("check")


@pytest.mark.parametrize("content", [b"", b"no tar", bytes(10240)])
def test_other_files_are_refused(tmp_path: Path, use: Use, content: bytes) -> None:
    """What is no backup at all is called so."""
    use(tmp_path / "other", None)
    other = tmp_path / "other.tar"
    other.write_bytes(content)
    assert "this is no backup" in refused("restore", str(other))
    assert "No such file" in refused("restore", str(tmp_path / "missing.tar"))


def test_keys_stay_inside_the_store(file: Path, tmp_path: Path, use: Use) -> None:
    """A file that somebody made up cannot write outside of the store."""

    def lead_out(content: bytes) -> bytes:
        key = next(json.loads(line)[1] for line in content.splitlines() if line.startswith(b'["sha256:'))
        return content.replace(key.encode(), b"../../stray")

    other = rewritten(file, lead_out)
    use(tmp_path / "other", None)
    assert "'../../stray' is no storage key" in refused("restore", str(other))
    assert list(tmp_path.rglob("stray")) == []


def with_row(content: bytes, table: str, row: list[object]) -> bytes:
    """The rows with one more, the first of its table."""
    lines = content.splitlines(keepends=True)
    place = next(number for number, line in enumerate(lines) if line.startswith(f'{{"table":"{table}"'.encode()))
    return b"".join([*lines[: place + 1], json.dumps(row).encode() + b"\n", *lines[place + 1 :]])


ABSENT = f"sha256:{'0' * 64}"  # before all others, as the order of rows wants it


@pytest.mark.parametrize(
    ("table", "row", "problem"),
    [
        ("blob", [ABSENT, "../../stray", 1, 1, None, 0], "'../../stray' is no storage key"),
        ("blob", [ABSENT, "/etc/stray", 1, 1, None, 0], "'/etc/stray' is no storage key"),
        ("blob", [ABSENT, None, 1, 1, None, 0], "'None' is no storage key"),
        ("blob", ["sha256:0", "abcdefgh", 1, 1, None, 0], "is a blob without a digest"),
        ("blob", [ABSENT, "abcdefgh", "1", 1, None, 0], "is a blob without a size"),
        ("review", ["upload", "../../stray", 0, 0, "upload"], "is a review of an upload"),
        ("tag", [[]], "is no row of a table"),
        ("pull", [1, ["bob"], 1], "has what no row can have"),
    ],
)
def test_rows_name_nothing_outside(
    file: Path, tmp_path: Path, use: Use, table: str, row: list[object], problem: str
) -> None:
    """What the collector would remove one day outside of the store is refused, also with --partial."""
    other = rewritten(file, lambda content: with_row(content, table, row))
    use(tmp_path / "other", None)
    for options in ((), ("--partial",)):
        assert problem in refused("restore", str(other), *options)
        assert "there is no registry" in refused("check")
        assert places.look_into(tmp_path / "other").blobs() == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("blob", [ABSENT, "abcdefgh", 1, None, None, 0]),
        ("repository_blob", [1, ABSENT, 1, None, None, None]),
        ("tag", [99, 1, "v9", ABSENT, 999, 1, None, "x"]),
        ("tag", [99, 1, "v9", ABSENT, "many", 1, None, "x"]),
        ("membership", [999, 999]),
        ("pull", [999, "bob", 1]),
    ],
)
def test_rows_that_no_registry_has(
    file: Path, tmp_path: Path, use: Use, kind: DatabaseKind, table: str, row: list[object]
) -> None:
    """What the schema does not allow is refused with the name of its table, and nothing is made of the rest."""
    other = rewritten(file, lambda content: with_row(content, table, row))
    use(tmp_path / "other", Place(kind))
    assert f"a row of {table} is none that a registry has: " in refused("restore", str(other))
    assert "there is no registry" in refused("check")


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_come_twice(file: Path, tmp_path: Path, use: Use, kind: DatabaseKind) -> None:
    """The same row again is one too many."""

    def repeat(content: bytes) -> bytes:
        lines = content.splitlines(keepends=True)
        place = next(number for number, line in enumerate(lines) if line.startswith(b'{"table":"repository"'))
        return b"".join([*lines[: place + 2], *lines[place + 1 :]])

    use(tmp_path / "other", Place(kind))
    assert "a row of repository is none that a registry has: " in refused("restore", str(rewritten(file, repeat)))
    assert "there is no registry" in refused("check")


@pytest.mark.parametrize("table", ["discard", "upload", "duty"])
def test_tables_of_one_place_are_refused(file: Path, tmp_path: Path, use: Use, table: str) -> None:
    """Rows that say what bytes are to be removed never come from a file."""
    header = json.dumps({"table": table, "columns": ["storage_key", "due_at"]}).encode()
    other = rewritten(file, lambda content: header + b'\n["../../stray",0]\n' + content)
    use(tmp_path / "other", None)
    assert f"a table that this version does not know: {table}" in refused("restore", str(other))
    assert "there is no registry" in refused("check")


@pytest.mark.parametrize("numbers", [b"[]", b'{"tag": "x"}', b'{"tag": -1}', b'{"tag": 9223372036854775808}'])
def test_the_last_numbers_are_looked_at(file: Path, tmp_path: Path, use: Use, numbers: bytes) -> None:
    """Ids that a database cannot go on from are refused before anything is made."""

    def replace(content: bytes) -> bytes:
        return content[: content.rindex(b'{"numbers":')] + b'{"numbers": ' + numbers + b"}\n"

    other = rewritten(file, replace)
    use(tmp_path / "other", None)
    assert "the last line has no numbers" in refused("restore", str(other))
    assert "there is no registry" in refused("check")


@pytest.mark.parametrize("end", [b"{}", b"[]", b'{"damaged": 1}', b'{"damaged": [1]}', b"[" * 100_000, b"no JSON"])
def test_a_wrong_end_is_named(file: Path, tmp_path: Path, use: Use, end: bytes) -> None:
    """The file's last member is looked at like the first one; --partial takes what came before it."""
    other = rewritten(file, bytes, end=end)
    use(tmp_path / "other", None)
    assert "end.json in the backup is damaged" in refused("restore", str(other))
    assert "there is no registry" in refused("check")
    done("restore", str(other), "--partial")
    assert done("check") == "4 blobs: all are there\n"
