"""Keyset paging: the pages of a list are the list, whatever the names are and however long a page is."""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.metadata import manifests, repositories, schema, tags
from registry.metadata.database import Database, Transaction
from registry.metadata.manifests import ListedManifest
from registry.oci.names import RepositoryName, Tag
from storage.digest import Digest
from tests.metadata.databases import KINDS, open_empty
from tests.metadata.rows import DEED, insert_blob, insert_manifest, insert_repository
from tests.places import DatabaseKind
from tests.scenarios.images import Content, make_blob, make_image

NAMES = st.text("a0._-B", min_size=1, max_size=4) | st.sampled_from(
    ["a", "a/b", "a-b", "a.b", "a0", "ab", "a/b/c", "a_b"]
)
CONFIG, SUBJECT = make_blob("config"), make_blob("subject")


async def list_pages(database: Database, in_order: list[str], limit: int) -> AsyncIterator[list[str]]:
    """Pages of the lists of repositories and of tags, which hold the same names."""
    last = ""
    while True:

        def work(tx: Transaction, after: str = last) -> tuple[list[str], list[str]]:
            found = repositories.list_names(tx, after, limit)
            return [name.value for name in found], tags.list_names(tx, 1, after, limit)

        names, tag_names = await database.read(work)
        assert names == tag_names == in_order[bisect_right(in_order, last) :][:limit]
        if not names:
            return
        yield names
        last = names[-1]


@pytest.mark.fault("F40")
@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=25)
@given(st.sets(NAMES, max_size=30), st.integers(1, 7))
def test_no_page_loses_or_repeats_a_name(kind: DatabaseKind, names: set[str], limit: int) -> None:
    """The pages of a list, one after the other, are all names once, in byte order, prefixes of others included."""

    def fill(tx: Transaction) -> None:
        schema.migrate(tx)
        for name in names:
            repository_id = repositories.get_or_make(tx, RepositoryName(name), "push", DEED)
            manifest_id = insert_manifest(tx, repository_id, name)
            for tag in names if repository_id == 1 else ():
                tags.set_tag(tx, 1, Tag(tag), "sha256:0", manifest_id, DEED)

    async def list_all(folder: str) -> list[str]:
        database = open_empty(kind, Path(folder))
        await database.write(fill)
        in_order = sorted(names, key=str.encode)
        found = [name async for page in list_pages(database, in_order, limit) for name in page]
        database.close()
        assert found == in_order
        return found

    with TemporaryDirectory() as folder:
        asyncio.run(list_all(folder))


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=15)
@given(st.integers(0, 40), st.sets(st.integers(0, 39)), st.sampled_from([None, "application/vnd.even"]))
def test_referrers_are_read_in_order(
    kind: DatabaseKind, count: int, deleted: set[int], artifact_type: str | None
) -> None:
    """The referrers of a subject come once each, by digest, from any of them on, filtered and without deleted ones."""
    referrers = [
        make_image(CONFIG, subject=SUBJECT, artifactType=f"application/vnd.{'odd' if number % 2 else 'even'}", n=number)
        for number in range(count)
    ]
    shown = sorted(
        str(referrer.digest)
        for number, referrer in enumerate(referrers)
        if number not in deleted and not (artifact_type and number % 2)
    )

    def work(tx: Transaction) -> None:
        schema.migrate(tx)
        insert_repository(tx)
        for number, referrer in enumerate(referrers):
            insert_manifest(tx, 1, referrer)
            stored = manifests.find(tx, RepositoryName("a"), referrer.digest)
            if number in deleted and stored:
                manifests.mark_deleted(tx, 1, stored, DEED)
        for after in ("", *shown):
            found = manifests.list_referrers(tx, RepositoryName("a"), SUBJECT.digest, artifact_type, after)
            assert [referrer.digest for referrer in found] == shown[bisect_right(shown, after) :]
        assert list(manifests.list_referrers(tx, RepositoryName("a"), Digest.of(b"other"), None, "")) == []

    async def run(folder: str) -> None:
        database = open_empty(kind, Path(folder))
        await database.write(work)
        database.close()

    with TemporaryDirectory() as folder:
        asyncio.run(run(folder))


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=15)
@given(st.integers(0, 20), st.sets(st.integers(0, 19)), st.sets(st.integers(0, 19)), st.integers(1, 7))
def test_manifests_are_listed_in_pages(
    kind: DatabaseKind, count: int, deleted: set[int], tagged: set[int], limit: int
) -> None:
    """The pages, one after the other, are the repository's manifests once, by digest, each with its tags and blobs."""
    layers = [make_blob(f"layer {number}") for number in range(count)]
    images = [make_image(CONFIG, [CONFIG, layer]) for layer in layers]
    in_order = sorted(range(count), key=lambda number: str(images[number].digest))
    tagged -= deleted

    def show(number: int) -> tuple[str, tuple[str, ...], int]:
        names = (f"a{number}", f"b{number}") if number in tagged else ()
        return str(images[number].digest), names, len(CONFIG.content) + len(layers[number].content)

    def work(tx: Transaction) -> None:
        schema.migrate(tx)
        insert_manifest(tx, insert_repository(tx), "other")
        repository_id = insert_repository(tx, "listed")
        for number, image in enumerate(images):
            insert_image(tx, repository_id, image, (CONFIG, layers[number]), show(number)[1][::-1])
        for number in deleted & set(in_order):
            stored = manifests.find(tx, RepositoryName("listed"), images[number].digest)
            assert stored
            manifests.mark_deleted(tx, repository_id, stored, DEED)
        for is_deleted, is_untagged in product((False, True), repeat=2):
            numbers = [n for n in in_order if (n in deleted) == is_deleted and not (is_untagged and n in tagged)]
            found = list_manifests(tx, repository_id, limit, is_deleted=is_deleted, is_untagged=is_untagged)
            assert [(each.digest, each.tags, each.blob_bytes) for each in found] == list(map(show, numbers))

    async def run(folder: str) -> None:
        database = open_empty(kind, Path(folder))
        await database.write(work)
        database.close()

    with TemporaryDirectory() as folder:
        asyncio.run(run(folder))


def insert_image(
    tx: Transaction, repository_id: int, image: Content, parts: tuple[Content, ...], names: tuple[str, ...]
) -> None:
    for blob in parts:
        insert_blob(tx, repository_id, blob)
    manifest_id = insert_manifest(tx, repository_id, image)
    for name in names:
        tags.set_tag(tx, repository_id, Tag(name), str(image.digest), manifest_id, DEED)


def list_manifests(
    tx: Transaction, repository_id: int, limit: int, *, is_deleted: bool, is_untagged: bool
) -> list[ListedManifest]:
    found: list[ListedManifest] = []
    after = ""
    while page := manifests.list_page(tx, repository_id, after, limit, is_deleted=is_deleted, is_untagged=is_untagged):
        assert len(page) <= limit
        found += page
        after = page[-1].digest
    return found
