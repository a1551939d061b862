"""OCI image layouts (image-spec, image-layout.md): directories with `oci-layout`, `index.json` and `blobs`."""

import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from registry.moving.distribution import lists_referrers
from registry.moving.files import Files, read_file
from registry.moving.sources import Contents, Root, SourceRepository, read_manifest
from registry.oci.names import Tag, TagInvalid
from storage.digest import Digest, InvalidDigest

_MARKER, _INDEX = "oci-layout", "index.json"
_NAME = "org.opencontainers.image.ref.name"


def list_layouts(path: Path) -> list[tuple[Path, str]]:
    """The layouts in the directory and below it, by name. One that is the directory itself has the directory's name."""
    found: list[tuple[Path, str]] = []
    for parent, below, files in os.walk(path):
        below.sort()
        if _MARKER in files and _INDEX in files:
            below.clear()
            folder = Path(parent)
            found.append((folder, folder.resolve().name if folder == path else folder.relative_to(path).as_posix()))
    return found


async def read_layout(folder: Path, name: str) -> SourceRepository:
    """What the layout has, as the repository `name`."""
    contents = Files(lambda digest: folder / "blobs" / digest.algorithm / digest.encoded)
    problems: list[str] = []
    tags: dict[Digest, list[str]] = {}
    types: dict[Digest, str] = {}
    for digest, media_type, tag in _descriptors(folder / _INDEX, problems):
        if tag and await lists_referrers(tag, contents, digest):
            async for child in _children(contents, digest):
                types.setdefault(child, "")
            continue
        types[digest] = media_type
        tags.setdefault(digest, []).extend([tag] if tag else [])
    roots = [Root(digest, media_type, tuple(tags.get(digest, ()))) for digest, media_type in types.items()]
    return SourceRepository(name, roots, contents, problems)


def _descriptors(index: Path, problems: list[str]) -> Iterator[tuple[Digest, str, str]]:
    """Digest, media type and tag of what the layout's index names."""
    try:
        entries = json.loads(read_file(index))["manifests"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        problems.append(f"{index} is no index")
        return
    for entry in entries if isinstance(entries, list) else []:
        try:
            annotations = entry.get("annotations") or {}
            yield Digest.parse(entry["digest"]), str(entry.get("mediaType", "")), _find_tag(annotations, problems)
        except (AttributeError, KeyError, TypeError, InvalidDigest):
            problems.append(f"{index} has an entry that is no descriptor")


def _find_tag(annotations: dict[str, Any], problems: list[str]) -> str:
    """Some tools write an image's whole name where the specification has the tag."""
    name = annotations.get(_NAME)
    if not isinstance(name, str) or not name:
        return ""
    for text in (name, name.rpartition("/")[2].partition("@")[0].partition(":")[2]):
        try:
            return Tag.parse(text).value
        except TagInvalid:
            continue
    problems.append(f"{name!r} is no tag: what it names comes without one")
    return ""


async def _children(contents: Contents, digest: Digest) -> AsyncIterator[Digest]:
    for entry in json.loads(await read_manifest(contents, digest)).get("manifests") or []:
        try:
            yield Digest.parse(entry["digest"])
        except (KeyError, TypeError, InvalidDigest):
            continue
