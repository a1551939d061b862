"""One append to an upload: cut into parts while it comes, hashed beside, several parts under way at once."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from hashlib import sha256
from typing import Any

from storage.blobstore import StoreFull, UploadMissing, UploadState
from storage.s3.errors import Refused
from storage.s3.means import Means
from storage.s3.parts import LARGE, LEAST, Cutter, part_size
from storage.s3.progress import Part, Tail
from storage.s3.resume import Resumed, S3Resumption
from storage.spool import Segment
from storage.waiting import see_through

_WRITTEN_AT_ONCE = 1 << 20  # bytes per thread hop into a spool file


class S3Append:
    def __init__(
        self, means: Means, resumption: S3Resumption, upload: UploadState, resumed: Resumed, *, is_last: bool
    ) -> None:
        self._means = means
        self._resumption = resumption
        self._upload = upload
        self._resumed = resumed
        self._is_last = is_last
        self._number = max(resumed.progress.next_number, resumed.number)
        self._cutter = Cutter(self._number - 1)
        self._is_proven = resumed.progress.multipart != resumed.inherited or not resumed.inherited
        self._offset = upload.offset - resumed.carry_size
        self._segments: deque[Segment] = deque()
        self._unwritten = bytearray()  # of the last segment, if that is in a file
        self._tasks: deque[asyncio.Task[Part]] = deque()
        self._hashed: asyncio.Task[None] | None = None

    async def run(self, content: AsyncIterator[bytes]) -> UploadState:
        """Raises what the content raises, and UploadMissing, StoreUnavailable, StoreFull: then nothing is appended."""
        try:
            async for piece in content:
                await self._take(memoryview(piece))
            await self._finish()
        except BaseException as problem:
            await see_through(self._undo(problem))
            raise
        return self._record()

    async def _take(self, content: memoryview) -> None:
        while content:
            if not self._segments or not self._segments[-1].room - len(self._unwritten):
                await self._add_segment()
            segment = self._segments[-1]
            size = min(len(content), segment.room - len(self._unwritten))
            await self._fill(segment, content[:size])
            content = content[size:]
            self._offset += size
            if self._cutter.add(size):
                await self._send()

    async def _add_segment(self) -> None:
        if self._segments:
            await self._flush(self._segments[-1])
        capacity = part_size(self._cutter.number + len(self._segments))
        segment = Segment(self._offset, capacity)
        self._segments.append(segment)
        if capacity > LARGE:
            await self._spill(segment)

    async def _fill(self, segment: Segment, content: memoryview) -> None:
        budget = self._means.budget
        if not segment.is_spooled:
            if budget.take_now(len(content)) or await budget.take(len(content)):
                segment.add(content)
                return
            await self._spill(segment)
        self._unwritten += content
        if len(self._unwritten) >= _WRITTEN_AT_ONCE:
            await self._flush(segment)

    async def _spill(self, segment: Segment) -> None:
        in_memory = segment.in_memory
        with _full_spool_named():
            await self._means.in_thread(segment.spill, self._means.spool)
        self._means.budget.give(in_memory)

    async def _flush(self, segment: Segment) -> None:
        if segment.is_spooled and self._unwritten:
            content, self._unwritten = self._unwritten, bytearray()
            with _full_spool_named():
                await self._means.in_thread(segment.write, content)

    async def _finish(self) -> None:
        is_kept = self._resumed.progress.is_chunked and not self._is_last
        await self._merge()
        size = self._cutter.finish(keeps_rest=is_kept)
        if size:
            content = self._segments[0].content() if size < LEAST and not self._is_last else None
            await self._send()
            await self._collect(0)
            if content is not None:
                self._means.ends.put(self._upload.key, self._resumed.progress.parts[-1].etag, content)
        else:
            if self._segments:
                await self._keep_tail(self._segments[0])
            await self._collect(0)

    async def _merge(self) -> None:
        """What is left is one part or one tail."""
        if self._segments:
            await self._flush(self._segments[-1])
        while len(self._segments) > 1:
            second = self._segments.pop()
            first = self._segments[-1]
            before = first.in_memory + second.in_memory
            await self._means.in_thread(first.absorb, second, self._means.spool)
            self._means.budget.give(before - first.in_memory)

    async def _send(self) -> None:
        """Begin to upload the first segment."""
        await self._collect(self._means.in_flight - 1)
        progress = self._resumed.progress
        progress.multipart = progress.multipart or await self._means.begin(self._upload.key)
        self._means.reach("append.created")
        segment = self._segments.popleft()
        self._hashed = asyncio.create_task(self._hash(segment, self._hashed))
        self._means.budget.launch(segment.in_memory)
        self._tasks.append(asyncio.create_task(self._store(segment, self._hashed)))
        if not self._is_proven:
            await self._collect(0)
            self._is_proven = True

    async def _store(self, segment: Segment, hashed: asyncio.Task[None]) -> Part:
        in_memory = segment.in_memory
        try:
            sent, problem = await asyncio.gather(self._upload_part(segment), hashed, return_exceptions=True)
        finally:
            self._means.budget.land(in_memory)
            segment.close()
        if isinstance(sent, BaseException):
            raise sent
        if problem is not None:
            raise problem
        return sent

    async def _upload_part(self, segment: Segment) -> Part:
        """Upload it as the next part. Raises UploadMissing."""
        number, self._number = self._number, self._number + 1
        name, objects = self._means.name(self._upload.key), self._means.objects
        try:
            etag = await objects.upload_part(name, self._resumed.progress.multipart, number, segment.body())
            return Part(number, segment.size, etag)
        except Refused as refusal:
            if refusal.code != "NoSuchUpload":
                raise
        if self._is_proven or self._resumed.carry_size:
            raise UploadMissing(self._upload.key)
        await self._resumption.take_back(self._upload, self._resumed)
        if self._resumed.carry_size:
            raise UploadMissing(self._upload.key)
        number = self._resumed.progress.next_number
        self._number = number + 1
        etag = await objects.upload_part(name, self._resumed.progress.multipart, number, segment.body())
        return Part(number, segment.size, etag)

    async def _hash(self, segment: Segment, earlier: asyncio.Task[None] | None) -> None:
        if earlier:
            await earlier
        if self._resumed.running:
            first = max(0, self._upload.offset - segment.start)
            await self._means.in_thread(segment.hash_into, self._resumed.running, first)

    async def _collect(self, left: int) -> None:
        """Wait until so many parts at most are under way."""
        while len(self._tasks) > left:
            task = self._tasks[0]
            await asyncio.wait([task])
            self._tasks.popleft()
            self._resumed.progress.parts.append(task.result())

    async def _keep_tail(self, segment: Segment) -> None:
        self._hashed = asyncio.create_task(self._hash(segment, self._hashed))
        await self._hashed
        digest = await self._means.in_thread(_sha256, segment)
        key, slot = self._upload.key, self._resumed.slot
        self._means.begun.add_tail(key)
        await self._means.objects.put(self._means.objects.place.tail(key, slot), segment.body())
        self._resumed.progress.tail = Tail(slot, segment.size, digest)
        if (content := segment.content()) is not None:
            self._means.ends.put(key, digest, content)
        self._means.budget.give(segment.in_memory)
        segment.close()
        self._segments.clear()

    def _record(self) -> UploadState:
        progress, running = self._resumed.progress, self._resumed.running
        progress.running = running.save() if running else ""
        if running and not progress.running:
            self._means.plain.put(self._upload.key, self._offset, running)
        self._means.reach("append.written")
        return replace(self._upload, offset=self._offset, progress=progress.dump())

    async def _undo(self, problem: BaseException) -> None:
        """Wait for what is under way, and give everything back."""
        for task in self._tasks:
            task.cancel()
        pending: list[asyncio.Task[Any]] = [*self._tasks, *([self._hashed] if self._hashed else [])]
        if pending:
            await asyncio.wait(pending)
            for ended in pending:
                _ = ended.cancelled() or ended.exception()  # looked at, or asyncio reports it as forgotten
        for segment in self._segments:
            self._means.budget.give(segment.in_memory)
            segment.close()
        for multipart in self._means.begun.find(self._upload.key) - {self._resumed.inherited}:
            try:
                await self._means.abort(self._upload.key, multipart)
            except OSError as also:
                problem.add_note(f"and its multipart upload {multipart} could not be aborted: {also}")


def _sha256(segment: Segment) -> str:
    digest = sha256()
    for piece in segment.pieces():
        digest.update(piece)
    return digest.hexdigest()


@contextlib.contextmanager
def _full_spool_named() -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise StoreFull(f"no room for parts of uploads in the spool folder: {problem.strerror}") from problem
