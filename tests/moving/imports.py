"""What the tests of `entrepot import` take over, and how they see what came."""

import asyncio
import json
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import pytest

from registry.app import Registry
from registry.oci.names import RepositoryName
from tests.cli.access import done
from tests.moving.trees import Distribution
from tests.places import Place
from tests.scenarios.client import open_registry
from tests.scenarios.images import make_blob, make_image, make_index

T = TypeVar("T")
Use: TypeAlias = Callable[[Path, Place | None], None]

CONFIG, LAYER, OTHER = make_blob("config"), make_blob("layer"), make_blob("other")
OLD = make_image(CONFIG, (LAYER,), annotations={"note": "old"})
IMAGE = make_image(CONFIG, (LAYER, OTHER))
INDEX = make_index([IMAGE, OLD])
SIGNATURE = make_image(CONFIG, (OTHER,), subject=IMAGE, artifactType="application/example")
FALLBACK = f"sha256-{IMAGE.digest.encoded}"


@pytest.fixture
def tree(tmp_path: Path) -> Distribution:
    """library/app has images, an index and a signature in a referrers tag; library/app/tools shares its layers."""
    tree = Distribution(tmp_path / "source")
    for blob in (CONFIG, LAYER, OTHER):
        tree.put_blob("library/app", blob)
    tree.put_manifest("library/app", OLD, "1", "latest")
    tree.put_manifest("library/app", IMAGE, "2", "latest")
    tree.put_manifest("library/app", INDEX, "multi")
    tree.put_manifest("library/app", make_index([]), FALLBACK)
    tree.put_manifest("library/app", SIGNATURE)
    tree.put_manifest("library/app", make_index([SIGNATURE]), FALLBACK)
    tree.put_manifest("library/app", make_image(CONFIG, (LAYER,), annotations={"cosign": "1"}), f"{FALLBACK}.sig")
    tree.put_manifest("library/app/tools", IMAGE, "v1")
    return tree


def inside(folder: Path, work: Callable[[Registry], Coroutine[Any, Any, T]], place: Place | None = None) -> T:
    """What `work` returns with the registry in the folder."""

    async def run() -> T:
        registry = await open_registry(folder, place)
        try:
            return await work(registry)
        finally:
            registry.close()

    return asyncio.run(run())


def tags_of(name: str) -> dict[str, str]:
    listed = json.loads(done("tag", "list", name, "--json"))["tags"]
    return {each["tag"]: each["digest"] for each in listed}


def manifests_of(name: str) -> list[str]:
    return [each["digest"] for each in json.loads(done("manifest", "list", name, "--json"))["manifests"]]


def imported(*arguments: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(done("import", *arguments, "--json"))
    return document


async def list_referrers(registry: Registry) -> list[str]:
    """Of IMAGE."""
    name = RepositoryName("library/app")
    found = await registry.manifests.list_referrers(name, IMAGE.digest, None, "", 9)
    return [each.digest for each in found.referrers]


def own_settings() -> dict[str, str]:
    """What names the registry that commands use, for a program."""
    return {name: value for name, value in os.environ.items() if name.startswith("ENTREPOT_")}
