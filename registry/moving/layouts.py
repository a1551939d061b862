"""OCI image layouts (image-spec, image-layout.md): directories with `oci-layout`, `index.json` and `blobs`."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from registry.moving.distribution import is_fallback
from registry.moving.sources import FindFile, Root, SourceRepository, Unreadable, read_file, read_manifest
from registry.oci.names import Tag, TagInvalid
from storage.digest import Digest, InvalidDigest

_MARKER, _INDEX = "oci-layout", "index.json"
_NAME = "org.opencontainers.image.ref.name"


def each_layout(path: Path) -> Iterator[SourceRepository]:
    """The layouts in the directory and below it, by name. One that is the directory itself has the directory's name."""
    for parent, below, files in os.walk(path):
        below.sort()
        if _MARKER in files and _INDEX in files:
            below.clear()
            folder = Path(parent)
            name = folder.resolve().name if folder == path else folder.relative_to(path).as_posix()
            yield _read(folder, name)


def _read(folder: Path, name: str) -> SourceRepository:
    def find_file(digest: Digest) -> Path:
        return folder / "blobs" / digest.algorithm / digest.encoded

    problems: list[str] = []
    tags: dict[Digest, list[str]] = {}
    types: dict[Digest, str] = {}
    for digest, media_type, tag in _descriptors(folder / _INDEX, problems):
        if tag and _lists_referrers(tag, find_file, digest):
            for child in _children(find_file, digest):
                types.setdefault(child, "")
            continue
        types[digest] = media_type
        tags.setdefault(digest, []).extend([tag] if tag else [])
    roots = [Root(digest, media_type, tuple(tags.get(digest, ()))) for digest, media_type in types.items()]
    return SourceRepository(name, roots, find_file, problems)


def _descriptors(index: Path, problems: list[str]) -> Iterator[tuple[Digest, str, str]]:
    """Digest, media type and tag of what the layout's index names."""
    try:
        entries = json.loads(read_file(index))["manifests"]
    except (OSError, ValueError, KeyError, TypeError):
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


def _lists_referrers(tag: str, find_file: FindFile, digest: Digest) -> bool:
    try:
        return is_fallback(tag, read_manifest(find_file, digest))
    except Unreadable:
        return False


def _children(find_file: FindFile, digest: Digest) -> Iterator[Digest]:
    for entry in json.loads(read_manifest(find_file, digest)).get("manifests") or []:
        try:
            yield Digest.parse(entry["digest"])
        except (KeyError, TypeError, InvalidDigest):
            continue
