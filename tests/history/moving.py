"""A client of the rules whose clock stands still until it is moved, and that can bring things back."""

from dataclasses import dataclass

from registry.app import Registry
from registry.errors import ManifestUnknown
from registry.identity import Actor, Deed
from registry.metadata.database import Row
from registry.oci.names import RepositoryName, Tag
from registry.tags import RestoredTag
from storage.digest import Digest
from tests.scenarios.client import SOMEBODY, Client
from tests.scenarios.images import Content, make_blob, make_image

START = 1_767_225_600_000  # 2026-01-01T00:00:00Z
DAY = 24 * 3_600_000  # milliseconds


@dataclass
class MovedClock:
    now: int = START

    def __call__(self) -> int:
        return self.now


class Past(Client):
    """Names and tags are plain text here."""

    def __init__(self, registry: Registry, clock: MovedClock) -> None:
        super().__init__(registry)
        self.clock = clock

    async def push_image(self, name: str, note: str, tag: str = "") -> Content:
        """Push an image of two blobs of its own, at an instant of its own."""
        self.clock.now += 1_000
        config, layer = make_blob(f"config {note}"), make_blob(f"layer {note}")
        for blob in (config, layer):
            await self.push_blob(name, blob)
        image = make_image(config, [layer])
        await self.push_manifest(name, image, tag)
        return image

    def deed(self, by: Actor) -> Deed:
        return Deed(by, self.clock.now)

    async def restore_tag(self, name: str, tag: str, at: int | None = None) -> RestoredTag:
        return await self.registry.tags.restore(RepositoryName.parse(name), Tag.parse(tag), at, SOMEBODY)

    async def restore_manifest(self, name: str, digest: Digest) -> list[str]:
        return await self.registry.manifests.restore(RepositoryName.parse(name), digest, SOMEBODY)

    async def restore_repository(self, name: str) -> int:
        return await self.registry.repositories.restore(RepositoryName.parse(name), SOMEBODY)

    async def set(self, name: str, **values: str) -> None:
        await self.registry.repositories.set(RepositoryName.parse(name), values, SOMEBODY)

    async def find(self, name: str, reference: str) -> str | None:
        """The digest of what a tag or digest names, None for nothing; it is whole, or this fails."""
        repository = RepositoryName.parse(name)
        parsed = Digest.parse(reference) if ":" in reference else Tag.parse(reference)
        try:
            found = await self.registry.manifests.get(repository, parsed)
        except ManifestUnknown:
            return None
        return found.digest

    async def collect(self, days: int) -> None:
        """Let so many days pass, then the collector take all that it would."""
        self.clock.now += days * DAY
        await self.registry.garbage.collect(lambda _: None, waits=False)
        self.clock.now += 120_000
        await self.registry.garbage.collect(lambda _: None, waits=False)

    async def actions(self, after: int = 0) -> list[Row]:
        """What the change log has after a sequence number: action, digest, tag, detail."""
        sql = "SELECT action, digest, tag, detail FROM change WHERE sequence > :after ORDER BY sequence"
        return await self.registry.database.read(lambda tx: tx.run(sql, after=after))

    async def last_change(self) -> int:
        rows = await self.registry.database.read(lambda tx: tx.run("SELECT coalesce(max(sequence), 0) FROM change"))
        return int(rows[0][0])
