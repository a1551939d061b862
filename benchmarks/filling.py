"""Fills registries with many small images, fast: through the rows' own functions, in transactions of thousands.

What is left is what a registry has that served for weeks: nothing is under review, and policies know of all changes.
"""

import asyncio
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import apsw

from benchmarks.images import MANIFEST_TYPE, make_manifest
from registry.app import Registry
from registry.config import Config
from registry.identity import Actor, Deed, milliseconds_now
from registry.metadata import blobs, manifests, policies, repositories, reviews, tags
from registry.metadata.blobs import GivenRight, StoredBlob
from registry.metadata.database import Transaction
from registry.metadata.sqlite import SqliteTransaction
from registry.oci.manifest import parse_manifest
from registry.oci.names import RepositoryName, Tag
from storage.digest import Digest

BY = Actor("benchmark")
_RELEASED = 100  # of so many images one has a second tag
_AT_ONCE = 5_000  # images in one transaction
_PRAGMAS = {"foreign_keys": 1, "synchronous": 0, "cache_size": -(1 << 19), "wal_autocheckpoint": 0}
_BUSY_MILLISECONDS = 60_000
_DAY = 24 * 3_600_000  # milliseconds
_AGE = 30 * _DAY  # of the oldest image
_APART = 20_000  # milliseconds between two


def keep(count: int) -> str:
    """A policy that keeps the last `count` images, with two rules before it that find nothing to remove."""
    rules = [
        _rule(1, {"tagStatus": "tagged", "tagPatternList": ["release-*"], "countNumber": 1_000_000}),
        _rule(2, {"tagStatus": "untagged", "countNumber": 1_000_000}),
        _rule(3, {"tagStatus": "any", "countNumber": count}),
    ]
    return json.dumps({"rules": rules})


class Filler:
    """Writes into the registry in `folder`, which it makes, also beside a server; nothing is synced.

    Of each repository the first images, as many as `with_bytes`, have files; of the others nobody asks for bytes.
    """

    def __init__(self, folder: Path, with_bytes: int = 0) -> None:
        self._with_bytes = with_bytes
        self._config = Config(data=folder)
        self._folders: set[Path] = set()
        asyncio.run(_make(self._config))

    def fill(self, images: Mapping[str, int], policy: str | None = None) -> None:
        """So many images in each repository, tagged `build-NUMBER` from 0 on, and the policy for all of them."""
        start = milliseconds_now() - _AGE
        wanted = [(name, number, start + number * _APART) for name, count in images.items() for number in range(count)]
        with self._connected() as connection:
            for first in range(0, len(wanted), _AT_ONCE):
                with _writing(connection) as tx:
                    self._put_images(tx, wanted[first : first + _AT_ONCE])
            with _writing(connection) as tx:
                if policy is not None:
                    _set_policies(tx, images, policy)
                while policies.transfer_changes(tx, start):
                    pass
                tx.run("UPDATE policy SET due_at = NULL")  # until something changes

    def push(self, names: Iterable[str], number: int) -> None:
        """One more image in each repository, as if it had been pushed a day ago."""
        at = milliseconds_now() - _DAY
        with self._connected() as connection, _writing(connection) as tx:
            self._put_images(tx, ((name, number, at) for name in names))

    def set_policy(self, name: str, text: str) -> None:
        with self._connected() as connection, _writing(connection) as tx:
            _set_policies(tx, [name], text)

    def count(self, sql: str) -> int:
        """The number that a query finds."""
        with self._connected() as connection:
            found = SqliteTransaction(connection, milliseconds_now).only(sql)[0]
        return int(found)

    @contextmanager
    def _connected(self) -> Iterator[apsw.Connection]:
        """Its cache holds the database: with SQLite's own, most of the time goes into reading and writing pages."""
        connection = apsw.Connection(str(self._config.database_path))
        try:
            connection.set_busy_timeout(_BUSY_MILLISECONDS)
            for pragma, value in _PRAGMAS.items():
                connection.pragma(pragma, value)
            yield connection
            connection.pragma("wal_checkpoint")
        finally:
            connection.close()

    def _put_images(self, tx: Transaction, images: Iterable[tuple[str, int, int]]) -> None:
        for name, number, at in images:
            self._put_image(tx, name, number, at)

    def _put_image(self, tx: Transaction, name: str, number: int, at: int) -> None:
        deed = Deed(BY, at)
        content = f'{{"image":"{name}:{number}"}}'.encode()
        blob = StoredBlob(Digest.of(content), secrets.token_hex(16), len(content))
        if number < self._with_bytes:
            self._write_file(blob.key, content)
        repository_id = repositories.get_or_make(tx, RepositoryName(name), "push", deed)
        blobs.insert(tx, blob, deed)
        blobs.give_right(tx, GivenRight(repository_id, blob.digest, "blob.push", at + _DAY), deed)
        reviews.drop(tx, "right", reviews.right_key(repository_id, str(blob.digest)))
        manifest = parse_manifest(make_manifest(blob.digest, blob.size), MANIFEST_TYPE)
        manifest_id = manifests.put(tx, repository_id, manifest, deed)
        tags.set_tag(tx, repository_id, Tag(f"build-{number}"), str(manifest.digest), manifest_id, deed)
        if number % _RELEASED == _RELEASED - 1:
            tags.set_tag(tx, repository_id, Tag(f"release-{number}"), str(manifest.digest), manifest_id, deed)

    def _write_file(self, key: str, content: bytes) -> None:
        path = self._config.storage_path / "data" / key[:2] / key
        if path.parent not in self._folders:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._folders.add(path.parent)
        path.write_bytes(content)


@contextmanager
def _writing(connection: apsw.Connection) -> Iterator[Transaction]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield SqliteTransaction(connection, milliseconds_now)
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _rule(priority: int, selection: dict[str, object]) -> dict[str, object]:
    counted = selection | {"countType": "imageCountMoreThan"}
    return {"rulePriority": priority, "selection": counted, "action": {"type": "expire"}}


def _set_policies(tx: Transaction, names: Iterable[str], text: str) -> None:
    for name in names:
        found = repositories.find(tx, RepositoryName(name))
        if found is not None:
            policies.put(tx, found.id, text, Deed(BY, milliseconds_now()))


async def _make(config: Config) -> None:
    registry = Registry(config)
    try:
        await registry.start()
    finally:
        registry.close()
