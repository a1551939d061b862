"""Objects in S3 as a source: read where they are, or copied by their server."""

from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Collection, Iterator
from contextlib import aclosing, contextmanager, suppress

from registry.moving.sources import SourceUnavailable, Unreadable, Ways
from registry.moving.together import run_together
from storage.blobstore import BlobMissing, StoreUnavailable
from storage.digest import Digest
from storage.s3.errors import Refused
from storage.s3.objects import Head, S3Objects
from storage.s3.place import S3Object

AT_ONCE = 16  # requests
_BATCH = 1000  # digests that are measured with one task each
_MOST_HEADS = 10_000
_MOST_AHEAD = 64 << 20  # bytes of manifests that are kept until they are read
_ARCHIVED = "InvalidObjectState"


class BucketContents:
    """The Contents of objects; `find` says what the object of a digest is called."""

    def __init__(self, objects: S3Objects, find: Callable[[Digest], str]) -> None:
        self._objects = objects
        self._find = find
        self._heads: OrderedDict[Digest, Head] = OrderedDict()
        self._ahead: OrderedDict[Digest, bytes] = OrderedDict()
        self._ahead_size = 0

    async def read(self, digest: Digest, most: int) -> bytes:
        content = self._ahead.get(digest)
        return await self._fetch(digest, most) if content is None else content

    async def measure(self, digests: Collection[Digest]) -> dict[Digest, int | None]:
        found: dict[Digest, int | None] = {}

        async def look(digest: Digest) -> None:
            head = await self._head(digest)
            found[digest] = head.size if head else None

        every = list(digests)
        for first in range(0, len(every), _BATCH):
            await run_together(look, every[first : first + _BATCH], AT_ONCE)
        return found

    async def pieces(self, digest: Digest) -> AsyncGenerator[bytes, None]:
        with problems_named(self._objects):
            try:
                async with aclosing(self._objects.read(self._find(digest))) as pieces:
                    async for piece in pieces:
                        yield piece
            except BlobMissing:
                raise Unreadable("the blob cannot be read: its object is gone, or ended early") from None

    async def expect(self, digests: Collection[Digest], most: int) -> None:
        async def fetch(digest: Digest) -> None:
            with suppress(Unreadable):  # whoever reads it hears of it
                await self._fetch(digest, most)

        await run_together(fetch, [each for each in digests if each not in self._ahead], AT_ONCE)

    def may_give(self, ways: Ways) -> bool:
        return ways.copies is not None and ways.copies.is_possible

    async def give(self, digest: Digest, key: str, ways: Ways) -> bool:
        head = await self._head(digest)
        if ways.copies is None or head is None:
            return False
        source = S3Object(self._objects.place.bucket, self._find(digest), head.size, head.etag)
        return await ways.copies.make(source, key)

    async def _fetch(self, digest: Digest, most: int) -> bytes:
        with problems_named(self._objects):
            try:
                head, content = await self._objects.fetch(self._find(digest), most)
            except BlobMissing:
                raise Unreadable("the manifest is not in the source") from None
        self._note(digest, head)
        if content is None:
            raise Unreadable(f"a manifest has at most {most} bytes")
        self._keep(digest, content)
        return content

    def _keep(self, digest: Digest, content: bytes) -> None:
        self._ahead_size += len(content) - len(self._ahead.pop(digest, b""))
        self._ahead[digest] = content
        while self._ahead_size > _MOST_AHEAD:
            self._ahead_size -= len(self._ahead.popitem(last=False)[1])

    async def _head(self, digest: Digest) -> Head | None:
        known = self._heads.get(digest)
        if known is not None:
            return known
        with problems_named(self._objects):
            head = await self._objects.head(self._find(digest))
        if head is not None:
            self._note(digest, head)
        return head

    def _note(self, digest: Digest, head: Head) -> None:
        self._heads[digest] = head
        if len(self._heads) > _MOST_HEADS:
            self._heads.popitem(last=False)


@contextmanager
def problems_named(objects: S3Objects) -> Iterator[None]:
    """Tell the source's problems from those of the registry's own store. Raises Unreadable, SourceUnavailable."""
    try:
        yield
    except StoreUnavailable as problem:
        if isinstance(problem, Refused) and problem.code == _ARCHIVED:
            raise Unreadable("it is archived, and must be restored in S3 first") from None
        text = str(problem.strerror or problem)
        for setting, option in (("ENTREPOT_S3_REGION", "--region"), ("ENTREPOT_S3_ENDPOINT", "--endpoint")):
            text = text.replace(setting, option)
        raise SourceUnavailable(f"{str(objects.place).rstrip('/')}: {text}") from problem
