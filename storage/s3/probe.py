"""What a bucket can do, tried out for `entrepot doctor`. All is done under names of its own, and removed."""

import errno
import random
import secrets
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError

from storage.blobstore import BlobMissing, StoreFull, StoreUnavailable
from storage.s3.client import S3Client, S3Tuning, make_boto
from storage.s3.errors import Refused
from storage.s3.objects import S3Objects
from storage.s3.parts import LEAST, MIB
from storage.s3.place import S3Object, S3Place
from storage.s3.progress import Part, expect_etag

_OK = 200
_PARTIAL = 206
_SECONDS = 10.0
_CLOCK_SECONDS = 60.0  # the store itself refuses from 15 minutes on, and URLs are dated
_LONGEST_UPLOAD_DAYS = 8  # a session lives seven days after its last chunk
_CONTENT = b"entrepot doctor\n" * 4
_OTHER_SUM = b64encode(bytes(32)).decode()


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found under `name`; `advice` says what to set, empty where there is nothing to do."""

    name: str
    ok: bool
    text: str
    advice: str = ""


class S3Probe:
    """Tries the place with the settings of the store itself."""

    def __init__(self, place: S3Place) -> None:
        self._place = place
        tuning = S3Tuning(threads=4, attempts=2)
        self._client = S3Client(place, tuning, random.Random())  # noqa: S311 - it spreads retries
        self._api = self._client.api
        self._objects = S3Objects(self._client, place)
        self._folder = f"{place.root}.doctor-{secrets.token_hex(8)}/"
        self._begun: list[tuple[str, str]] = []

    async def examine(self) -> list[Finding]:
        """Every check, in the order in which one failure explains the next. It raises nothing and leaves nothing."""
        try:
            found = [await self._try("reach", self._reach)]
            if found[0].ok:
                for name, check in self._checks().items():
                    found.append(await self._try(name, check))
                found.append(await self._try("clean-up", self._clean))
        finally:
            self._client.close()
        return found

    def _checks(self) -> dict[str, Callable[[], Awaitable[Finding]]]:
        return {
            "clock": self._clock,
            "write, read, delete": self._write,
            "multipart": self._multipart,
            "parts of different sizes": self._uneven,
            "foreign parts": self._foreign_parts,
            "parts left out": self._left_out,
            "copied parts": self._copied,
            "conditional writes": self._conditions,
            "checksums": self._checksums,
            "redirects": self._redirects,
            "redirects with credentials": self._stray_credentials,
            "versioning": self._versioning,
            "object lock": self._lock,
            "lifecycle": self._lifecycle,
        }

    async def _try(self, name: str, check: Callable[[], Awaitable[Finding]]) -> Finding:
        try:
            found = await check()
        except (StoreUnavailable, StoreFull, BlobMissing) as problem:
            return Finding(name, ok=False, text=getattr(problem, "strerror", None) or str(problem))
        return Finding(name, found.ok, found.text, found.advice)

    async def _reach(self) -> Finding:
        await self._client.call(self._api.list_objects_v2, Bucket=self._place.bucket, Prefix=self._folder, MaxKeys=1)
        endpoint = self._place.endpoint or "AWS"
        return _fine(f"{endpoint} answers, and the credentials may list the bucket {self._place.bucket}")

    async def _clock(self) -> Finding:
        answer = await self._client.call(
            self._api.list_objects_v2, Bucket=self._place.bucket, Prefix=self._folder, MaxKeys=1
        )
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        if not date:
            return _fine("the store does not tell its time")
        apart = time.time() - parsedate_to_datetime(date).timestamp()
        text = f"this machine's clock is {abs(apart):.0f} s {'ahead of' if apart > 0 else 'behind'} the store's"
        return Finding("", abs(apart) <= _CLOCK_SECONDS, text, "" if abs(apart) <= _CLOCK_SECONDS else "set it by NTP")

    async def _write(self) -> Finding:
        name = self._name("object")
        await self._objects.put(name, _CONTENT)
        if await self._read(name) != _CONTENT:
            return Finding("", ok=False, text="other bytes come back than were written")
        await self._objects.delete(name)
        if await self._objects.head(name):
            return Finding("", ok=False, text="an object can be read after its removal")
        return _fine("what is written can be read at once, and is gone once deleted")

    async def _multipart(self) -> Finding:
        content = [bytearray(5 * MIB), bytearray(_CONTENT)]
        name = self._name("multipart")
        etag, parts = await self._upload(name, content)
        if await self._read(name, range(5 * MIB - 1, 5 * MIB + 2)) != b"\0" + _CONTENT[:2]:
            return Finding("", ok=False, text="other bytes come back than were uploaded in parts")
        if etag != expect_etag(parts):
            text = f"the ETag {etag} is not made of its parts': each pushed blob is read back, to be sure"
            return Finding("", ok=True, text=text, advice="none is needed, but pushes take a third longer")
        return _fine("a part of 5 MiB and a smaller last one make an object, with the ETag of AWS")

    async def _uneven(self) -> Finding:
        content = [bytearray(6 * MIB), bytearray(b"x" * LEAST), bytearray(_CONTENT)]
        name = self._name("uneven")
        try:
            await self._upload(name, content)
        except Refused as refusal:
            text = f"the store wants all parts alike ({refusal.code}): uploads in chunks will fail"
            return Finding("", ok=False, text=text, advice="use a store that takes parts of any size from 5 MiB")
        is_right = await self._read(name, range(6 * MIB, 6 * MIB + 1)) == b"x"
        return _fine("accepted") if is_right else Finding("", ok=False, text="other bytes come back")

    async def _foreign_parts(self) -> Finding:
        """Two writers of one part: whose ETag is named, whose bytes it is."""
        name = self._name("foreign")
        multipart = await self._begin(name)
        first = await self._objects.upload_part(name, multipart, 1, bytearray(b"first"))
        await self._objects.upload_part(name, multipart, 1, bytearray(b"second"))
        for etag in ("0" * 32, first):
            try:
                await self._objects.complete(name, multipart, [Part(1, 5, etag)], "")
            except Refused:
                continue
            if etag == first and await self._read(name) == b"first":
                continue
            text = "parts are taken whose ETags are not those that were named"
            return Finding("", ok=False, text=text, advice="none: each pushed blob whose ETag is unlike is read back")
        return _fine("parts are those whose ETags were named, or none")

    async def _left_out(self) -> Finding:
        name = self._name("left-out")
        multipart = await self._begin(name)
        etag = await self._objects.upload_part(name, multipart, 1, bytearray(b"named"))
        await self._objects.upload_part(name, multipart, 2, bytearray(b"left out"))
        try:
            await self._objects.complete(name, multipart, [Part(1, 5, etag)], "")
        except Refused as refusal:
            return _fine(f"each part must be named ({refusal.code}): an upload that has others is copied in the store")
        is_right = await self._read(name) == b"named"
        return _fine("they do no harm") if is_right else Finding("", ok=False, text="other bytes come back")

    async def _copied(self) -> Finding:
        name = self._name("multipart")
        head = await self._objects.head(name)
        if head is None:
            return Finding("", ok=False, text="there is nothing to copy: see multipart")
        source = S3Object(self._objects.place.bucket, name, head.size, head.etag)
        multipart = await self._begin(name)
        try:
            etag = await self._objects.copy_part(name, multipart, 1, source, range(head.size))
            await self._objects.complete(name, multipart, [Part(1, head.size, etag)], head.etag)
        except Refused as refusal:
            text = f"refused ({refusal.code}): uploads that go on at another replica after a pause begin again"
            return Finding("", ok=False, text=text, advice="allow s3:GetObject and s3:PutObject on the prefix")
        other = replace(source, etag="0" * 32)
        if await self._is_taken(self._objects.copy_part(name, await self._begin(name), 1, other, range(head.size))):
            return _fine(
                "an upload can go on from an object; what is copied is looked at twice, as If-Match is ignored"
            )
        return _fine("an upload can go on from an object")

    async def _conditions(self) -> Finding:
        name = self._name("condition")
        await self._upload(name, [bytearray(b"first")])
        missing = []
        if await self._is_taken(self._objects.put(name, b"second", IfNoneMatch="*")):
            missing.append("PutObject")
        multipart = await self._begin(name)
        etag = await self._objects.upload_part(name, multipart, 1, bytearray(b"second"))
        if await self._is_taken(self._objects.complete(name, multipart, [Part(1, 6, etag)], "")):
            missing.append("CompleteMultipartUpload")
        if missing:
            text = f"If-None-Match is not honoured by {' and '.join(missing)}"
            advice = "run one replica, or a store that honours it: a server that hung may overwrite what came after it"
            return Finding("", ok=False, text=text, advice=advice)
        return _fine("If-None-Match protects what is there")

    async def _checksums(self) -> Finding:
        strict = make_boto(_with_checksums(self._place), self._place.endpoint, 1)
        try:
            put = partial(strict.put_object, Bucket=self._place.bucket, Key=self._name("checksum"), Body=_CONTENT)
            await self._client.call(put)
            is_compared = not await self._is_taken(self._client.call(partial(put, ChecksumSHA256=_OTHER_SUM)))
        except (Refused, StoreUnavailable) as problem:
            text = f"not understood ({problem.strerror}): parts are still protected by their signatures"
            return Finding("", ok=True, text=text, advice="keep ENTREPOT_S3_CHECKSUMS at auto or when_required")
        finally:
            strict.close()
        return _fine("understood" if is_compared else "taken, but not compared: signatures protect what is sent")

    async def _redirects(self) -> Finding:
        if not self._place.redirects:
            return _fine("off: every blob is streamed by the registry")
        url = await self._presign()
        whole, part = await self._fetch(url), await self._fetch(url, Range="bytes=0-3")
        if (whole, part) == ((_OK, _CONTENT), (_PARTIAL, _CONTENT[:4])):
            return _fine(f"clients can GET blobs from {url.partition('?')[0].rpartition('/.doctor')[0]}")
        text = f"a signed URL is answered with {whole[0]}, a range of it with {part[0]}"
        return Finding(
            "", ok=False, text=text, advice="set ENTREPOT_S3_PUBLIC_ENDPOINT, or ENTREPOT_S3_REDIRECTS = off"
        )

    async def _stray_credentials(self) -> Finding:
        if not self._place.redirects:
            return _fine("off: every blob is streamed by the registry")
        status, _ = await self._fetch(await self._presign(), Authorization="Basic ZW50cmVwb3Q6ZW50cmVwb3Q=")
        if status == _OK:
            return _fine("ignored: clients may carry the registry's credentials to the store")
        text = f"refused with {status}, as AWS does: clients that carry the registry's credentials there cannot pull"
        return Finding("", ok=True, text=text, advice="for such clients, if there are any: ENTREPOT_S3_REDIRECTS = off")

    async def _versioning(self) -> Finding:
        found = await self._setting(self._api.get_bucket_versioning)
        if found is None or found.get("Status") != "Enabled":
            return _fine("off")
        advice = "add a lifecycle rule with NoncurrentVersionExpiration"
        return Finding("", ok=True, text="on: deleted blobs go on costing room", advice=advice)

    async def _lock(self) -> Finding:
        found = await self._setting(self._api.get_object_lock_configuration)
        rule = (found or {}).get("ObjectLockConfiguration", {}).get("Rule")
        if not rule:
            return _fine("off")
        text = "a default retention is set: nothing that is collected frees any room before it ends"
        return Finding("", ok=False, text=text, advice="use a bucket without a default retention")

    async def _lifecycle(self) -> Finding:
        found = await self._setting(self._api.get_bucket_lifecycle_configuration)
        rules = [rule for rule in (found or {}).get("Rules", []) if rule.get("Status") == "Enabled"]
        if any("Expiration" in rule and _concerns(rule, self._place) for rule in rules):
            text = "a rule expires objects of the registry: it will lose blobs that are in use"
            return Finding("", ok=False, text=text, advice="take the registry's prefix out of that rule")
        days = [rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] for rule in rules
                if "AbortIncompleteMultipartUpload" in rule]  # fmt: skip
        if days and min(days) < _LONGEST_UPLOAD_DAYS:
            text = f"uploads are aborted after {min(days)} days, while clients may still go on with them"
            return Finding("", ok=False, text=text, advice=f"abort them after {_LONGEST_UPLOAD_DAYS} days or later")
        if not days:
            advice = f"add a rule AbortIncompleteMultipartUpload after {_LONGEST_UPLOAD_DAYS} days or later"
            return Finding("", ok=True, text="parts that a killed server left behind are never removed", advice=advice)
        return _fine(f"parts that a killed server left behind go after {min(days)} days")

    async def _clean(self) -> Finding:
        for name, multipart in self._begun:
            await self._objects.abort(name, multipart)
        async for name, _ in self._objects.list_names(self._folder):
            await self._objects.delete(name)
        return _fine("nothing is left of these checks")

    async def _begin(self, name: str) -> str:
        multipart = await self._objects.begin(name)
        self._begun.append((name, multipart))
        return multipart

    async def _upload(self, name: str, contents: list[bytearray]) -> tuple[str, list[Part]]:
        multipart = await self._begin(name)
        parts = [
            Part(number, len(content), await self._objects.upload_part(name, multipart, number, content))
            for number, content in enumerate(contents, 1)
        ]
        return await self._objects.complete(name, multipart, parts, ""), parts

    async def _is_taken(self, write: Awaitable[object]) -> bool:
        """Whether the store did what it was told not to do."""
        try:
            await write
        except Refused:
            return False
        return True

    async def _read(self, name: str, span: range | None = None) -> bytes:
        return b"".join([piece async for piece in self._objects.read(name, span)])

    async def _presign(self) -> str:
        name = self._name("redirect")
        await self._objects.put(name, _CONTENT)
        public = make_boto(self._place, self._place.public_endpoint or self._place.endpoint, 1)
        try:
            return public.generate_presigned_url(
                "get_object", Params={"Bucket": self._place.bucket, "Key": name}, ExpiresIn=300
            )
        finally:
            public.close()

    async def _fetch(self, url: str, **headers: str) -> tuple[int, bytes]:
        def fetch() -> tuple[int, bytes]:
            with urllib3.PoolManager(timeout=_SECONDS, retries=False) as pool:
                answer = pool.request("GET", url, headers=headers)
                return answer.status, answer.data

        try:
            return await self._client.run(fetch)
        except HTTPError as problem:
            text = f"the public endpoint does not answer ({type(problem).__name__})"
            raise StoreUnavailable(errno.EHOSTUNREACH, text) from problem

    async def _setting(self, ask: Callable[..., Any]) -> dict[str, Any] | None:
        """A setting of the bucket; None when it has none, or the store knows no such setting, or does not tell us."""
        try:
            return dict(await self._client.call(partial(ask, Bucket=self._place.bucket)))
        except Refused:
            return None

    def _name(self, what: str) -> str:
        return f"{self._folder}{what}"


def _fine(text: str) -> Finding:
    return Finding("", ok=True, text=text)


def _with_checksums(place: S3Place) -> S3Place:
    return S3Place(
        place.bucket,
        place.prefix,
        place.endpoint,
        place.region,
        checksums="when_supported",
        addressing=place.addressing,
    )


def _concerns(rule: dict[str, Any], place: S3Place) -> bool:
    """Whether a lifecycle rule's prefix meets the store's; a rule that asks for a tag does not."""
    narrowed = rule.get("Filter", {})
    if "Tag" in narrowed or "Tags" in narrowed.get("And", {}):
        return False
    prefix = rule.get("Prefix") or narrowed.get("Prefix") or narrowed.get("And", {}).get("Prefix") or ""
    return place.root.startswith(prefix) or prefix.startswith(place.root)
