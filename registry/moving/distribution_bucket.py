"""The bucket of a CNCF distribution registry, read where it is: the same layout as on a disk, in names of objects."""

import random
from collections.abc import AsyncIterator

from registry.moving.bucket import AT_ONCE, BucketContents, problems_named
from registry.moving.distribution import ABOVE, spell_path
from registry.moving.sources import Unreadable
from registry.moving.together import run_together
from registry.oci.names import Tag, TagInvalid
from storage.blobstore import BlobMissing
from storage.digest import Digest, InvalidDigest
from storage.s3.client import S3Client, S3Tuning
from storage.s3.objects import S3Objects
from storage.s3.place import S3Place

_MOST_LINK = 4096  # bytes


class DistributionBucket:
    """The Tree of a place in S3, which is only read. Every problem with it is a SourceUnavailable."""

    def __init__(self, place: S3Place) -> None:
        self.place = place
        self._client = S3Client(place, S3Tuning(), random.Random())  # noqa: S311 - it spreads retries
        self._objects = S3Objects(self._client, place)
        self._root = place.root
        self.contents = BucketContents(self._objects, self._find)

    def close(self) -> None:
        self._client.close()

    async def find_root(self) -> bool:
        """Whether a registry is here, or below this place by a part of the usual path."""
        for below in ABOVE:
            root = f"{self.place.root}{below}/" if below else self.place.root
            if await self._holds(f"{root}blobs/") and await self._holds(f"{root}repositories/"):
                self._root = root
                return True
        return False

    async def list_names(self) -> list[str]:
        """A repository may have others below it; what begins with _ is its own."""
        names: list[str] = []
        level = [""]
        while level:
            below: list[str] = []

            async def look(folder: str, below: list[str] = below) -> None:
                async for found in self._objects.list_folders(f"{self._root}repositories/{folder}"):
                    if "_manifests" in found:
                        names.append(folder.removesuffix("/"))
                    below += [f"{folder}{name}/" for name in found if name and not name.startswith("_")]

            with problems_named(self._objects):
                await run_together(look, level, AT_ONCE)
            level = below
        return sorted(names)

    async def has(self, name: str) -> bool:
        return await self._holds(f"{self._links(name)}/")

    async def list_revisions(self, name: str, problems: list[str]) -> list[Digest]:
        """Each link's name says what it says."""
        return [digest for _, digest in sorted(await self._list_links(f"{self._links(name)}/revisions/", problems))]

    async def tags(self, name: str, problems: list[str]) -> AsyncIterator[tuple[str, Digest]]:
        folder = f"{self._links(name)}/tags/"
        pages = self._objects.list_folders(folder)
        while True:
            with problems_named(self._objects):
                tags = await anext(pages, None)
            if tags is None:
                return
            found: dict[str, Digest] = {}

            async def follow(tag: str, found: dict[str, Digest] = found) -> None:
                try:
                    Tag.parse(tag)
                except TagInvalid:  # servers and proxies stumble over keys with .. or more than 1024 bytes
                    problems.append(f"{tag!r} is no tag: what it names comes without one")
                    return
                if digest := await self._follow(f"{folder}{tag}/current/link", problems):
                    found[tag] = digest

            await run_together(follow, tags, AT_ONCE)
            for tag, digest in sorted(found.items()):
                yield tag, digest

    async def list_former(self, name: str, tag: str, problems: list[str]) -> list[Digest]:
        found = await self._list_links(f"{self._links(name)}/tags/{tag}/index/", problems)
        return [digest for _, digest in found]

    def _find(self, digest: Digest) -> str:
        return f"{self._root}{spell_path(digest)}"

    async def _holds(self, prefix: str) -> bool:
        """Whether there is any object below it."""
        with problems_named(self._objects):
            async for _ in self._objects.list_names(prefix, 1):
                return True
        return False

    def _links(self, name: str) -> str:
        return f"{self._root}repositories/{name}/_manifests"

    async def _list_links(self, folder: str, problems: list[str]) -> list[tuple[tuple[float, str], Digest]]:
        """By age and name; what a link says is in its name, too."""
        found: list[tuple[tuple[float, str], Digest]] = []
        with problems_named(self._objects):
            async for name, written in self._objects.list_dated(folder):
                algorithm, _, rest = name.removeprefix(folder).partition("/")
                if not rest.endswith("/link"):
                    continue  # some tools make objects of folders
                try:
                    found.append(((written, name), Digest.parse(f"{algorithm}:{rest.removesuffix('/link')}")))
                except InvalidDigest:
                    problems.append(f"s3://{self.place.bucket}/{name} is no link to a digest")
        return found

    async def _follow(self, name: str, problems: list[str]) -> Digest | None:
        try:
            with problems_named(self._objects):
                _, content = await self._objects.fetch(name, _MOST_LINK)
            return Digest.parse((content or b"").decode("ascii").strip())
        except BlobMissing:
            return None  # a tag that was deleted can leave some of its objects
        except (UnicodeDecodeError, InvalidDigest):
            problems.append(f"s3://{self.place.bucket}/{name} is no link to a digest")
        except Unreadable as problem:
            problems.append(f"s3://{self.place.bucket}/{name} cannot be read: {problem}")
        return None
