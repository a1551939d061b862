"""Indexes in indexes: very deep, and in a circle, which no honest digest allows and a damaged database may have."""

import pytest

from registry.errors import InUse
from registry.metadata.database import Transaction
from tests.garbage.conftest import Stage
from tests.garbage.races import IMAGE, push_image
from tests.scenarios.images import Content, make_index

pytestmark = pytest.mark.anyio

LEVELS = 200


@pytest.mark.input(109)
async def test_deep_indexes(stage: Stage) -> None:
    """They are pushed, pulled and restored like any other, and all of them go in the end."""
    await push_image(stage.yard)
    levels = [IMAGE]
    for _ in range(LEVELS):
        levels.append(make_index([levels[-1]]))
        await stage.yard.push_manifest("a", levels[-1])
    assert await stage.yard.pull("a", levels[-1]) == levels[-1].content
    with pytest.raises(InUse):
        await stage.yard.delete_manifest("a", levels[LEVELS // 2].digest)
    await stage.yard.delete_repository("a")
    await stage.yard.restore_repository("a")
    await stage.yard.quiesce()
    assert await stage.yard.pull("a", levels[1]) == levels[1].content
    await stage.yard.delete_repository("a")
    await stage.yard.quiesce()
    assert stage.yard.files() == {}


def link(tx: Transaction, parent: Content, child: Content) -> None:
    """Make it so that the index names the other one."""
    tx.run(
        "INSERT INTO reference (manifest_id, kind, digest, repository_id, child_id)"
        " SELECT parent.id, 'child', child.digest, parent.repository_id, child.id"
        " FROM manifest AS parent, manifest AS child WHERE parent.digest = :parent AND child.digest = :child",
        parent=str(parent.digest),
        child=str(child.digest),
    )


@pytest.mark.input(110)
async def test_circle_of_indexes(stage: Stage) -> None:
    """Every walk ends: pulls, deletes, restores, the collector, the check; broken up, all of it can go."""
    inner = make_index([IMAGE])
    outer = make_index([inner])
    await push_image(stage.yard)
    for index in (inner, outer):
        await stage.yard.push_manifest("a", index)
    await stage.yard.registry.database.write(lambda tx: link(tx, inner, outer))
    for index in (inner, outer):
        assert await stage.yard.pull("a", index) == index.content
        with pytest.raises(InUse):
            await stage.yard.delete_manifest("a", index.digest)
    await stage.yard.delete_repository("a")
    await stage.yard.restore_repository("a")
    await stage.yard.quiesce()
    assert await stage.yard.check() == []
    assert await stage.yard.pull("a", outer) == outer.content
    await stage.yard.registry.database.write(
        lambda tx: tx.run("DELETE FROM reference WHERE digest = :digest", digest=str(outer.digest))
    )
    await stage.yard.delete_repository("a")
    await stage.yard.quiesce()
    assert stage.yard.files() == {}
