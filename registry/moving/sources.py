"""Where images can come from: what every kind of source is made of."""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from registry.oci import media_types
from registry.oci.manifest import MOST_BYTES
from storage.digest import Digest
from storage.s3.place import S3Object


class Unreadable(Exception):
    """One thing in the source is missing or no longer what it was; the message says which."""


class SourceUnavailable(Exception):
    """The source cannot be read, or not now, and it would be the same with all that follows; the message says why."""


@dataclass(frozen=True, slots=True)
class Root:
    """A manifest that the source names itself, other than as a part of another one.

    `media_type` where the source says it; `tags` that point to it.
    """

    digest: Digest
    media_type: str = ""
    tags: tuple[str, ...] = ()


class Copies(Protocol):
    """What a store has that can copy objects of other places by itself."""

    @property
    def is_possible(self) -> bool:
        """False once the server has said that it will not."""

    async def make(self, source: S3Object, key: str) -> bool:
        """Copy, durably, under a storage key. False where the server refuses: then nothing was done. Raises OSError."""


@dataclass(frozen=True, slots=True)
class Ways:
    """How the registry's store takes content without reading it; None for what it cannot do.

    `link` gives a file a second name, as a storage key; False where it has to be copied.
    """

    link: Callable[[Path, str], Awaitable[bool]] | None = None
    copies: Copies | None = None


class Contents(Protocol):
    """What a source has, by digest. Each method raises Unreadable, SourceUnavailable and OSError."""

    async def read(self, digest: Digest, most: int) -> bytes:
        """All of a small content. Raises Unreadable, also when it has more than `most` bytes."""

    async def measure(self, digests: Collection[Digest]) -> dict[Digest, int | None]:
        """The size of each in bytes, None when it is not in the source."""

    def pieces(self, digest: Digest) -> AsyncGenerator[bytes, None]:
        """All of the content. Whatever goes wrong is Unreadable or SourceUnavailable: no problem of the store."""

    async def expect(self, digests: Collection[Digest], most: int) -> None:
        """A hint: these are read next, or measured. What takes a round trip each, a source may do at once."""

    def may_give(self, ways: Ways) -> bool:
        """Whether `give` is worth trying."""

    async def give(self, digest: Digest, key: str, ways: Ways) -> bool:
        """Put the content under a storage key of the registry in one of these ways; False when none is possible."""


@dataclass(frozen=True, slots=True)
class SourceRepository:
    """`name` as the source has it, perhaps not one that a registry accepts. `roots`: the oldest first.

    `problems` were found while it was looked at.
    """

    name: str
    roots: list[Root]
    contents: Contents
    problems: list[str] = field(default_factory=list)


async def read_manifest(contents: Contents, digest: Digest) -> bytes:
    """The bytes of a manifest, hashed. Raises Unreadable, SourceUnavailable."""
    content = await contents.read(digest, MOST_BYTES)
    if Digest.of(content, digest.algorithm) != digest:
        raise Unreadable("the manifest's bytes have another digest")
    return content


def guess_media_type(content: bytes) -> str:
    """What a manifest says that it is, or looks like; nothing where it looks like none."""
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(fields, dict):
        return ""
    stated: Any = fields.get("mediaType")
    if isinstance(stated, str):
        return stated
    if "manifests" in fields:
        return media_types.OCI_INDEX
    return media_types.OCI_MANIFEST if "config" in fields and "layers" in fields else ""
