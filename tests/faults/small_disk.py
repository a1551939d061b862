"""A small disk that pushes have filled days ago: mounted, filled by the rules themselves, and asked for its room."""

import itertools
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from registry.app import Registry
from registry.config import Config
from registry.errors import StorageFull
from registry.identity import milliseconds_now
from tests.kill.content import Manifest, make_content, make_image
from tests.kill.history import History, Kind, Name
from tests.scenarios.client import Client
from tests.scenarios.images import Content

MIB = 1 << 20
DAY = 24 * 3_600_000  # milliseconds
REPOSITORY = "load/old"
LAYER = 2 * MIB


@contextmanager
def mounted(path: Path, size: int) -> Iterator[Path]:
    """A file system of `size` MiB, in memory, while the block lasts."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


def find_room(disk: Path) -> int:
    """The bytes that are free."""
    space = os.statvfs(disk)
    return space.f_bavail * space.f_frsize


@dataclass(frozen=True, slots=True)
class Filling:
    """Images of `load/old`, the first of them tagged `0`, and what a client knows of all."""

    images: list[Manifest]
    history: History


async def fill(disk: Path, reserve: int) -> Filling:
    """Push images, three days ago, until only `reserve` MiB are left; nobody holds a lease any more."""
    registry = Registry(Config(data=disk, reserve_mib=reserve), clock=lambda: milliseconds_now() - 3 * DAY)
    await registry.start()
    client, filling = Client(registry), Filling([], History())
    try:
        for number in itertools.count():
            layer = make_content(f"layer {number}", LAYER)
            await client.push_blob(REPOSITORY, Content("", layer))
            image = make_image(layer, [layer])
            await client.push_manifest(REPOSITORY, Content(image.media_type, image.content), f"{number}")
            names = [Name(Kind.MANIFEST, REPOSITORY, image.digest), Name(Kind.TAG, REPOSITORY, f"{number}")]
            filling.history.acknowledged(f"image {number}", dict.fromkeys(names, image.digest))
            filling.images.append(image)
    except StorageFull:
        return filling
    finally:
        registry.close()
    raise AssertionError("the disk was never full")
