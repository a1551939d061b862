"""A registry that has rows in every table, and what can be seen of it."""

import io
from dataclasses import dataclass
from pathlib import Path

from registry.access.grants import Grant
from registry.app import Registry
from registry.metadata import transfer
from registry.metadata.database import Transaction
from registry.metadata.transfer import SIGNING_KEYS, Table
from registry.moving import rows
from registry.oci.names import RepositoryName, Tag
from tests.scenarios.client import SOMEBODY, Client
from tests.scenarios.images import Content, make_blob, make_image, make_index

PASSWORD = "correct horse battery"  # noqa: S105 - of nobody
CONFIG = make_blob("config")
EMPTY = make_blob("")
LARGE = make_blob("large " * 200_000)
SHARED = make_blob("shared")
BLOBS = (CONFIG, EMPTY, LARGE, SHARED)
# Tables that the rules fill only after some time.
_LATER = {
    "pull": ((1, "alice", 1_700_000_000_000),),
    "policy": ((1, '{"rules": []}', 1_700_000_000_000, "alice", None),),
    "run": ((1, 1, "demo/app", "{}", 1_700_000_000_000, "alice", 3, "applied", 1_700_000_000_001, "alice"),),
    "run_step": ((1, 0, 1, "sha256:…", '{"1": 1}', 1, None, "because", 10, "done", 1_700_000_000_001),),
}


@dataclass(frozen=True, slots=True)
class Full:
    """`image` is demo/app:1, `index` demo/multi:latest, of which image is a part; `referrer` has image as subject."""

    folder: Path
    image: Content
    index: Content
    referrer: Content


async def fill(registry: Registry, folder: Path) -> Full:
    client = Client(registry)
    image = make_image(CONFIG, (LARGE, SHARED, EMPTY))
    index = make_index([image])
    referrer = make_image(CONFIG, (), subject=image, artifactType="application/example")
    for name in ("demo/app", "demo/multi"):
        for blob in BLOBS:
            await client.push_blob(name, blob)
        await client.push_manifest(name, image, "1")
        await client.push_manifest(name, index, "latest")
    await client.push_manifest("demo/app", referrer)
    await client.push_manifest("demo/app", make_image(CONFIG, annotations={"note": "zwölf 🚢"}), "1")
    await client.push_manifest("demo/app", image, "1")
    await client.untag("demo/app", "latest")
    await client.push_blob("demo/gone", SHARED)
    await client.delete_repository("demo/gone")
    await _add_people(registry)
    await registry.database.write(_add_later)
    return Full(folder, image, index, referrer)


async def read_lines(registry: Registry) -> list[str]:
    """All rows as text, with the keys that sign; the row of the registry itself is another one everywhere."""

    def work(tx: Transaction) -> list[str]:
        file = io.BytesIO()
        rows.write(tx, file, (*transfer.TABLES, SIGNING_KEYS))
        return file.getvalue().decode().splitlines()[2:]

    return await registry.database.read(work)


async def read_everything(registry: Registry, full: Full) -> None:
    """Pull all that is visible, byte by byte."""
    client = Client(registry)
    for blob in BLOBS:
        assert await client.read_blob("demo/app", blob) == blob.content
    for manifest, reference in ((full.image, Tag("1")), (full.index, full.index.digest)):
        found = await registry.manifests.get(RepositoryName("demo/app"), reference)
        assert (found.content, found.media_type) == (manifest.content, manifest.media_type)
    page = await registry.manifests.list_referrers(RepositoryName("demo/app"), full.image.digest, None, "", 10)
    assert [each.digest for each in page.referrers] == [str(full.referrer.digest)]


async def _add_people(registry: Registry) -> None:
    people = registry.identities
    await people.add_user("alice", PASSWORD, SOMEBODY, is_admin=True)
    await people.add_user("bob", PASSWORD, SOMEBODY)
    await people.add_group("team", ["alice", "bob"], SOMEBODY)
    await people.grant("team", Grant.parse("demo/**", "pull,push"), SOMEBODY)
    await people.add_robot("ci", [Grant.parse("demo/app", "push", "ci-*")], None, SOMEBODY)


def _add_later(tx: Transaction) -> None:
    by_name: dict[str, Table] = {table.name: table for table in transfer.TABLES}
    for name, added in _LATER.items():
        transfer.insert(tx, by_name[name], added)
    transfer.set_numbers(tx, {"run": 1})
