"""Blobs over HTTP: download, with ranges; delete."""

import asyncio
import secrets
from collections.abc import AsyncIterator

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from registry.access.grants import Action
from registry.api.call import Call
from registry.api.conditions import is_unchanged
from registry.api.extensions import ZERO_COPY
from registry.api.observe import Record
from registry.api.ranges import MultipartRanges, parse_ranges
from registry.api.redirects import can_follow, may_repeat
from registry.blobs import Blobs
from registry.errors import Denied
from registry.leases import Leases
from registry.oci.names import parse_digest
from storage.blobstore import BlobMissing, ByteRange, OpenBlob
from storage.digest import Digest

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_MEDIA_TYPE = "application/octet-stream"


class BlobResponse(Response):
    """Streams an opened blob and closes it. The status and every length are known before the first byte goes out."""

    def __init__(self, blob: OpenBlob, ranges: list[ByteRange], headers: dict[str, str]) -> None:
        super().__init__(status_code=206 if ranges else 200, headers=headers)
        del self.headers["content-length"]
        self._blob = blob
        self._content: AsyncIterator[bytes]
        self._only: ByteRange | None = None  # what is sent, when it is in one piece
        if len(ranges) > 1:
            multipart = MultipartRanges(ranges, blob.size, secrets.token_hex(16))
            self._describe(multipart.length, multipart.media_type)
            self._content = multipart.read(blob)
            return
        whole = ranges[0] if ranges else ByteRange(0, blob.size - 1)
        self._only = whole
        self._describe(whole.size, _MEDIA_TYPE)
        self._content = blob.read(whole)
        if ranges:
            self.headers["Content-Range"] = f"bytes {whole.first}-{whole.last}/{blob.size}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            descriptor = self._blob.descriptor if ZERO_COPY in scope.get("extensions", {}) else None
            if descriptor is not None and self._only and self._only.size:
                await send(_of_file(descriptor, self._only))
            else:
                await self._stream(receive, send)
        except (OSError, BlobMissing) as problem:
            # Too late for a status: the server ends the connection, because the body has not ended.
            record: Record = scope["entrepot.record"]
            record.refusal = f"broken off, the store failed: {problem}"
            log.exception("store failed", path=scope["path"])
        finally:
            await self._blob.close()

    async def _stream(self, receive: Receive, send: Send) -> None:
        """Raises ClientDisconnect, and what the store raises.

        The server takes what is sent to a client that is gone and drops it: without the watch, one broken pull of a
        large blob would read all of it.
        """
        leaving = asyncio.create_task(_gone(receive))
        try:
            async for piece in self._content:
                if leaving.done():
                    raise ClientDisconnect
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            leaving.cancel()

    def _describe(self, length: int, media_type: str) -> None:
        self.headers["Content-Length"] = str(length)
        self.headers["Content-Type"] = media_type


def _of_file(descriptor: int, part: ByteRange) -> Message:
    """The server sends the bytes without handing them to us."""
    return {"type": ZERO_COPY, "file": descriptor, "offset": part.first, "count": part.size, "more_body": False}


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class BlobEndpoints:
    def __init__(self, blobs: Blobs, leases: Leases) -> None:
        self._blobs = blobs
        self._leases = leases

    async def get(self, call: Call) -> Response:
        """end-2. Large blobs of some stores by a redirect: then no byte passes here, and the store is asked nothing."""
        digest = parse_digest(call.target.reference)
        headers = _headers(digest)
        blob = await self._blobs.get(call.repository, digest)
        if is_unchanged(call.request, str(digest)):
            return Response(status_code=304, headers=headers)
        ranges = _ranges(call.request, digest, blob.size)
        if may_repeat(call.request) and (url := await self._blobs.locate(blob)) and can_follow(call, url):
            # The URL ends long before the blob does: only the store's answer may be kept.
            moved = {"Location": url, "Docker-Content-Digest": str(digest), "Cache-Control": "no-store"}
            return Response(status_code=307, headers=moved)
        return BlobResponse(await self._blobs.open(call.repository, digest, blob), ranges, headers)

    async def head(self, call: Call) -> Response:
        """end-2. The bytes are looked at, too: a client that hears 200 does not push a damaged blob again.

        Never a redirect: what is signed for a GET is no HEAD.
        """
        digest = parse_digest(call.target.reference)
        blob = await self._blobs.look(call.repository, digest)
        if any(map(call.permission.allows, (Action.PUSH, Action.CREATE))):  # nobody else can keep it by asking for it
            await self._leases.hold(call.repository, digest)
        if is_unchanged(call.request, str(digest)):
            return Response(status_code=304, headers=_headers(digest))
        described = {"Content-Length": str(blob.size), "Content-Type": _MEDIA_TYPE}
        return Response(headers=_headers(digest) | described)

    async def delete(self, call: Call) -> Response:
        """end-10."""
        if not call.permission.may_delete_content:
            raise Denied("your grants include deleting some tags, not what they point to")
        digest = parse_digest(call.target.reference)
        await call.forget_body()
        await self._blobs.delete(call.repository, digest, call.actor)
        return Response(status_code=202)


def _headers(digest: Digest) -> dict[str, str]:
    return {
        "Docker-Content-Digest": str(digest),
        "ETag": f'"{digest}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=31536000, immutable",
    }


def _ranges(request: Request, digest: Digest, size: int) -> list[ByteRange]:
    condition = request.headers.get("if-range")
    header = request.headers.get("range")
    if header is None or (condition is not None and condition != f'"{digest}"'):
        return []
    return parse_ranges(header, size)
