"""Where in S3 a store is, and on what terms it is written: `PREFIX/data/KK/KEY`, `PREFIX/tails/KEY.N`, the marker."""

import re
from dataclasses import dataclass
from typing import Any

_URL = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/([A-Za-z0-9._/-]*))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class S3Object:
    """One that is there: `name` in any bucket, `size` in bytes. With another ETag it is another object."""

    bucket: str
    name: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class S3Place:
    """A bucket and a prefix in it. An empty `endpoint` is AWS's own; an empty `public_endpoint` is the endpoint.

    `encryption`: "", "AES256", "aws:kms" or "aws:kms:KEY-ID"; `checksums`: "auto", "when_required" or
    "when_supported"; `addressing`: "auto", "path" or "virtual"; `is_shared`: several
    servers may write there, so the store must know conditional writes.
    """

    bucket: str
    prefix: str = ""
    endpoint: str = ""
    region: str = ""
    public_endpoint: str = ""
    redirects: bool = True
    encryption: str = ""
    storage_class: str = ""
    checksums: str = "auto"
    addressing: str = "auto"
    is_shared: bool = False

    @property
    def root(self) -> str:
        """What the name of every object of the store begins with."""
        prefix = self.prefix.strip("/")
        return f"{prefix}/" if prefix else ""

    @property
    def marker(self) -> str:
        return f"{self.root}.entrepot"

    @property
    def blobs(self) -> str:
        return f"{self.root}data/"

    @property
    def tails(self) -> str:
        return f"{self.root}tails/"

    def blob(self, key: str) -> str:
        return f"{self.blobs}{key[:2]}/{key}"

    def tail(self, key: str, slot: int) -> str:
        return f"{self.tails}{key}.{slot}"

    def terms(self) -> dict[str, Any]:
        """The parameters that say how a new object is encrypted and in which class it is stored."""
        terms: dict[str, Any] = {}
        if self.encryption:
            terms["ServerSideEncryption"] = "aws:kms" if self.encryption.startswith("aws:kms") else self.encryption
        if key := self.encryption.removeprefix("aws:kms").removeprefix(":") if "kms" in self.encryption else "":
            terms["SSEKMSKeyId"] = key
        if self.storage_class:
            terms["StorageClass"] = self.storage_class
        return terms

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.root}"


def parse_url(url: str) -> tuple[str, str] | None:
    """The bucket and the prefix of s3://BUCKET/PREFIX, without slashes at its ends; None for any other text."""
    match = _URL.fullmatch(url)
    return (match[1], (match[2] or "").strip("/")) if match else None
