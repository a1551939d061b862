"""What a CNCF distribution registry (registry:2, registry:3, Harbor, GitLab) keeps, on a disk or in a bucket.

docker/registry/v2/blobs/sha256/KK/HEX/data
docker/registry/v2/repositories/NAME/_manifests/revisions/sha256/HEX/link     a text: the digest
docker/registry/v2/repositories/NAME/_manifests/tags/TAG/current/link
docker/registry/v2/repositories/NAME/_manifests/tags/TAG/index/sha256/HEX/link    what it pointed to, ever
"""

import re
from collections.abc import AsyncIterator
from typing import Protocol

from registry.errors import NameInvalid
from registry.moving.sources import Contents, Root, SourceRepository, Unreadable, guess_media_type, read_manifest
from registry.oci import media_types
from registry.oci.names import RepositoryName
from storage.digest import Digest

ABOVE = ("", "v2", "registry/v2", "docker/registry/v2")  # what of the path may be left to be said
# The tag under which clients list the referrers of a subject, where a registry has no list of its own.
_FALLBACK = re.compile(r"sha(256|512)-[0-9a-f]{64}", re.ASCII)


class Tree(Protocol):
    """Where it is kept. What is no link to a digest is told in `problems`. Raises OSError, SourceUnavailable."""

    @property
    def contents(self) -> Contents: ...

    async def list_names(self) -> list[str]:
        """Of the repositories with manifests, sorted."""

    async def has(self, name: str) -> bool:
        """Whether it has manifests."""

    async def list_revisions(self, name: str, problems: list[str]) -> list[Digest]:
        """The repository's manifests, the oldest first."""

    def tags(self, name: str, problems: list[str]) -> AsyncIterator[tuple[str, Digest]]:
        """By name, with what they point to."""

    async def list_former(self, name: str, tag: str, problems: list[str]) -> list[Digest]:
        """What the tag has pointed to, ever."""


def spell_path(digest: Digest) -> str:
    """Where the bytes of a digest are."""
    return f"blobs/{digest.algorithm}/{digest.encoded[:2]}/{digest.encoded}/data"


async def each_repository(tree: Tree, only: str = "") -> AsyncIterator[SourceRepository]:
    """Those with manifests, by name, or only one of them. Raises what the tree raises."""
    names = await tree.list_names() if not only else [only] if await tree.has(only) else []
    for name in names:
        yield await _read(tree, name) if _is_name(name) else SourceRepository(name, [], tree.contents)


def is_fallback(tag: str, content: bytes) -> bool:
    """Whether the tag only says which manifests refer to a subject (distribution-spec, "Referrers Tag Schema")."""
    return _FALLBACK.fullmatch(tag) is not None and guess_media_type(content) == media_types.OCI_INDEX


async def lists_referrers(tag: str, contents: Contents, digest: Digest) -> bool:
    """As `is_fallback`, of a tag in a source that points to a manifest there."""
    try:
        return _FALLBACK.fullmatch(tag) is not None and is_fallback(tag, await read_manifest(contents, digest))
    except Unreadable:
        return False


def _is_name(name: str) -> bool:
    """Another one is refused whatever it has: not worth a request, over which a server may stumble."""
    try:
        RepositoryName.parse(name)
    except NameInvalid:
        return False
    return True


async def _read(tree: Tree, name: str) -> SourceRepository:
    problems: list[str] = []
    fallbacks: set[Digest] = set()
    tags: dict[Digest, list[str]] = {}
    async for tag, digest in tree.tags(name, problems):
        if await lists_referrers(tag, tree.contents, digest):
            fallbacks |= {digest, *await tree.list_former(name, tag, problems)}
        else:
            tags.setdefault(digest, []).append(tag)
    digests = dict.fromkeys(await tree.list_revisions(name, problems))
    kept = (digest for digest in digests if digest not in fallbacks or digest in tags)
    roots = [Root(digest, tags=tuple(tags.get(digest, ()))) for digest in kept]
    return SourceRepository(name, roots, tree.contents, problems)
