"""What goes wrong at the end of `entrepot migrate` leaves the registry where it was."""

import asyncio

import pytest

from registry.app import Registry
from registry.errors import Unavailable
from registry.metadata import moves
from registry.moving.migration import CannotMigrate
from tests import places
from tests.moving.full import LARGE, Full
from tests.moving.moved import Around, migrate
from tests.moving.test_backup import key_of
from tests.scenarios.client import Client
from tests.scenarios.images import make_blob

pytestmark = pytest.mark.anyio


async def test_damage_that_is_found_at_the_end(source: Registry, target: Registry, full: Full) -> None:
    """What the last round cannot copy stops it, too; the mark goes, and pushes go on here."""
    late = make_blob("late")

    async def spoil() -> None:
        await Client(source).push_blob("demo/late", late)
        places.look_into(full.folder).write(key_of(full, late.content), b"L" + late.content[1:])

    with pytest.raises(CannotMigrate, match="1 blobs are damaged"):
        await migrate(source, target, around=Around(source, before=spoil))
    await Client(source).push_blob("demo/app", make_blob("still here"))


async def test_a_cancellation_while_the_mark_is_made(source: Registry, target: Registry) -> None:
    """Whoever is stopped just when the mark is committed takes it away."""

    async def stop() -> None:
        task.cancel()
        await asyncio.sleep(0)

    task = asyncio.create_task(migrate(source, target, around=Around(source, after=stop)))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await source.database.read(moves.find) is None
    await Client(source).push_blob("demo/app", make_blob("still here"))


@places.only_on("files", "of what a volume says")
async def test_an_unreadable_file_is_no_damage(source: Registry, target: Registry, full: Full) -> None:
    """What may be over in a moment stops the migration, also one that accepts damage: no blob gets lost by it."""
    [file] = (full.folder / "blobs" / "data").rglob(key_of(full, LARGE.content))
    file.rename(file.with_suffix(".away"))
    file.symlink_to(file)
    with pytest.raises(Unavailable, match=f"{LARGE.digest} cannot be read: Too many levels"):
        await migrate(source, target, accepts_damage=True)
    file.unlink()
    file.with_suffix(".away").rename(file)
    assert (await migrate(source, target)).damaged == []
