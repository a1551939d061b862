"""The change log: one row for each change that a client can see, none for what changes nothing."""

from collections.abc import Awaitable, Callable

import pytest

from registry.errors import RegistryError
from tests.metadata.rows import rows
from tests.scenarios.client import SOMEBODY, Client
from tests.scenarios.images import make_blob, make_image, make_index

pytestmark = pytest.mark.anyio

BLOB, CONFIG = make_blob("blob"), make_blob("config")
IMAGE, OTHER = make_image(CONFIG, [BLOB]), make_image(CONFIG)
INDEX = make_index([IMAGE])
REFERRER = make_image(CONFIG, subject=IMAGE)
ABSENT = make_blob("absent")
PUSHED, NEW = str(IMAGE.digest), str(OTHER.digest)

Row = tuple[str, str, str | None, str | None]


async def prepare(client: Client) -> None:
    """Repository `a` with a blob, an image with the tags `1` and `2`, an index of it; repository `b` with a blob."""
    await client.push_blob("a", BLOB)
    await client.push_manifest("a", IMAGE, "1", ["2"])
    await client.push_manifest("a", INDEX)
    await client.push_blob("b", CONFIG)


async def last_change(client: Client) -> int:
    found = await rows(client.registry.database, "SELECT coalesce(max(sequence), 0) FROM change")
    return int(found[0][0])


async def changes(client: Client, after: int) -> list[Row]:
    sql = "SELECT action, repository, digest, tag FROM change WHERE sequence > :after ORDER BY sequence"
    return [(row[0], row[1], row[2], row[3]) for row in await rows(client.registry.database, sql, after=after)]


Act = Callable[[Client], Awaitable[object]]

SEEN: dict[str, tuple[Act, list[Row]]] = {
    "push a blob into a new repository": (
        lambda client: client.push_blob("new", BLOB),
        [("repository.create", "new", None, None), ("blob.push", "new", str(BLOB.digest), None)],
    ),
    "push a new blob": (
        lambda client: client.push_blob("a", CONFIG, 3),
        [("blob.push", "a", str(CONFIG.digest), None)],
    ),
    "mount": (
        lambda client: client.mount("b", BLOB, "a"),
        [("blob.mount", "b", str(BLOB.digest), None)],
    ),
    "mount into a new repository": (
        lambda client: client.mount("new", BLOB, None),
        [("repository.create", "new", None, None), ("blob.mount", "new", str(BLOB.digest), None)],
    ),
    "push a manifest by digest": (
        lambda client: client.push_manifest("a", OTHER),
        [("manifest.push", "a", NEW, None)],
    ),
    "push a manifest with tags": (
        lambda client: client.push_manifest("a", OTHER, "3", ["4"]),
        [("manifest.push", "a", NEW, None), ("tag.set", "a", NEW, "3"), ("tag.set", "a", NEW, "4")],
    ),
    "move a tag": (
        lambda client: client.push_manifest("a", OTHER, "1"),
        [("manifest.push", "a", NEW, None), ("tag.set", "a", NEW, "1")],
    ),
    "tag again what is there": (
        lambda client: client.push_manifest("a", IMAGE, "3"),
        [("tag.set", "a", PUSHED, "3")],
    ),
    "push a referrer": (
        lambda client: client.push_manifest("a", REFERRER),
        [("manifest.push", "a", str(REFERRER.digest), None)],
    ),
    "delete a tag": (
        lambda client: client.untag("a", "2"),
        [("tag.delete", "a", PUSHED, "2")],
    ),
    "delete a manifest with its tags": (
        lambda client: client.delete_manifest("a", IMAGE.digest),
        [("tag.delete", "a", PUSHED, "1"), ("tag.delete", "a", PUSHED, "2"), ("manifest.delete", "a", PUSHED, None)],
    ),
    "delete a blob": (
        lambda client: client.delete_blob("a", BLOB),
        [("blob.delete", "a", str(BLOB.digest), None)],
    ),
    "delete a repository": (
        lambda client: client.delete_repository("a"),
        [("repository.delete", "a", None, None)],
    ),
}


@pytest.mark.parametrize(("act", "expected"), SEEN.values(), ids=SEEN)
async def test_visible_changes(client: Client, act: Act, expected: list[Row]) -> None:
    """Each change is in the log, with what it was done to, in the order in which it was done."""
    await prepare(client)
    before = await last_change(client)
    await act(client)
    assert await changes(client, before) == expected


NOT_SEEN: dict[str, Act] = {
    "push a blob again": lambda client: client.push_blob("a", BLOB),
    "push a blob again in chunks": lambda client: client.push_blob("a", BLOB, 1, 1),
    "mount what is there": lambda client: client.mount("a", BLOB, "a"),
    "mount what is nowhere": lambda client: client.mount("a", ABSENT, "b"),
    "push a manifest again": lambda client: client.push_manifest("a", IMAGE),
    "set a tag again": lambda client: client.push_manifest("a", IMAGE, "1", ["2", "2"]),
    "delete an absent tag": lambda client: client.untag("a", "absent"),
    "delete an absent manifest": lambda client: client.delete_manifest("a", OTHER.digest),
    "delete an absent blob": lambda client: client.delete_blob("a", ABSENT),
    "delete from an absent repository": lambda client: client.delete_blob("absent", BLOB),
    "delete an absent repository": lambda client: client.delete_repository("absent"),
    "read": lambda client: client.read_blob("a", BLOB),
    "check": lambda client: client.check(),
}


@pytest.mark.parametrize("act", NOT_SEEN.values(), ids=NOT_SEEN)
async def test_what_changes_nothing(client: Client, act: Act) -> None:
    """A repeated or a refused request leaves no row, of no table that a client sees."""
    await prepare(client)
    before = await last_change(client)
    try:
        await act(client)
    except RegistryError as error:
        assert error.status == 404  # noqa: PT017 - some of them are refused, some are not
    assert await changes(client, before) == []


async def test_who_did_it_and_when(client: Client) -> None:
    """Each row says who asked, from where, in which request, and at which instant."""
    await prepare(client)
    found = await rows(client.registry.database, "SELECT DISTINCT actor, address, request_id FROM change")
    assert found == [(SOMEBODY.name, SOMEBODY.address, SOMEBODY.request_id)]
    in_order = await rows(client.registry.database, "SELECT at FROM change ORDER BY sequence")
    assert in_order == sorted(in_order)
    assert in_order[0][0] > 1_700_000_000_000


async def test_revived_manifest_is_pushed_again(client: Client) -> None:
    """A push of a deleted manifest is a change like its first push."""
    await prepare(client)
    await client.delete_manifest("a", IMAGE.digest)
    before = await last_change(client)
    await client.push_manifest("a", IMAGE, "1")
    assert await changes(client, before) == [("manifest.push", "a", PUSHED, None), ("tag.set", "a", PUSHED, "1")]
