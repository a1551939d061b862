"""A version after this one, made of a copy of it: with a migration more, and what its own code does with it."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from registry.metadata import schema
from tests.replicas import server

VERSION = "99.0.0"
ADDITIVE = """-- additive
ALTER TABLE tag ADD COLUMN note TEXT;
CREATE INDEX tag_by_note ON tag (note) WHERE note IS NOT NULL;
CREATE TABLE remark (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL) STRICT;
"""
BREAKING = """-- needs: all servers stopped
ALTER TABLE tag RENAME COLUMN set_by TO moved_by;
"""
_PROJECT = Path(schema.__file__).parents[2]
_INSERT = (
    """valid_from, set_by)"
        " VALUES (:id, :name, :digest, :manifest_id, :at, :by)""",
    """valid_from, set_by, note)"
        " VALUES (:id, :name, :digest, :manifest_id, :at, :by, 'later')""",
)
_COLUMNS = ("valid_from valid_to set_by", "valid_from valid_to set_by note")


@dataclass(frozen=True, slots=True)
class Later:
    """`number` of its schema; `serve` starts its server, `command` is its `entrepot`."""

    number: int
    serve: tuple[str, ...]
    command: tuple[str, ...]


def make_later(folder: Path, migration: str) -> Later:
    """A version whose schema has this migration more; where that only adds, its code writes what is new."""
    for name in ("registry", "storage"):
        shutil.copytree(_PROJECT / name, folder / name)
    number = max(schema._migrations()) + 1
    metadata = folder / "registry" / "metadata"
    (metadata / "migrations" / f"{number:04d}_later.sql").write_text(migration)
    if migration == ADDITIVE:
        _replace(metadata / "tags.py", *_INSERT)
        _replace(metadata / "transfer.py", *_COLUMNS)
    distribution = folder / f"entrepot-{VERSION}.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text(f"Metadata-Version: 2.1\nName: entrepot\nVersion: {VERSION}\n")
    # A script's own folder comes first of all where modules are looked for.
    shutil.copy(server.__file__, folder / "serve.py")
    (folder / "command.py").write_text("from registry.cli import main\n\nmain()\n")
    return Later(number, (sys.executable, str(folder / "serve.py")), (sys.executable, str(folder / "command.py")))


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, f"{path.name} does not have once: {old}"
    path.write_text(text.replace(old, new))
