"""Blobs as objects in S3: always a multipart upload, so that only its completion makes the object of a key.

A writer that wakes up late can upload parts, but never touch what was committed. Where an upload stands is in its
session's row (`UploadState.progress`): no request of a client needs a listing.
"""

import os
import random
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from storage.blobstore import (
    BlobMissing,
    ByteRange,
    ForeignStore,
    OpenBlob,
    StoreUnavailable,
    UploadBusy,
    UploadMissing,
    UploadState,
)
from storage.budget import Budget
from storage.digest import Digest
from storage.killpoints import Reach, pass_by
from storage.running_hash import RunningHash, RunningHashes
from storage.s3 import marker
from storage.s3.append import S3Append
from storage.s3.client import S3Client, S3Tuning
from storage.s3.completion import S3Completion
from storage.s3.copies import S3Copies
from storage.s3.means import Means, chain, one
from storage.s3.memory import Ends
from storage.s3.objects import S3Objects
from storage.s3.place import S3Place
from storage.s3.progress import Progress
from storage.s3.resume import S3Resumption
from storage.s3.urls import S3Urls

MEMORY = 256 << 20  # bytes
_REMEMBERED = 8  # the part of the memory that may hold the ends of uploads between two requests: one eighth


def _milliseconds_now() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class _OpenObject:
    objects: S3Objects
    name: str
    size: int

    @property
    def descriptor(self) -> None:
        """There is no file."""

    async def read(self, byte_range: ByteRange) -> AsyncIterator[bytes]:
        if byte_range.size > 0:
            async for piece in self.objects.read(self.name, range(byte_range.first, byte_range.last + 1)):
                yield piece

    async def close(self) -> None:
        """Each read has closed what it opened."""


class S3BlobStore:
    """A BlobStore at the `place`, with the credentials that boto3 finds.

    `memory`: bytes of content that all uploads together hold; what is more waits in files in the folder `spool` (None:
    the system's for such). `clock` in Unix milliseconds: it dates URLs.
    """

    def __init__(
        self,
        place: S3Place,
        *,
        memory: int = MEMORY,
        spool: Path | None = None,
        tuning: S3Tuning | None = None,
        clock: Callable[[], int] = _milliseconds_now,
        reach: Reach = pass_by,
    ) -> None:
        tuning = tuning or S3Tuning()
        self._client = S3Client(place, tuning, random.Random())  # noqa: S311 - it spreads retries
        self._objects = S3Objects(self._client, place)
        remembered = memory // _REMEMBERED
        self._means = Means(
            self._objects,
            Budget(memory - remembered),
            Ends(remembered),
            RunningHashes(is_plain=tuning.has_plain_hashes),
            ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="s3-hash"),
            spool,
            tuning.in_flight,
            reach,
        )
        self._completion = S3Completion(self._means)
        self._resumption = S3Resumption(self._means, self._completion)
        self.copies = S3Copies(self._means, tuning.most_copied)
        self._urls = S3Urls(place, clock, tuning.url_seconds)
        self._writing: set[str] = set()

    def close(self) -> None:
        """End what runs, as soon as it can be ended: parts under way end by themselves."""
        self._client.close()
        self._means.beside.shutdown(wait=False, cancel_futures=True)
        self._urls.close()

    async def bind(self, instance: str, *, is_populated: bool) -> None:
        await marker.bind(self._objects, instance, is_populated=is_populated)
        if self._objects.place.is_shared:
            await marker.require_conditions(self._objects, instance)

    async def verify(self, instance: str) -> None:
        if not await marker.is_marked(self._objects, instance):
            raise ForeignStore(f"{self._objects.place} is empty or unmarked: are bucket and prefix the right ones?")

    async def append(
        self, upload: UploadState, content: AsyncIterable[bytes], *, is_last: bool = False, is_streamed: bool = False
    ) -> UploadState:
        with self._only_writer(upload.key):
            pieces = aiter(content)
            first = await _first(pieces)
            if not first:
                return upload
            for stray in self._means.begun.find(upload.key) - {_progress(upload).multipart}:
                await self._means.abort(upload.key, stray)  # of an append that nobody recorded
            resumed = await self._resumption.resume(upload, is_streamed=is_streamed)
            appending = S3Append(self._means, self._resumption, upload, resumed, is_last=is_last)
            carried = [resumed.carry] if resumed.carry else []
            return await appending.run(chain(*carried, one(first), pieces))

    async def digest(self, upload: UploadState, algorithm: str) -> Digest:
        if upload.offset == 0:
            return Digest.of(b"", algorithm)
        progress = Progress.of(upload)
        if algorithm == upload.algorithm and (running := self._means.running(upload, progress)):
            return Digest(algorithm, running.hexdigest())
        return await self._read_digest(upload, progress, self._means.hashes.begin(algorithm))

    async def commit(self, upload: UploadState) -> None:
        with self._only_writer(upload.key):
            progress = Progress.of(upload)
            await self._completion.complete(upload, progress)
            if progress.is_chunked:
                await self._means.drop_tails(upload.key)
            self._forget(upload.key)
        self._means.reach("commit.done")

    async def abort(self, upload: UploadState) -> None:
        """By the multipart id in its progress; and what this process has begun for it and nobody recorded."""
        key, means = upload.key, self._means
        progress = _progress(upload)
        has_tails = means.begun.has_tail(key) or progress.is_chunked
        for multipart in means.begun.find(key) | ({progress.multipart} - {""}):
            await means.abort(key, multipart)
        if has_tails:
            await means.drop_tails(key)
        await self.delete(key)

    async def digest_stored(self, key: str, algorithm: str) -> Digest:
        running = self._means.hashes.begin(algorithm)
        await self._objects.hash(self._objects.place.blob(key), running)
        return Digest(algorithm, running.hexdigest())

    async def open(self, key: str, size: int) -> OpenBlob:
        stored = await self.size(key)
        if stored != size:
            raise BlobMissing(f"{key} has {stored} of {size} bytes")
        return _OpenObject(self._objects, self._objects.place.blob(key), size)

    async def size(self, key: str) -> int | None:
        head = await self._objects.head(self._objects.place.blob(key))
        return head.size if head else None

    async def locate(self, key: str, size: int) -> str | None:
        if not self._urls.is_redirected(size):
            return None
        return self._urls.find(key) or await self._client.call(self._urls.sign, key)

    async def delete(self, key: str) -> None:
        self._forget(key)
        await self._objects.delete(self._objects.place.blob(key))

    async def probe(self) -> None:
        if await self._objects.head(self._objects.place.marker) is None:
            raise StoreUnavailable(2, "the marker of the object store is gone, or its bucket is")

    async def keys(self) -> AsyncIterator[str]:
        folder = self._objects.place.blobs
        async for name, _ in self._objects.list_names(folder):
            stray = name.removeprefix(folder)
            short, _, key = stray.partition("/")
            yield key if key[:2] == short and "/" not in key else stray

    async def uploads(self) -> AsyncIterator[tuple[str, int]]:
        place, sizes = self._objects.place, dict[str, int]()
        async for name, size in self._objects.list_names(place.tails):
            key = name.removeprefix(place.tails).rpartition(".")[0]
            sizes[key] = sizes.get(key, 0) + size
        async for name, multipart in self._objects.list_multiparts(place.blobs):
            stored = await self._objects.list_parts(name, multipart)
            if stored is not None:  # it has not ended since it was listed
                key = name.rpartition("/")[2]
                sizes[key] = sizes.get(key, 0) + sum(part.size for part in stored)
        for key, size in sizes.items():
            yield key, size

    async def sweep(self, key: str) -> None:
        """Remove each multipart upload and tail of a key that no row names: a server was killed before it wrote one."""
        place = self._objects.place
        async for name, multipart in self._objects.list_multiparts(place.blob(key)):
            if name == place.blob(key):
                await self._means.abort(key, multipart)
        await self._means.drop_tails(key)

    async def _read_digest(self, upload: UploadState, progress: Progress, running: RunningHash) -> Digest:
        name = self._objects.place.blob(upload.key)
        if progress.tail and not progress.parts:
            segment = await self._completion.fetch_tail(upload, progress.tail)
            await self._means.in_thread(segment.hash_into, running, 0)
            segment.close()
            return Digest(running.algorithm, running.hexdigest())
        head = await self._completion.complete(upload, progress)
        try:
            size = await self._objects.hash(name, running)
        except BlobMissing:
            raise UploadMissing(upload.key) from None
        if size != upload.offset:
            raise UploadMissing(upload.key)
        self._completion.note_read_back(upload.key, head.etag)
        return Digest(running.algorithm, running.hexdigest())

    def _forget(self, key: str) -> None:
        self._means.forget(key)
        self._completion.forget(key)
        self._urls.forget(key)

    @contextmanager
    def _only_writer(self, key: str) -> Iterator[None]:
        """In this process: of other processes' writers the row of the session knows, and the ETags tell."""
        if key in self._writing:
            raise UploadBusy(key)
        self._writing.add(key)
        try:
            yield
        finally:
            self._writing.discard(key)


def _progress(upload: UploadState) -> Progress:
    """The upload's own, whatever its offset: that of an upload that is given up is not known any more."""
    try:
        return Progress.of(UploadState(upload.key, 0, upload.algorithm, upload.progress))
    except UploadMissing:
        return Progress()


async def _first(pieces: AsyncIterator[bytes]) -> bytes:
    """The first piece that is not empty; empty when there is none."""
    async for piece in pieces:
        if piece:
            return piece
    return b""
