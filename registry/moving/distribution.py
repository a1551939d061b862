"""The files of a CNCF distribution registry (registry:2, registry:3, Harbor, GitLab), read where they are.

docker/registry/v2/blobs/sha256/KK/HEX/data
docker/registry/v2/repositories/NAME/_manifests/revisions/sha256/HEX/link     a text: the digest
docker/registry/v2/repositories/NAME/_manifests/tags/TAG/current/link
docker/registry/v2/repositories/NAME/_manifests/tags/TAG/index/sha256/HEX/link    what it pointed to, ever
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from registry.moving.sources import (
    FindFile,
    Root,
    SourceRepository,
    Unreadable,
    guess_media_type,
    read_file,
    read_manifest,
)
from registry.oci import media_types
from storage.digest import Digest, InvalidDigest

_ABOVE = ("", "v2", "registry/v2", "docker/registry/v2")
# The tag under which clients list the referrers of a subject, where a registry has no list of its own.
_FALLBACK = re.compile(r"sha(256|512)-[0-9a-f]{64}", re.ASCII)


def find_root(path: Path) -> Path | None:
    """The directory that has `blobs` and `repositories`: the path itself or one that it is above of."""
    for below in _ABOVE:
        if (path / below / "blobs").is_dir() and (path / below / "repositories").is_dir():
            return path / below
    return None


def each_repository(root: Path) -> Iterator[SourceRepository]:
    """Those with manifests, by name. Raises OSError."""
    for folder in _repositories(root / "repositories"):
        yield _read(root, folder)


def is_fallback(tag: str, content: bytes) -> bool:
    """Whether the tag only says which manifests refer to a subject (distribution-spec, "Referrers Tag Schema")."""
    return _FALLBACK.fullmatch(tag) is not None and guess_media_type(content) == media_types.OCI_INDEX


def _repositories(folder: Path) -> Iterator[Path]:
    """A repository may have others below it; what begins with _ is its own."""
    for parent, below, _ in os.walk(folder, onerror=_raise):
        if "_manifests" in below:
            yield Path(parent)
        below[:] = sorted(name for name in below if not name.startswith("_"))


def _read(root: Path, folder: Path) -> SourceRepository:
    def find_file(digest: Digest) -> Path:
        return root / "blobs" / digest.algorithm / digest.encoded[:2] / digest.encoded / "data"

    problems: list[str] = []
    links = folder / "_manifests"
    fallbacks: set[Digest] = set()
    tags: dict[Digest, list[str]] = {}
    for tag in _entries(links / "tags"):
        digest = _follow(tag / "current" / "link", problems)
        if digest is None:
            continue
        if _is_fallback(tag.name, find_file, digest):
            fallbacks |= {digest, *(old for link in _links(tag / "index") if (old := _follow(link, problems)))}
        else:
            tags.setdefault(digest, []).append(tag.name)
    revisions = sorted(filter(Path.exists, _links(links / "revisions")), key=_age)  # a deleted one leaves its folder
    digests = dict.fromkeys(digest for link in revisions if (digest := _follow(link, problems)))
    kept = (digest for digest in digests if digest not in fallbacks or digest in tags)
    roots = [Root(digest, tags=tuple(tags.get(digest, ()))) for digest in kept]
    name = folder.relative_to(root / "repositories").as_posix()
    return SourceRepository(name, roots, find_file, problems)


def _is_fallback(tag: str, find_file: FindFile, digest: Digest) -> bool:
    try:
        return _FALLBACK.fullmatch(tag) is not None and is_fallback(tag, read_manifest(find_file, digest))
    except Unreadable:
        return False


def _links(folder: Path) -> list[Path]:
    """By algorithm and digest."""
    return [leaf / "link" for algorithm in _entries(folder) for leaf in _entries(algorithm)]


def _entries(folder: Path) -> list[Path]:
    """What is in the folder, if it is one. Raises OSError: a folder that may not be read is not empty."""
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _follow(link: Path, problems: list[str]) -> Digest | None:
    try:
        return Digest.parse(read_file(link).decode("ascii").strip())
    except FileNotFoundError:
        return None  # a tag that was deleted leaves its folder
    except (OSError, UnicodeDecodeError, InvalidDigest):
        problems.append(f"{link} is no link to a digest")
        return None


def _age(link: Path) -> tuple[int, str]:
    return link.stat().st_mtime_ns, str(link)


def _raise(problem: OSError) -> None:
    raise problem
