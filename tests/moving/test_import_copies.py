"""`entrepot import` of a bucket into a registry on the same S3 server: objects are copied there, not through here."""

import asyncio
import os
import signal
import subprocess
from pathlib import Path

import pytest

from registry.app import Registry
from registry.cli.import_ import make_importer, make_plans
from registry.cli.import_sources import BucketTerms, Source, opened
from registry.identity import Actor
from tests import places
from tests.cli.access import done
from tests.cli.running import PROGRAM, entrepot
from tests.moving.buckets import Bucket, bucket, proxy
from tests.moving.imports import CONFIG, LAYER, OTHER, Use, imported, tags_of, tree
from tests.places import Place, place_under_test
from tests.scenarios.client import open_registry
from tests.servers.s3_proxy import SLOW_DOWN, Answer, Deed, S3Proxy, Withhold
from tests.servers.seaweed import seaweed
from tests.stored import Stored, open_stored, read_rows
from tests.waiting import wait_until

__all__ = ["bucket", "proxy", "seaweed", "tree"]

ON_S3 = Place(place_under_test().database, "s3")
WEEK = 7 * 24 * 3_600_000  # milliseconds
BY = Actor("somebody")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, use: Use, monkeypatch: pytest.MonkeyPatch, proxy: S3Proxy) -> Path:
    """Of the registry that images are imported into, whose S3 server is behind the proxy."""
    use(tmp_path / "registry", ON_S3)
    monkeypatch.setenv("ENTREPOT_S3_ENDPOINT", proxy.endpoint)
    return tmp_path / "registry"


def stored(folder: Path) -> Stored:
    """Past the proxy."""
    return open_stored(places.make_config(folder, ON_S3))


async def open_behind(proxy: S3Proxy, folder: Path) -> Registry:
    return await open_registry(folder, ON_S3, s3_endpoint=proxy.endpoint)


def test_nothing_passes_here(bucket: Bucket, proxy: S3Proxy) -> None:
    """Each blob is measured, copied, measured and read once; no byte is written from here, none read twice."""
    document = imported(bucket.url, "--repository", "library/app")
    assert (document["blobs"], document["copied"]) == (3, 3)
    names = {bucket.place.root + bucket.tree.name(blob.digest) for blob in (CONFIG, LAYER, OTHER)}
    of_sources = [call.operation for call in proxy.calls if call.key in names]
    assert sorted(of_sources) == ["HeadObject"] * 3
    of_blobs = [call.operation for call in proxy.calls if "/data/" in call.key and not call.key.endswith("/data")]
    assert sorted(of_blobs) == ["CopyObject"] * 3 + ["GetObject"] * 3 + ["HeadObject"] * 3


@pytest.mark.parametrize("refusal", [Answer(403, "AccessDenied"), Answer(501, "NotImplemented")])
def test_a_refused_copy_is_streamed(bucket: Bucket, proxy: S3Proxy, folder: Path, refusal: Deed) -> None:
    """Where the server does not copy, everything comes all the same, and the server is not asked for each blob."""
    proxy.break_(refusal, "CopyObject")
    document = imported(bucket.url)
    assert (document["blobs"], document["copied"], document["manifests"]) == (3, 0, 6)
    assert len(stored(folder).blobs()) == 3
    assert stored(folder).uploads() == []
    assert done("scrub").endswith("all are whole\n")


def test_another_endpoint_is_streamed(bucket: Bucket, proxy: S3Proxy) -> None:
    """A copy is not asked of a server that may not have the source."""
    assert imported(bucket.url, "--endpoint", bucket.place.endpoint)["copied"] == 0
    assert "CopyObject" not in proxy.count()
    assert done("scrub").endswith("all are whole\n")


def test_the_server_need_not_copy(bucket: Bucket, proxy: S3Proxy) -> None:
    """With --copy each blob is read and written, though its server could copy it."""
    document = imported(bucket.url, "--copy")
    assert (document["blobs"], document["copied"]) == (3, 0)
    assert "CopyObject" not in proxy.count()


def test_a_copy_that_is_another_content_goes(bucket: Bucket, proxy: S3Proxy, folder: Path) -> None:
    """It is read where it is, refused, and removed at once."""
    bucket.write(bucket.tree.name(LAYER.digest), b"LAYER")
    outcome = entrepot("import", bucket.url)
    assert outcome.status == 1
    assert f"{LAYER.digest}  the blob's bytes have another digest" in outcome.stdout
    assert proxy.count()["CopyObject"] > 2
    assert len(stored(folder).blobs()) == 2


def test_an_outage_stops_it(bucket: Bucket, proxy: S3Proxy, folder: Path) -> None:
    """An overloaded server is told as such, nothing half-done stays, and the next time everything comes."""
    proxy.break_(SLOW_DOWN, "CopyObject")
    outcome = entrepot("import", bucket.url)
    assert outcome.status == 1
    assert "the store is not available: the object store refuses: it answers 503 SlowDown" in outcome.stderr
    proxy.heal()
    assert stored(folder).blobs() == []
    assert imported(bucket.url)["copied"] == 3
    assert tags_of("library/app").keys() >= {"1", "2", "latest", "multi"}


def test_a_kill_leaves_nothing_for_ever(bucket: Bucket, proxy: S3Proxy, folder: Path) -> None:
    """Copies that were made for an import that was killed are collected when its uploads expire."""
    proxy.break_(Withhold(), "CopyObject")
    with subprocess.Popen([PROGRAM, "import", bucket.url], stdin=subprocess.DEVNULL) as program:
        wait_until(lambda: proxy.withheld > 0, "a copy is made")
        os.kill(program.pid, signal.SIGKILL)
    proxy.heal()
    assert stored(folder).blobs() != []
    asyncio.run(collect(folder))
    assert stored(folder).blobs() == []
    assert imported(bucket.url)["copied"] == 3


def test_a_cancelled_import_leaves_nothing(bucket: Bucket, proxy: S3Proxy, folder: Path) -> None:
    """What is being copied is waited for and removed; and looked for again later, because it may come late."""
    terms = BucketTerms(proxy.endpoint, None, None)
    config = places.make_config(folder, ON_S3)
    with opened(Source(bucket.url, (bucket.place.bucket, bucket.place.prefix)), terms, config) as source:
        plans, _ = make_plans(source, None, "")

        async def begin_and_cancel() -> None:
            registry = await open_behind(proxy, folder)
            try:
                importer = make_importer(registry, source=source.place, copies=False)
                task = asyncio.create_task(importer.run(plans, BY, lambda _: None))
                await asyncio.to_thread(wait_until, lambda: proxy.withheld > 0, "a copy is made")
                assert stored(folder).blobs() != []
                task.cancel()
                proxy.heal()
                proxy.cut()
                with pytest.raises(asyncio.CancelledError):
                    await task
            finally:
                registry.close()

        proxy.break_(Withhold(), "CopyObject")
        asyncio.run(begin_and_cancel())
    assert stored(folder).blobs() == []
    stored(folder).write("latecomer", b"of nobody")  # what no row ever named is not the collector's
    late = reviewed_keys(folder)
    assert late != []
    stored(folder).write(late[0], b"late")
    asyncio.run(collect(folder))
    assert stored(folder).blobs() == ["latecomer"]


def reviewed_keys(folder: Path) -> list[str]:
    """Of uploads that the collector will look for."""
    config = places.make_config(folder, ON_S3)
    return [row[0] for row in read_rows(config, "SELECT key FROM review WHERE kind = 'upload' ORDER BY key")]


async def collect(folder: Path) -> None:
    """As it is when uploads have expired that began now."""
    now = (await ask_clock(folder)) + WEEK + 1
    registry = Registry(places.make_config(folder, ON_S3), clock=lambda: now)
    try:
        await registry.start()
        while not (await registry.garbage.step(ignores_rest=True)).is_idle:
            pass
    finally:
        registry.close()


async def ask_clock(folder: Path) -> int:
    registry = await open_registry(folder, ON_S3)
    try:
        return registry.clock()
    finally:
        registry.close()
