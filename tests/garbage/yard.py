"""A registry whose clock the test moves, and its collector: what a person does with both, without HTTP between."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from registry.app import Registry
from registry.garbage import Collected, Windows
from registry.metadata import reviews
from registry.oci.names import RepositoryName, Tag
from storage.killpoints import Reach, pass_by
from tests.places import make_config
from tests.scenarios.client import SOMEBODY, Client
from tests.scenarios.images import Content
from tests.stored import open_stored, read_rows

START = 1_800_000_000_000  # Unix milliseconds
SECOND = 1_000
SETTLE = 60 * SECOND
HOUR = 3_600 * SECOND
DAY = 24 * HOUR
WINDOWS = Windows(undelete_days=7)
MOST_STEPS = 400  # a collector that is not done by then never is


class HandClock:
    """Stands at `now` (Unix milliseconds) until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now


class Yard(Client):
    """A registry in `folder`; several can be opened there, one after the other."""

    def __init__(
        self, folder: Path, clock: HandClock, windows: Windows = WINDOWS, reach: Reach = pass_by, **settings: Any
    ) -> None:
        self.folder = folder
        self.clock = clock
        config = make_config(folder, **settings)
        # Nobody beats here, and how long a server is silent is told by the database's clock, which no test moves.
        windows = replace(windows, term=HOUR)
        super().__init__(Registry(config, clock=clock, reach=reach, windows=windows))
        self.stored = open_stored(config)

    async def open(self) -> Self:
        await self.registry.start()
        if self.registry.database.is_shared:  # whose row is there still has crashed: nobody waits for its silence
            await self.registry.database.write(lambda tx: tx.run("UPDATE replica SET seen_at = 0"))
        await self.registry.replicas.start()
        await self.registry.garbage.begin_serving()
        return self

    async def close(self) -> None:
        """A clean end."""
        await self.registry.leases.flush()
        await self.registry.garbage.end_serving()
        await self.registry.replicas.end()
        self.registry.close()

    def crash(self) -> None:
        """An end without any of that."""
        self.registry.close()

    async def head(self, name: str, blob: Content) -> None:
        """Ask whether the blob is there. Raises BlobUnknown."""
        await (await self.registry.blobs.open(RepositoryName(name), blob.digest)).close()
        await self.registry.leases.hold(RepositoryName(name), blob.digest)

    async def pull(self, name: str, reference: Content | str) -> bytes:
        """The bytes of a manifest, by digest or tag."""
        which = Tag(reference) if isinstance(reference, str) else reference.digest
        return (await self.registry.manifests.get(RepositoryName(name), which)).content

    async def restore_manifest(self, name: str, manifest: Content) -> None:
        await self.registry.manifests.restore(RepositoryName(name), manifest.digest, SOMEBODY)

    async def restore_tag(self, name: str, tag: str) -> None:
        await self.registry.tags.restore(RepositoryName(name), Tag(tag), None, SOMEBODY)

    async def restore_repository(self, name: str) -> None:
        await self.registry.repositories.restore(RepositoryName(name), SOMEBODY)

    async def set(self, name: str, **values: str) -> None:
        """Settings of the repository, in the words of the command; an empty one is unset."""
        await self.registry.repositories.set(RepositoryName(name), values, SOMEBODY)

    async def collect(self) -> Collected:
        """Take steps until nothing is due now."""
        steps, most = 0, MOST_STEPS + self.rows("SELECT count(*) FROM review")[0][0]

        def advance(_step: Collected) -> None:
            nonlocal steps
            steps += 1
            assert steps < most, "the collector does not end"

        return await self.registry.garbage.collect(advance, waits=False)

    async def hasten(self) -> None:
        """Have the collector look at everything when it looks next."""
        kinds = ("right", "manifest", "subject", "upload", "repository")
        await self.registry.database.write(lambda tx: reviews.hasten(tx, kinds, self.clock.now))

    async def pass_time(self, milliseconds: int) -> None:
        """Move the clock; what the server does each second is done once then."""
        await self.registry.leases.flush()
        self.clock.now += milliseconds

    async def quiesce(self) -> None:
        """Collect and move the clock from one review to the next until none is left."""
        await self.registry.leases.flush()
        for _ in range(MOST_STEPS):
            await self.collect()
            if not self.move_on():
                return
        raise AssertionError(f"reviews without end: {self.rows('SELECT * FROM review')}")

    def move_on(self) -> bool:
        """Move the clock to when the collector has something to do. False when it never will."""
        rest, reviews, discards = self.rows(
            "SELECT quiet_until FROM registry UNION ALL SELECT min(due_at) FROM review"
            " UNION ALL SELECT min(due_at) FROM discard"
        )
        due = [row[0] for row in (reviews, discards) if row[0] is not None]
        if due:
            self.clock.now = max(self.clock.now + 1, rest[0], min(due))
        return bool(due)

    def rows(self, sql: str, *parameters: str | int) -> list[tuple[Any, ...]]:
        """Of the database, as another program would read it."""
        return read_rows(self.registry.config, sql, *parameters)

    def list_unnamed(self) -> list[str]:
        """What is left that no visible manifest names, and rows that only time could remove."""
        rows = self.rows(
            "SELECT digest FROM repository_blob AS held WHERE NOT EXISTS"
            " (SELECT 1 FROM reference JOIN manifest ON id = manifest_id WHERE manifest.deleted_at IS NULL"
            " AND reference.repository_id = held.repository_id AND blob_digest = held.digest)"
            " UNION ALL SELECT digest FROM manifest WHERE deleted_at IS NOT NULL"
            " UNION ALL SELECT kind || key FROM review UNION ALL SELECT storage_key FROM discard"
            " UNION ALL SELECT name FROM repository WHERE deleted_at IS NOT NULL UNION ALL SELECT id FROM upload"
        )
        keys = {row[0] for row in self.rows("SELECT storage_key FROM blob")}
        return [row[0] for row in rows] + sorted(self.files().keys() - keys)

    def files(self) -> dict[str, bytes]:
        """What the store has by its keys; of an unfinished upload no bytes."""
        return dict.fromkeys(self.stored.uploads(), b"") | {key: self.stored.read(key) for key in self.stored.blobs()}


@asynccontextmanager
async def in_a_month(folder: Path, windows: Windows, **settings: Any) -> AsyncIterator[Yard]:
    """The registry of servers that have ended, when all their windows have, too, and the collector has come to rest."""
    clock = HandClock()
    clock.now = time.time_ns() // 1_000_000 + 30 * DAY
    yard = await Yard(folder, clock, windows, **settings).open()
    try:
        await yard.quiesce()
        yield yard
    finally:
        await yard.close()
