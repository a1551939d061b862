"""Making the object of an upload, and knowing that it is made of this writer's bytes and of nobody else's.

Parts may be written by two writers: one sleeps, the client goes on elsewhere, the first wakes up. The store is given
the ETags of our parts and refuses others. It is told to make the object only where none is, or the one that we saw.
When it says that the upload has ended, or that there is an object, that one counts if it is, byte for byte, ours.
"""

import hashlib

from storage.blobstore import BlobMissing, UploadMissing, UploadState
from storage.s3.errors import Refused
from storage.s3.means import Means
from storage.s3.objects import Head
from storage.s3.progress import Part, Progress, Tail, expect_etag
from storage.s3.surplus import complete_without
from storage.spool import Segment

_LOST = ("NoSuchUpload", "InvalidPart", "InvalidPartOrder", "EntityTooSmall")
_OCCUPIED = ("PreconditionFailed", "412", "ConditionalRequestConflict", "409")


class S3Completion:
    def __init__(self, means: Means) -> None:
        self._means = means
        self._objects = means.objects
        self._read_back: dict[str, str] = {}  # the ETag of each object whose digest was found by reading it

    async def complete(self, upload: UploadState, progress: Progress) -> Head:
        """Make the object, or find that it was made. Raises UploadMissing."""
        try:
            etag = await self._complete(upload, progress)
        except Refused as refusal:
            if refusal.code not in _LOST + _OCCUPIED and not await self._has_ended(upload, progress, refusal):
                raise
            if refusal.code in _OCCUPIED:
                await self._means.abort(upload.key, progress.multipart)
            return await self.find(upload, progress)
        if etag:
            self._means.begun.end(upload.key, progress.multipart)
            return Head(upload.offset, etag)
        return await self.find(upload, progress)

    async def find(self, upload: UploadState, progress: Progress) -> Head:
        """The object that is there already, if it is all of the upload. Raises UploadMissing."""
        head = await self._objects.head(self._means.name(upload.key))
        if head is None or head.size != upload.offset or not await self._is_ours(upload, progress, head):
            raise UploadMissing(upload.key)
        return head

    async def fetch_tail(self, upload: UploadState, tail: Tail) -> Segment:
        """The tail's bytes. Raises UploadMissing: they are gone, or a late writer has put others there."""
        known = self._means.ends.get(upload.key, tail.sha256)
        if known is not None:
            return Segment.of(known)
        segment = Segment(0, tail.size)
        digest = hashlib.sha256()
        await self._means.in_thread(segment.spill, self._means.spool)  # very many may be fetched at once
        try:
            async for piece in self._objects.read(self._objects.place.tail(upload.key, tail.slot)):
                digest.update(piece)
                await self._means.in_thread(segment.write, piece)
            if digest.hexdigest() != tail.sha256:
                raise BlobMissing(upload.key)
        except BlobMissing:
            segment.close()
            raise UploadMissing(upload.key) from None
        except BaseException:
            segment.close()
            raise
        return segment

    def note_read_back(self, key: str, etag: str) -> None:
        self._read_back[key] = etag

    def forget(self, key: str) -> None:
        self._read_back.pop(key, None)

    async def _complete(self, upload: UploadState, progress: Progress) -> str:
        """Returns the object's ETag if it proves that the parts are ours, else nothing."""
        parts = list(progress.parts)
        name = self._means.name(upload.key)
        if progress.tail or not parts:
            parts.append(await self._send_tail(upload, progress))
        try:
            etag = await self._objects.complete(name, progress.multipart, parts, progress.replaces)
        except Refused as refusal:
            if refusal.code != "InvalidPart":
                raise
            copied = await complete_without(self._means, upload.key, progress, parts)
            if copied is None:
                raise
            parts = copied
            etag = await self._objects.complete(name, progress.multipart, parts, progress.replaces)
        return etag if etag == expect_etag(parts) else ""

    async def _has_ended(self, upload: UploadState, progress: Progress, refusal: Refused) -> bool:
        """Whether another completion, or an abort, came first. Ceph RGW says InternalError then, as for what passes."""
        if refusal.code != "InternalError" or not progress.multipart:
            return False
        return await self._objects.list_parts(self._means.name(upload.key), progress.multipart) is None

    async def _send_tail(self, upload: UploadState, progress: Progress) -> Part:
        """Upload the tail, or for an empty upload nothing at all, as the last part."""
        tail = progress.tail
        try:
            segment = await self.fetch_tail(upload, tail) if tail else Segment(0, 0)
        except UploadMissing:
            raise Refused("NoSuchUpload", 404, "its tail is gone") from None
        try:
            progress.multipart = progress.multipart or await self._means.begin(upload.key)
            name, number = self._means.name(upload.key), progress.next_number
            etag = await self._objects.upload_part(name, progress.multipart, number, segment.body())
            return Part(number, segment.size, etag)
        finally:
            segment.close()

    async def _is_ours(self, upload: UploadState, progress: Progress, head: Head) -> bool:
        if not progress.tail and progress.parts and head.etag == expect_etag(progress.parts):
            return True
        running = self._means.running(upload, progress)
        if running is None:
            return self._read_back.get(upload.key) == head.etag
        found = self._means.hashes.begin(upload.algorithm)
        try:
            size = await self._objects.hash(self._means.name(upload.key), found)
        except BlobMissing:
            return False
        return size == upload.offset and found.hexdigest() == running.hexdigest()
