"""The requests that the store is made of, each one method: objects, multipart uploads and their parts."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from io import RawIOBase
from typing import IO, TYPE_CHECKING, Any, cast

from storage.blobstore import BlobMissing
from storage.running_hash import RunningHash
from storage.s3.client import S3Client
from storage.s3.errors import TRANSPORT, Refused, name_problem
from storage.s3.place import S3Object, S3Place
from storage.s3.progress import Part

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3.type_defs import (
        CompletedPartTypeDef,
        GetObjectOutputTypeDef,
        ListObjectsV2OutputTypeDef,
    )

PIECE = 1 << 20  # bytes per thread hop while reading
_BINARY = "application/octet-stream"
UNKNOWN_CONDITION = ("501", "NotImplemented")


@dataclass(frozen=True, slots=True)
class Head:
    size: int
    etag: str


class S3Objects:
    """All names are whole object names. Every method raises StoreUnavailable, Refused and StoreFull."""

    def __init__(self, client: S3Client, place: S3Place) -> None:
        self.client = client
        self.place = place
        self.knows_conditions = True
        self._api = client.api
        self._bucket = place.bucket

    async def begin(self, name: str) -> str:
        """Create a multipart upload. Returns its id."""
        work = partial(self._api.create_multipart_upload, ContentType=_BINARY, **self.place.terms())
        return (await self.client.call(work, Bucket=self._bucket, Key=name))["UploadId"]

    async def upload_part(self, name: str, multipart: str, number: int, body: bytearray | RawIOBase) -> str:
        """Returns the part's ETag. A file is sent from its beginning."""

        def send() -> str:
            if not isinstance(body, bytearray):
                body.seek(0)
            sent = self._api.upload_part(
                Bucket=self._bucket, Key=name, UploadId=multipart, PartNumber=number, Body=cast("IO[bytes]", body)
            )
            return _bare(sent["ETag"])

        return await self.client.call(send)

    async def copy_part(self, name: str, multipart: str, number: int, source: S3Object, span: range) -> str:
        """Make a part of the bytes `span` of an object at the same endpoint. Returns the part's ETag."""
        copied = await self.client.call(
            self._api.upload_part_copy,
            Bucket=self._bucket,
            Key=name,
            UploadId=multipart,
            PartNumber=number,
            CopySource={"Bucket": source.bucket, "Key": source.name},
            CopySourceIfMatch=f'"{source.etag}"',
            CopySourceRange=f"bytes={span.start}-{span.stop - 1}",
        )
        return _bare(copied["CopyPartResult"]["ETag"])

    async def copy(self, name: str, source: S3Object) -> None:
        """Make the object of another one at the same endpoint: its bytes, nothing else that it has.

        Not its tags either: a rule of our bucket could let objects expire by them.
        """
        await self.client.call(
            partial(self._api.copy_object, ContentType=_BINARY, **self.place.terms()),
            MetadataDirective="REPLACE",
            TaggingDirective="REPLACE",
            Bucket=self._bucket,
            Key=name,
            CopySource={"Bucket": source.bucket, "Key": source.name},
            CopySourceIfMatch=f'"{source.etag}"',
        )

    async def complete(self, name: str, multipart: str, parts: list[Part], replaces: str) -> str:
        """Make the object, in place of the one with the ETag `replaces`, or of none. Returns its ETag.

        A store that knows no conditions is asked once, and then never again; Refused where they are needed.
        """
        numbered: list[CompletedPartTypeDef] = [{"PartNumber": part.number, "ETag": f'"{part.etag}"'} for part in parts]
        work = partial(
            self._api.complete_multipart_upload,
            Bucket=self._bucket,
            Key=name,
            UploadId=multipart,
            MultipartUpload={"Parts": numbered},
        )
        if self.knows_conditions:
            condition = {"IfMatch": f'"{replaces}"'} if replaces else {"IfNoneMatch": "*"}
            try:
                return _bare((await self.client.call(partial(work, **condition)))["ETag"])
            except Refused as refusal:
                if self.place.is_shared or refusal.code not in UNKNOWN_CONDITION:
                    raise
            self.knows_conditions = False
        return _bare((await self.client.call(work))["ETag"])

    async def abort(self, name: str, multipart: str) -> None:
        """Absent is not an error."""
        try:
            await self.client.call(self._api.abort_multipart_upload, Bucket=self._bucket, Key=name, UploadId=multipart)
        except Refused as refusal:
            if refusal.code != "NoSuchUpload":
                raise

    async def put(self, name: str, content: bytes | bytearray | RawIOBase, **conditions: Any) -> None:
        def send() -> None:
            if not isinstance(content, (bytes, bytearray)):
                content.seek(0)
            self._api.put_object(
                Bucket=self._bucket,
                Key=name,
                Body=cast("IO[bytes]", content),
                ContentType=_BINARY,
                **self.place.terms(),
                **conditions,
            )

        await self.client.call(send)

    async def head(self, name: str) -> Head | None:
        try:
            found = await self.client.call(self._api.head_object, Bucket=self._bucket, Key=name)
        except Refused as refusal:
            if not refusal.is_absence:
                raise
            await self._see_bucket(name)
            return None
        return Head(found["ContentLength"], _bare(found["ETag"]))

    async def is_unchanged(self, source: S3Object) -> bool:
        """Whether an object at the same endpoint is there still, and no other under its name."""
        try:
            found = await self.client.call(self._api.head_object, Bucket=source.bucket, Key=source.name)
        except Refused as refusal:
            if not refusal.is_absence:
                raise
            return False
        return _bare(found["ETag"]) == source.etag

    async def _see_bucket(self, name: str) -> None:
        """A HEAD does not say whether the object is absent or the whole bucket is gone, but a GET does."""
        with suppress(BlobMissing):
            async with aclosing(self.read(name, range(1))) as pieces:
                await anext(pieces)

    async def read(self, name: str, span: range | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the object's bytes, or those of `span`. Raises BlobMissing when there are fewer."""
        found = await self._get(name, span)
        body, left = found["Body"], found["ContentLength"]
        try:
            if span is not None and left != len(span):
                raise BlobMissing(f"{name} has fewer bytes")
            while left:
                piece = await self._read_piece(body, min(left, PIECE))
                if not piece:
                    raise BlobMissing(f"{name} ended early")
                left -= len(piece)
                yield piece
        finally:
            body.close()

    async def fetch(self, name: str, most: int) -> tuple[Head, bytes | None]:
        """All of a small object; of one with more than `most` bytes only what HEAD says. Raises BlobMissing."""
        found = await self._get(name)
        head, body, content = Head(found["ContentLength"], _bare(found["ETag"])), found["Body"], bytearray()
        try:
            if head.size > most:
                return head, None
            while len(content) < head.size:
                piece = await self._read_piece(body, head.size - len(content))
                if not piece:
                    raise BlobMissing(f"{name} ended early")
                content += piece
        finally:
            body.close()
        return head, bytes(content)

    async def _get(self, name: str, span: range | None = None) -> "GetObjectOutputTypeDef":
        asked: dict[str, Any] = {} if span is None else {"Range": f"bytes={span.start}-{span.stop - 1}"}
        try:
            return await self.client.call(partial(self._api.get_object, Bucket=self._bucket, Key=name, **asked))
        except Refused as refusal:
            if refusal.is_absence or refusal.code in ("InvalidRange", "416"):
                raise BlobMissing(name) from None
            raise

    async def hash(self, name: str, running: RunningHash) -> int:
        """Hash all of the object. Returns its size. Raises BlobMissing."""
        size = 0
        async for piece in self.read(name):
            await self.client.run(running.update, piece)
            size += len(piece)
        return size

    async def delete(self, name: str) -> None:
        """Absent is not an error."""
        try:
            await self.client.call(self._api.delete_object, Bucket=self._bucket, Key=name)
        except Refused as refusal:
            if not refusal.is_absence:
                raise

    async def list_names(self, prefix: str, page: int = 1000) -> AsyncIterator[tuple[str, int]]:
        """Every object below the prefix, with its size. `page` at a time."""
        async for found in self._list(prefix, MaxKeys=page):
            for entry in found.get("Contents", []):
                yield entry["Key"], entry["Size"]

    async def list_dated(self, prefix: str) -> AsyncIterator[tuple[str, float]]:
        """Every object below the prefix, with the second (Unix) in which it was written."""
        async for found in self._list(prefix):
            for entry in found.get("Contents", []):
                yield entry["Key"], entry["LastModified"].timestamp()

    async def list_folders(self, folder: str, page: int = 1000) -> AsyncIterator[list[str]]:
        """The names of the folders in the folder, which ends with a slash; `page` at a time."""
        async for found in self._list(folder, Delimiter="/", MaxKeys=page):
            prefixes = [entry["Prefix"] for entry in found.get("CommonPrefixes", [])]
            yield [prefix.removeprefix(folder).removesuffix("/") for prefix in prefixes]

    async def _list(self, prefix: str, **more: Any) -> AsyncIterator["ListObjectsV2OutputTypeDef"]:
        work = partial(self._api.list_objects_v2, Bucket=self._bucket, Prefix=prefix, **more)
        while True:
            found = await self.client.call(work)
            yield found
            if not found.get("IsTruncated"):
                return
            work = partial(work, ContinuationToken=found["NextContinuationToken"])

    async def list_multiparts(self, prefix: str) -> AsyncIterator[tuple[str, str]]:
        """The name and the id of every multipart upload below the prefix that is neither completed nor aborted."""
        work = partial(self._api.list_multipart_uploads, Bucket=self._bucket, Prefix=prefix)
        while True:
            found = await self.client.call(work)
            for entry in found.get("Uploads", []):
                yield entry["Key"], entry["UploadId"]
            if not found.get("IsTruncated"):
                return
            work = partial(work, KeyMarker=found["NextKeyMarker"], UploadIdMarker=found["NextUploadIdMarker"])

    async def list_parts(self, name: str, multipart: str) -> list[Part] | None:
        """All parts that are stored, by number, None when the multipart upload has ended."""
        work = partial(self._api.list_parts, Bucket=self._bucket, Key=name, UploadId=multipart)
        parts: list[Part] = []
        try:
            while True:
                found = await self.client.call(work)
                parts += [
                    Part(each["PartNumber"], each["Size"], _bare(each["ETag"])) for each in found.get("Parts", [])
                ]
                if not found.get("IsTruncated"):
                    return parts
                work = partial(work, PartNumberMarker=found["NextPartNumberMarker"])
        except Refused as refusal:
            if refusal.code == "NoSuchUpload" or refusal.is_absence:  # Ceph RGW says NoSuchKey
                return None
            raise

    async def _read_piece(self, body: "StreamingBody", size: int) -> bytes:
        try:
            return await self.client.run(body.read, size)
        except TRANSPORT as problem:
            raise name_problem(problem) from problem


def load_json(text: bytes) -> Any:
    """None for what is no JSON."""
    with suppress(ValueError):
        return json.loads(text)
    return None


def _bare(etag: str) -> str:
    return etag.strip('"')
