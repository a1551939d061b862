"""Migrations, applied in order at start, all in one transaction; and the row that says which registry this is."""

import re
from importlib import resources

from registry.errors import Unavailable
from registry.metadata.database import Transaction

_NAME = re.compile(r"(\d{4})_\w+\.sql", re.ASCII)


def migrate(tx: Transaction) -> int:
    """Bring the schema to this version's and return its number. Raises Unavailable when it is newer, or not ours."""
    if tx.one("SELECT 1 FROM sqlite_master") and not tx.one("SELECT 1 FROM sqlite_master WHERE name = 'migration'"):
        raise Unavailable("the database belongs to another program: it has tables, and none of them is the registry's")
    tx.run("CREATE TABLE IF NOT EXISTS migration (number INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT")
    done = _done(tx)
    known = _migrations()
    if done > max(known):
        raise _too_new(done, max(known))
    for number in sorted(number for number in known if number > done):
        name, text = known[number]
        for statement in _statements(text):
            tx.run(statement)
        tx.run("INSERT INTO migration (number, name) VALUES (:number, :name)", number=number, name=name)
    return max(known)


def find_instance(tx: Transaction) -> str | None:
    """The registry's instance id, None when none was made yet. Raises Unavailable when the schema is another one."""
    if not tx.run("SELECT 1 FROM sqlite_master WHERE name = 'migration'"):
        return None
    done, needed = _done(tx), max(_migrations())
    if done > needed:
        raise _too_new(done, needed)
    if done < needed:
        raise Unavailable(
            f"the database has schema {done}, this version needs {needed}: start its server once, which brings it there"
        )
    found = tx.one("SELECT instance FROM registry")
    return str(found[0]) if found else None


def get_or_make_instance(tx: Transaction, instance: str, registry_id: str, now: int) -> str:
    """The registry's instance id; the given ids become its own when it has none yet."""
    tx.run(
        "INSERT INTO registry (one, instance, registry_id, created_at) VALUES (1, :instance, :registry_id, :now)"
        " ON CONFLICT (one) DO NOTHING",
        instance=instance,
        registry_id=registry_id,
        now=now,
    )
    return str(tx.only("SELECT instance FROM registry")[0])


def get_registry_id(tx: Transaction) -> str:
    """12 digits."""
    return str(tx.only("SELECT registry_id FROM registry")[0])


def _done(tx: Transaction) -> int:
    return int(tx.only("SELECT coalesce(max(number), 0) FROM migration")[0])


def _too_new(done: int, known: int) -> Unavailable:
    return Unavailable(f"the database has schema {done}, this version knows {known}: install the newer one again")


def _migrations() -> dict[int, tuple[str, str]]:
    folder = resources.files("registry.metadata") / "migrations"
    files = ((_NAME.fullmatch(file.name), file) for file in folder.iterdir())
    return {int(match[1]): (file.name, file.read_text("utf-8")) for match, file in files if match}


def _statements(text: str) -> list[str]:
    without_comments = re.sub(r"--[^\n]*", "", text)
    return [statement for part in without_comments.split(";") if (statement := part.strip())]
