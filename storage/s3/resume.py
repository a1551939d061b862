"""Going on with an upload: what is needed of its end, so that more can follow, and from where."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from storage.blobstore import UploadMissing, UploadState
from storage.running_hash import RunningHash
from storage.s3.completion import S3Completion
from storage.s3.means import Means, one
from storage.s3.objects import Head
from storage.s3.parts import LEAST, cut_copies
from storage.s3.place import S3Object
from storage.s3.progress import Part, Progress
from storage.spool import Segment

_COPIED_AT_ONCE = 8


@dataclass(slots=True)
class Resumed:
    """`carry` are the last `carry_size` bytes before the offset: they are uploaded again, in front of what comes.

    A new tail goes to `slot`, where no recorded one is. `inherited` is the recorded multipart upload.
    Parts get `number` or a higher one: what is recorded is never written over, so that an append may tear.
    """

    progress: Progress
    running: RunningHash | None
    carry: AsyncIterator[bytes] | None = None
    carry_size: int = 0
    slot: int = 0
    inherited: str = ""
    number: int = 1


class S3Resumption:
    def __init__(self, means: Means, completion: S3Completion) -> None:
        self._means = means
        self._completion = completion

    async def resume(self, upload: UploadState, *, is_streamed: bool) -> Resumed:
        """Raises UploadMissing."""
        progress = Progress.of(upload)
        resumed = Resumed(progress, self._means.running(upload, progress), inherited=progress.multipart)
        if progress.tail:
            await self._carry_tail(upload, resumed)
        elif progress.ends_short:
            last = progress.parts[-1]
            known = self._means.ends.get(upload.key, last.etag)
            if known is None:
                await self._completion.complete(upload, progress)
                await self.take_back(upload, resumed)
            else:
                progress.parts.pop()
                resumed.number = last.number + 1
                resumed.carry, resumed.carry_size = one(known), last.size
        resumed.progress.is_chunked |= upload.offset > 0 or not is_streamed
        return resumed

    async def take_back(self, upload: UploadState, resumed: Resumed) -> None:
        """Go on from the object, which holds all of the upload: it was committed and no row followed, or reopened.

        The object stays until the next commit replaces it. Raises UploadMissing.
        """
        head = await self._completion.find(upload, resumed.progress)
        progress = Progress(is_chunked=True, replaces=head.etag)
        if head.size < LEAST:
            resumed.carry, resumed.carry_size = self._means.objects.read(self._means.name(upload.key)), head.size
        else:
            await self._copy(upload, progress, head)
        resumed.progress = progress

    async def _copy(self, upload: UploadState, progress: Progress, head: Head) -> None:
        name, objects = self._means.name(upload.key), self._means.objects
        source = S3Object(objects.place.bucket, name, head.size, head.etag)
        progress.multipart = await self._means.begin(upload.key)

        async def copy(number: int, span: range) -> Part:
            etag = await objects.copy_part(name, progress.multipart, number, source, span)
            return Part(number, len(span), etag)

        spans = list(enumerate(cut_copies(head.size), 1))
        for first in range(0, len(spans), _COPIED_AT_ONCE):
            few = spans[first : first + _COPIED_AT_ONCE]
            progress.parts += await asyncio.gather(*(copy(number, span) for number, span in few))

    async def _carry_tail(self, upload: UploadState, resumed: Resumed) -> None:
        tail = resumed.progress.tail
        if tail is None:
            return
        try:
            segment = await self._completion.fetch_tail(upload, tail)
        except UploadMissing:
            await self.take_back(upload, resumed)
            return
        resumed.progress.tail = None
        resumed.slot = 1 - tail.slot
        resumed.carry, resumed.carry_size = _drain(self._means, segment), tail.size


async def _drain(means: Means, segment: Segment) -> AsyncIterator[bytes]:
    try:
        pieces = segment.pieces()
        while piece := await means.in_thread(next, pieces, None):
            yield bytes(piece)
    finally:
        segment.close()
