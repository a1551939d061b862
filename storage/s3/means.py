"""What every upload of one S3 store works with, in one place."""

import asyncio
import errno
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from storage.blobstore import StoreUnavailable, UploadState
from storage.budget import Budget
from storage.killpoints import Reach
from storage.running_hash import RunningHash, RunningHashes
from storage.s3.client import wait_for_thread
from storage.s3.memory import Begun, Ends, PlainHashes
from storage.s3.objects import S3Objects
from storage.s3.progress import Progress

P = ParamSpec("P")
T = TypeVar("T")

_PATIENCE = 600.0  # seconds: these threads never wait for a network


@dataclass(frozen=True, slots=True)
class Means:
    """`beside`: threads for hashes and spool files; `spool`: the folder for these (None: the system's)."""

    objects: S3Objects
    budget: Budget
    ends: Ends
    hashes: RunningHashes
    beside: ThreadPoolExecutor
    spool: Path | None
    in_flight: int
    reach: Reach
    begun: Begun = field(default_factory=Begun)
    plain: PlainHashes = field(default_factory=PlainHashes)

    async def in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            future = self.beside.submit(partial(work, *args, **kwargs))
        except RuntimeError:
            raise StoreUnavailable(errno.ECANCELED, "the server ends") from None
        return await wait_for_thread(future, _PATIENCE)

    def name(self, key: str) -> str:
        return self.objects.place.blob(key)

    async def begin(self, key: str) -> str:
        """Create a multipart upload that is not forgotten if nothing else becomes of it."""
        multipart = await self.objects.begin(self.name(key))
        self.begun.add(key, multipart)
        return multipart

    async def abort(self, key: str, multipart: str) -> None:
        await self.objects.abort(self.name(key), multipart)
        self.begun.end(key, multipart)

    async def drop_tails(self, key: str) -> None:
        place = self.objects.place
        await asyncio.gather(*(self.objects.delete(place.tail(key, slot)) for slot in (0, 1)))
        self.begun.end_tail(key)

    def running(self, upload: UploadState, progress: Progress) -> RunningHash | None:
        """The hash of all bytes up to the offset; None when they must be read for it."""
        if upload.offset == 0:
            return self.hashes.begin(upload.algorithm)
        restored = self.hashes.restore(upload.algorithm, progress.running)
        return restored or self.plain.get(upload.key, upload.offset)

    def forget(self, key: str) -> None:
        self.ends.drop(key)
        self.plain.drop(key)


async def chain(*contents: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    for content in contents:
        async for piece in content:
            yield piece


async def one(piece: bytes | bytearray) -> AsyncIterator[bytes]:
    yield bytes(piece)
