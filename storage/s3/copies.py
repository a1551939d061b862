"""Copies into the store what is an object at the same endpoint already: the server does it, no byte comes here."""

import asyncio
from contextlib import suppress

from storage.blobstore import StoreUnavailable
from storage.s3.errors import Refused
from storage.s3.means import Means
from storage.s3.parts import LEAST, MOST_COPIED, cut_copies
from storage.s3.place import S3Object
from storage.s3.progress import Part

_AT_ONCE = 8
_NEVER = ("403", "405", "501", "AccessDenied", "MethodNotAllowed", "NotImplemented")  # so it would be the next time
_MADE = ("412", "NoSuchUpload", "PreconditionFailed")  # the answer to the first try was lost, perhaps


class S3Copies:
    """`most`: bytes that one request copies. It must answer before we take it for dead, so that is not S3's 5 GiB."""

    def __init__(self, means: Means, most: int = MOST_COPIED) -> None:
        self._means = means
        self._objects = means.objects
        self._most = max(most, LEAST)
        self.is_possible = True

    async def make(self, source: S3Object, key: str) -> bool:
        """Make the object of the key of the other one. False where the server refuses: then nothing was done.

        Whatever it raises, the key's bytes and uploads are to be removed: the server may be at it still.
        Raises StoreUnavailable, StoreFull.
        """
        if not self.is_possible or not source.size:  # there is no part of no byte
            return False
        name = self._means.name(key)
        try:
            if source.size <= self._most:
                await self._objects.copy(name, source)
            else:
                await self._make_of_parts(source, key)
        except Refused as refusal:
            if refusal.is_passing:
                raise
            self.is_possible = refusal.code not in _NEVER
            return False
        self._means.reach("commit.done")
        return True

    async def _make_of_parts(self, source: S3Object, key: str) -> None:
        name, multipart = self._means.name(key), await self._means.begin(key)
        try:
            parts = await self._copy(source, name, multipart)
            if not await self._objects.is_unchanged(source):  # Ceph RGW copies parts of what is there by then
                raise Refused("PreconditionFailed", 412, "the object was replaced while it was copied")
            await self._complete(name, multipart, parts, source.size)
        except Refused:
            with suppress(StoreUnavailable):  # then it goes with the key
                await self._means.abort(key, multipart)
            raise
        self._means.begun.end(key, multipart)

    async def _copy(self, source: S3Object, name: str, multipart: str) -> list[Part]:
        async def copy(number: int, span: range) -> Part:
            return Part(number, len(span), await self._objects.copy_part(name, multipart, number, source, span))

        parts: list[Part] = []
        spans = list(enumerate(cut_copies(source.size, self._most), 1))
        for first in range(0, len(spans), _AT_ONCE):
            few = [copy(number, span) for number, span in spans[first : first + _AT_ONCE]]
            for ended in await asyncio.gather(*few, return_exceptions=True):  # what runs on would outlive the abort
                if isinstance(ended, BaseException):
                    raise ended
                parts.append(ended)
        return parts

    async def _complete(self, name: str, multipart: str, parts: list[Part], size: int) -> None:
        try:
            await self._objects.complete(name, multipart, parts, "")
        except Refused as refusal:
            head = await self._objects.head(name) if refusal.code in _MADE else None
            if head is None or head.size != size:
                raise
