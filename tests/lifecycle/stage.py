"""Repositories with policies in a real database, under a clock that tests set."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from registry.identity import Actor, Deed
from registry.lifecycle.settings import RepositorySettings
from registry.metadata import blobs, manifests, pulls, repositories, schema, tags
from registry.metadata.blobs import GivenRight, StoredBlob
from registry.metadata.database import Database, Row, Transaction, Value
from registry.oci.manifest import parse_manifest
from registry.oci.names import RepositoryName, Tag
from registry.policies import Policies
from registry.runs import Runs
from storage.digest import Digest
from tests.lifecycle.notation import NOW, ago, rule_fields
from tests.places import open_database
from tests.scenarios.images import Content, make_blob, make_image

NAME = RepositoryName("a")
PUSHER, OPERATOR = Actor("pusher"), Actor("operator", "127.0.0.1", "a request")
CONFIG = make_blob("{}")
Advances = list[tuple[int, int]]


def policy_text(*rules: dict[str, Any] | str) -> str:
    """Rules in the notation, or fields of rules of ours."""
    return json.dumps({"rules": [rule_fields(rule) if isinstance(rule, str) else rule for rule in rules]})


def image(note: str, *layers: Content, subject: Content | None = None) -> Content:
    return make_image(CONFIG, layers, subject, note=note)


def put(tx: Transaction, content: Content, at: int, *names: str, to: RepositoryName = NAME) -> int:
    """Push a manifest with its tags at an instant, after the blobs that it names; returns its id."""
    deed = Deed(PUSHER, at)
    repository_id = repositories.get_or_make(tx, to, "push", deed)
    manifest = parse_manifest(content.content, content.media_type)
    for descriptor in _blobs(content):
        digest = Digest.parse(descriptor["digest"])
        if not blobs.find_stored(tx, digest):
            blobs.insert(tx, StoredBlob(digest, f"key {digest.encoded}", descriptor["size"]), deed)
        blobs.give_right(tx, GivenRight(repository_id, digest, "blob.push", at), deed)
    manifest_id = manifests.put(tx, repository_id, manifest, deed)
    for name in names:
        tags.set_tag(tx, repository_id, Tag(name), str(content.digest), manifest_id, deed)
    return manifest_id


def hide(tx: Transaction, content: Content, at: int = NOW) -> None:
    """Delete a manifest, as a client does."""
    stored = manifests.find(tx, NAME, content.digest)
    assert stored
    manifests.mark_deleted(tx, 1, stored, Deed(PUSHER, at))


def pull(tx: Transaction, content: Content, identity: str, at: int) -> None:
    stored = manifests.find(tx, NAME, content.digest)
    assert stored
    pulls.put(tx, [(stored.id, identity, at)])


def protect(tx: Transaction, patterns: str, **more: str) -> None:
    """Change the settings of the repository."""
    settings = RepositorySettings().changed({"protect": patterns, **more})
    repositories.set_settings(tx, 1, settings, Deed(OPERATOR, NOW))


def _blobs(content: Content) -> list[dict[str, Any]]:
    fields = json.loads(content.content)
    return [fields["config"], *fields["layers"]] if "config" in fields else []


class Stage:
    """`now` is what the clock shows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = NOW
        self.database = open_database(folder)
        self.policies = Policies(self.database, self.clock, is_strict=False, brake_percent=50, undelete_days=7)
        self.runs = self.open_runs(self.database)
        self.advances: Advances = []

    def clock(self) -> int:
        return self.now

    def open_runs(self, database: Database) -> Runs:
        return Runs(database, self.clock, is_strict=False, brake_percent=50, undelete_days=7)

    def advance(self, behind: int, total: int) -> None:
        self.advances.append((behind, total))

    def meanwhile(self, work: Callable[[Transaction], object], behind: int = 0) -> Callable[[int, int], None]:
        """An `advance` that has another process do `work` when so many steps are behind."""

        def advance(done: int, _total: int) -> None:
            if done == behind:
                with ThreadPoolExecutor(1) as thread:
                    thread.submit(asyncio.run, self._write_elsewhere(work)).result()

        return advance

    async def _write_elsewhere(self, work: Callable[[Transaction], object]) -> None:
        other = open_database(self.folder)
        try:
            await other.write(work)
        finally:
            other.close()

    async def push(self, content: Content, days: float, *names: str) -> int:
        return await self.database.write(lambda tx: put(tx, content, ago(days), *names))

    async def push_many(self, count: int, days: float = 9, prefix: str = "v") -> list[Content]:
        """Images with a tag each: v0 is the oldest."""
        images = [image(f"{prefix}{number}") for number in range(count)]

        def work(tx: Transaction) -> None:
            for number, content in enumerate(images):
                put(tx, content, ago(days) + number, f"{prefix}{number}")

        await self.database.write(work)
        return images

    async def set_policy(self, *rules: dict[str, Any] | str) -> None:
        await self.policies.set(NAME, policy_text(*rules), OPERATOR)

    async def visible(self) -> tuple[list[str], list[str]]:
        """The digests and the tags that pulls find."""
        digests = await self.rows("SELECT digest FROM manifest WHERE deleted_at IS NULL ORDER BY digest")
        names = await self.rows("SELECT name FROM tag WHERE valid_to IS NULL ORDER BY name")
        return [row[0] for row in digests], [row[0] for row in names]

    async def outcomes(self, run_id: int) -> list[str]:
        """Of the steps of a run, in their order."""
        _, steps = await self.runs.show(run_id)
        return [step.outcome.value for step in steps]

    async def rows(self, sql: str, **parameters: Value) -> list[Row]:
        return await self.database.read(lambda tx: tx.run(sql, **parameters))


@asynccontextmanager
async def open_stage(folder: Path) -> AsyncIterator[Stage]:
    stage = Stage(folder)

    def prepare(tx: Transaction) -> None:
        schema.migrate(tx)
        schema.get_or_make_instance(tx, "instance", "0" * 12, NOW)
        repositories.get_or_make(tx, NAME, "push", Deed(PUSHER, ago(500)))

    await stage.database.write(prepare)
    try:
        yield stage
    finally:
        stage.database.close()


def digests(contents: Sequence[Content]) -> list[str]:
    return sorted(str(content.digest) for content in contents)
